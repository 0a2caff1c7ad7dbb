// What the fault script brings about: the simulator's half that loses sessions, pulls tokens and holds calls.
#include <algorithm>

#include "tests/simhsm/backend.h"
#include "tests/simhsm/simulator.h"

namespace hsmux::sim {

std::vector<Fault> Simulator::take_faults(Function function, SimSlot& slot, std::uint64_t call, bool with_buffer) {
  const std::string label = slot.label_now();
  std::vector<Fault> faults;
  {
    const std::lock_guard lock(script_mutex_);
    faults = script_.take(function, slot.id, label, since_start(), with_buffer);
    has_faults_ = !script_.empty();
  }
  for (const Fault& fault : faults) {
    log_fault(fault, function, slot, call);
    if (!is_for_slot(fault.action)) continue;
    if (&slot != &no_slot_) {
      play(fault, slot);
    } else {
      for (SimSlot* each : slots()) play(fault, *each);
    }
  }
  return faults;
}

void Simulator::change_script(const std::function<void(Script&)>& change) {
  const std::lock_guard lock(script_mutex_);
  change(script_);
  has_faults_ = !script_.empty();
}

void Simulator::play_due() {
  for (SimSlot* slot : slots()) {
    const std::int64_t back_at = slot->back_at_ns;
    if (back_at != 0 && now().count() >= back_at) insert(*slot, std::nullopt);
  }
  std::vector<Fault> due;
  {
    const std::lock_guard lock(script_mutex_);
    due = script_.due(since_start());
    has_faults_ = !script_.empty();
  }
  for (const Fault& fault : due) {
    bool played = false;
    for (SimSlot* slot : slots()) {
      if (!selects(fault.match.slot, slot->id, slot->label_now())) continue;
      log_fault(fault, std::nullopt, *slot, 0);
      play(fault, *slot);
      played = true;
    }
    // Its slot has not been seen yet.
    if (!played) change_script([&](Script& script) { script.add(fault); });
  }
}

void Simulator::play_now(const Fault& fault, SimSlot& slot) {
  log_fault(fault, std::nullopt, slot, 0);
  play(fault, slot);
}

void Simulator::log_fault(const Fault& fault, std::optional<Function> function, SimSlot& slot, std::uint64_t call) {
  // The label where it says which slot is meant, else the id.
  std::string label = slot.label_now();
  const auto same = std::ranges::count_if(slots(), [&](SimSlot* each) { return each->label_now() == label; });
  if (same != 1 || label == "*") label.clear();
  const std::string row = replay_row(fault, {function, call, slot.id, label, since_start()});
  const std::lock_guard lock(script_mutex_);
  ++played_[std::string(action_name(fault.action))];
  if (log_ == nullptr) return;
  std::fputs(row.c_str(), log_);
  std::fflush(log_);
}

std::map<std::string, unsigned long> Simulator::faults_played() {
  const std::lock_guard lock(script_mutex_);
  return played_;
}

void Simulator::play(const Fault& fault, SimSlot& slot) {
  switch (fault.action) {
  case Action::kRemoveToken: remove(slot, fault.time); break;
  case Action::kInsertToken: insert(slot, fault.slot_id); break;
  case Action::kLoseSessions: lose_sessions(slot.id); break;
  case Action::kLogout: log_out(slot); break;
  case Action::kPinState: slot.pin = fault.pin; break;
  default: break; // of one call
  }
}

void Simulator::remove(SimSlot& slot, Nanoseconds time) {
  slot.present = false;
  const std::int64_t back_at = time.count() == 0 ? 0 : (now() + time).count();
  const std::int64_t before = slot.back_at_ns.exchange(back_at);
  if (before == 0 && back_at != 0) ++coming_back_;
  if (before != 0 && back_at == 0) --coming_back_;
  lose_sessions(slot.id);
}

void Simulator::insert(SimSlot& slot, std::optional<CK_SLOT_ID> id) {
  if (slot.back_at_ns.exchange(0) != 0) --coming_back_;
  if (id && may_have_id(slot, *id) && slot.id.exchange(*id) != *id) {
    const std::lock_guard lock(settings_mutex_); // rows may be about the id
    set_profile(slot);
  }
  if (slot.present.exchange(true)) return;
  new_epoch(slot);
}

bool Simulator::may_have_id(const SimSlot& slot, CK_SLOT_ID id) {
  if (id == kAnySlot) return false;
  return std::ranges::none_of(slots(), [&](const SimSlot* each) { return each != &slot && each->id == id; });
}

void Simulator::hang(unsigned long releases, Nanoseconds time) {
  std::unique_lock lock(hang_mutex_);
  ++hung_;
  changed_.notify_all();
  const auto released = [&] { return releases_ != releases; };
  if (time.count() > 0) {
    changed_.wait_for(lock, time, released);
  } else {
    changed_.wait(lock, released);
  }
  --hung_;
}

void Simulator::release() {
  change_script([](Script& script) { script.clear(Action::kHang); });
  const std::lock_guard lock(hang_mutex_);
  ++releases_;
  changed_.notify_all();
}

bool Simulator::wait_hung(unsigned long calls, std::chrono::milliseconds timeout) {
  std::unique_lock lock(hang_mutex_);
  return changed_.wait_for(lock, timeout, [&] { return hung_ >= calls; });
}

unsigned long Simulator::lose_sessions_now(CK_SLOT_ID slot) {
  Fault fault;
  fault.action = Action::kLoseSessions;
  for (SimSlot* each : slots(slot)) log_fault(fault, std::nullopt, *each, 0);
  return lose_sessions(slot);
}

unsigned long Simulator::lose_sessions(CK_SLOT_ID slot) {
  unsigned long lost = 0;
  for (SimSlot* each : slots(slot)) {
    const std::unique_lock gate(each->gate);
    new_epoch(*each);
    lost += sessions_.lose(each);
    // Calls under way keep their sessions in the backend, and with them its login.
    if (each->sessions != 0) (void)end_login(*each);
    if (settings().reuse_handles) renumber_objects(settings(), each->backend_id);
  }
  return lost;
}

CK_RV Simulator::log_out_now(SimSlot& slot) {
  Fault fault;
  fault.action = Action::kLogout;
  log_fault(fault, std::nullopt, slot, 0);
  return log_out(slot);
}

CK_RV Simulator::log_out(SimSlot& slot) {
  const CK_RV rv = end_login(slot);
  if (rv == CKR_OK) new_epoch(slot);
  return rv;
}

CK_RV Simulator::end_login(SimSlot& slot) {
  // A session of its own: the others may have calls running in them.
  CK_SESSION_HANDLE session = 0;
  const CK_RV opened = backend().C_OpenSession(slot.backend_id, CKF_SERIAL_SESSION, nullptr, nullptr, &session);
  if (opened != CKR_OK) return opened;
  const CK_RV rv = backend().C_Logout(session);
  backend().C_CloseSession(session);
  return rv;
}

} // namespace hsmux::sim
