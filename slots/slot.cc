#include "slots/slot.h"

#include "slots/slot_keeper.h"

namespace hsmux {

std::string_view slot_state_name(SlotState state) {
  switch (state) {
  case SlotState::kConnecting: return "connecting";
  case SlotState::kReady: return "ready";
  case SlotState::kLatched: return "latched";
  case SlotState::kClosed: return "closed";
  }
  return "closed";
}

Result<std::unique_ptr<Slot>> Slot::open(SlotOptions options, std::shared_ptr<const Module> module, EventSink events,
                                         std::function<void()> capacity_freed, Deadline deadline, bool wait_ready) {
  auto keeper =
      std::make_shared<Keeper>(std::move(options), std::move(module), std::move(events), std::move(capacity_freed));
  std::unique_ptr<Slot> slot(new Slot(keeper));
  Status status = keeper->wait_connected(deadline);
  if (!status && wait_ready) return fail(std::move(status).error());
  return slot;
}

Slot::Slot(std::shared_ptr<Keeper> keeper) : keeper_(std::move(keeper)), thread_([k = keeper_] { k->run(); }) {}

Slot::~Slot() {
  // In a fork's child there is no keeper thread to wait for, and its locks may be held for ever: all of it is left
  // alone.
  if (keeper_->module_->forked()) {
    new std::shared_ptr<Keeper>(std::move(keeper_));
    thread_.detach();
    return;
  }
  if (close(Deadline::after(std::chrono::seconds(5)))) return;
  if (thread_.joinable()) thread_.detach(); // it holds all that it touches
  keeper_->leave_canaries_behind();
}

bool Slot::close(Deadline deadline) {
  if (!keeper_->stop(deadline) || !keeper_->canaries_ended(deadline)) return false;
  // Joined, not only told to have ended: what it leaves for its exit (thread-local data of the module) must not run
  // beside the exit of the process.
  const std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) thread_.join();
  return true;
}

const std::string& Slot::name() const { return *keeper_->name_; }
const SlotOptions& Slot::options() const { return keeper_->options_; }
const Module& Slot::module() const { return *keeper_->module_; }
TokenIdentity Slot::token() const { return keeper_->token(); }
std::uint64_t Slot::epoch() const { return keeper_->epoch_.load(std::memory_order_relaxed); }
SlotState Slot::state() const { return keeper_->state_.load(std::memory_order_relaxed); }
bool Slot::ready() const { return state() == SlotState::kReady && !keeper_->doubtful_.load(std::memory_order_relaxed); }
HealthState Slot::health() const { return keeper_->health_now_.load(std::memory_order_relaxed); }
std::uint32_t Slot::in_flight_max() const { return keeper_->in_flight_max_.load(std::memory_order_relaxed); }
SlotStats Slot::stats() const { return keeper_->stats(); }
std::optional<Lease> Slot::try_acquire() { return keeper_->pool_.try_acquire(); }
void Slot::finish(Lease lease, CallStatus status) { keeper_->finish(std::move(lease), status); }
void Slot::write_off(Lease& lease) { keeper_->pool_.write_off(lease); }
void Slot::overdue() { keeper_->overdue(); }
void Slot::wrong_result(Call call) { keeper_->wrong_result(call); }
Result<KeyHandle> Slot::key_handle(Lease& lease, ObjectClass object_class, ByteView id, bool copies) {
  if (const auto known = keeper_->handles_.lookup(lease.epoch(), object_class, id, copies)) return *known;
  Result<std::vector<ObjectHandle>> found = search_keys([&] { return keeper_->find_key(lease, object_class, id); });
  if (!found) return fail(std::move(found).error());
  return keeper_->only_key(lease, object_class, id, *found);
}
void Slot::mark_verified(const Lease& lease, ObjectClass object_class, ByteView id, ObjectHandle handle) {
  keeper_->handles_.mark_verified(lease.epoch(), object_class, id, handle);
}
std::uint64_t Slot::copy_generation() const { return keeper_->copies_.generation(); }
void Slot::forget_key(ObjectClass object_class, ByteView id) { keeper_->forget_key(object_class, id); }
void Slot::unlatch() { keeper_->unlatch(); }
Status Slot::login_for_operation(Session& session) { return keeper_->login_for_operation(session); }
void Slot::key_vanished() { keeper_->key_vanished(); }
void Slot::connect_now() { keeper_->connect_now(); }
void Slot::drain(bool on) { keeper_->drain(on); }

} // namespace hsmux
