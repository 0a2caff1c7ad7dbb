#include "tests/simhsm/simulator.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "slots/token_text.h"
#include "tests/simhsm/backend.h"
#include "tests/simhsm/control_socket.h"

namespace hsmux::sim {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The settings at the start: HSMUX_SIM_CONFIG's, and HSMUX_SIM_MODULE.
std::expected<Settings, std::string> settings_at_start() {
  Settings settings;
  if (const std::string path = variable("HSMUX_SIM_CONFIG"); !path.empty()) {
    if (!std::filesystem::is_regular_file(path)) return std::unexpected(path + ": is no file (HSMUX_SIM_CONFIG)");
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file) return std::unexpected(path + ": cannot be read (HSMUX_SIM_CONFIG)");
    std::expected<Settings, std::string> read = read_settings(text, path, settings, false);
    if (!read) return read;
    settings = std::move(*read);
  }
  if (const std::string module = variable("HSMUX_SIM_MODULE"); !module.empty()) settings.module = module;
  // Several processes may use one configuration.
  if (const std::size_t at = settings.control_path.find("%p"); at != std::string::npos) {
    settings.control_path.replace(at, 2, std::to_string(getpid()));
  }
  return settings;
}

const SlotProfile kPlainProfile;

} // namespace

Nanoseconds now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
}

Simulator& Simulator::get() {
  static auto* const simulator = new Simulator;
  return *simulator;
}

Simulator::Simulator() : sessions_([this](CK_SESSION_HANDLE session) { backend().C_CloseSession(session); }) {}

bool Simulator::start() {
  std::call_once(started_, [this] {
    std::expected<Settings, std::string> settings = settings_at_start();
    if (!settings) {
      std::fprintf(stderr, "hsmux-simhsm: %s\n", settings.error().c_str());
      return;
    }
    statistics_path_ = variable("HSMUX_SIM_STATISTICS");
    owner_ = getpid();
    if (!settings->log_path.empty()) {
      log_ = std::fopen(settings->log_path.c_str(), "we");
      if (log_ == nullptr) std::fprintf(stderr, "hsmux-simhsm: %s cannot be written\n", settings->log_path.c_str());
    }
    started_at_ns_ = now().count();
    const CK_FUNCTION_LIST* backend = open_backend(*settings);
    const std::string control_path = settings->control_path;
    {
      const std::lock_guard lock(settings_mutex_);
      first_faults_ = settings->faults;
      use(std::move(*settings));
    }
    backend_ = backend;
    if (backend != nullptr && !control_path.empty()) serve_control(control_path);
  });
  return backend_ != nullptr;
}

void Simulator::use(Settings settings) {
  std::vector<Fault> faults = std::exchange(settings.faults, {});
  const Nanoseconds added_at = since_start();
  for (Fault& fault : faults) {
    if (fault.at) *fault.at += added_at;
    if (fault.until) *fault.until += added_at;
  }
  for (TimeRow& row : settings.times) row.since = row.since.value_or(added_at);
  const Settings* before = settings_;
  const Settings& used = all_settings_.emplace_back(std::move(settings));
  settings_ = &used;
  // A script of many faults, added one by one, does not make new profiles.
  if (before != nullptr && before->shape != used.shape) {
    for (SimSlot* slot : slots()) set_profile(*slot);
  }
  change_script([&](Script& script) {
    script.set_seed(used.seed);
    for (Fault& fault : faults) script.add(std::move(fault));
  });
}

std::expected<void, std::string> Simulator::apply(const std::string& text) {
  const std::lock_guard lock(settings_mutex_);
  std::expected<Settings, std::string> settings = read_settings(text, "settings", this->settings(), true);
  if (!settings) return std::unexpected(std::move(settings).error());
  change_backend(*settings);
  use(std::move(*settings));
  return {};
}

void Simulator::reset() {
  change_script([](Script& script) { script.restart(); });
  release();
  {
    const std::lock_guard lock(settings_mutex_);
    Settings first = all_settings_.front();
    first.faults = first_faults_;
    first.shape = settings().shape + 1; // its times begin anew
    for (TimeRow& row : first.times) row.since.reset();
    change_backend(first);
    use(std::move(first));
  }
  {
    const std::lock_guard lock(mechanisms_mutex_);
    hidden_.clear();
    listed_.clear();
    has_hidden_ = false;
  }
  for (SimSlot* slot : slots()) {
    slot->flags_set = slot->flags_cleared = 0;
    slot->pin = PinState::kTrue;
    // Whoever has that id meanwhile gives it up in this loop, too.
    if (slot->id.exchange(slot->backend_id) != slot->backend_id) {
      const std::lock_guard lock(settings_mutex_); // rows may be about the id
      set_profile(*slot);
    }
    insert(*slot, std::nullopt);
    const std::lock_guard lock(slot->schedule_mutex);
    slot->schedule.restart();
  }
  reset_counts();
}

void Simulator::initialised(bool now) {
  initialised_ = now;
  if (now) return;
  sessions_.clear();
  for (SimSlot* slot : slots()) new_epoch(*slot);
}

SimSlot* Simulator::find_slot(CK_SLOT_ID id) {
  {
    const std::shared_lock lock(slots_mutex_);
    const auto by_id = std::ranges::find_if(slots_, [&](const SimSlot& slot) { return slot.id == id; });
    if (by_id != slots_.end()) return &*by_id;
    // One that has another id now.
    if (std::ranges::find(slots_, id, &SimSlot::backend_id) != slots_.end()) return nullptr;
  }
  CK_SLOT_INFO info{};
  return backend().C_GetSlotInfo(id, &info) == CKR_OK ? &slot_of_backend(id) : nullptr;
}

SimSlot& Simulator::slot_of_backend(CK_SLOT_ID id) {
  const auto search = [&]() -> SimSlot* {
    const auto found = std::ranges::find(slots_, id, &SimSlot::backend_id);
    return found == slots_.end() ? nullptr : &*found;
  };
  {
    const std::shared_lock lock(slots_mutex_);
    if (SimSlot* slot = search()) return *slot;
  }
  SimSlot* made = nullptr;
  {
    const std::unique_lock lock(slots_mutex_);
    if (SimSlot* slot = search()) return *slot;
    made = &slots_.emplace_back(id, slots_.size() + 1);
    made->profile = &kPlainProfile; // until its label is known
  }
  read_label(*made);
  return *made;
}

std::vector<SimSlot*> Simulator::slots(CK_SLOT_ID id) {
  const std::shared_lock lock(slots_mutex_);
  std::vector<SimSlot*> all;
  for (SimSlot& slot : slots_) {
    if (id == kAnySlot || slot.id == id) all.push_back(&slot);
  }
  return all;
}

void Simulator::read_label(SimSlot& slot) {
  CK_TOKEN_INFO info{};
  if (backend().C_GetTokenInfo(slot.backend_id, &info) == CKR_OK) {
    const std::lock_guard lock(slot.label_mutex);
    slot.label = trimmed_text(info.label, sizeof info.label);
  }
  const std::lock_guard lock(settings_mutex_);
  set_profile(slot);
}

void Simulator::set_profile(SimSlot& slot) {
  const SlotProfile& profile = all_profiles_.emplace_back(profile_of(settings(), slot.id, slot.label_now()));
  slot.profile = &profile;
  const std::lock_guard lock(slot.schedule_mutex);
  if (slot.schedule.engines() != profile.hsm.engines) slot.schedule.set_engines(profile.hsm.engines);
}

bool Simulator::reserve_session(SimSlot& slot) {
  const Limits& limits = settings().limits;
  if (limits.session_idle.count() > 0) sessions_.lose_idle(now(), limits.session_idle);
  const std::lock_guard lock(reserve_mutex_);
  unsigned long open = slot.sessions;
  if (limits.sessions_per_library) {
    open = 0;
    for (const SimSlot* each : slots()) open += each->sessions;
  }
  if (limits.sessions_max != 0 && open >= limits.sessions_max) return false;
  ++slot.sessions;
  return true;
}

void Simulator::hide_mechanism(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mechanisms_mutex_);
  listed_.erase(type);
  hidden_.insert(type);
  has_hidden_ = true;
}

void Simulator::list_mechanism(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mechanisms_mutex_);
  hidden_.erase(type);
  listed_.insert(type);
}

bool Simulator::hidden(CK_MECHANISM_TYPE type) {
  if (!has_hidden_) return false;
  const std::lock_guard lock(mechanisms_mutex_);
  return hidden_.contains(type);
}

std::set<CK_MECHANISM_TYPE> Simulator::listed() {
  const std::lock_guard lock(mechanisms_mutex_);
  return listed_;
}

void Simulator::violation(Violation violation, std::string text) {
  if (settings().strict.contains(violation)) {
    std::fprintf(stderr, "hsmux-simhsm: strict: %s: %s\n", std::string(violation_name(violation)).c_str(),
                 text.c_str());
    std::abort();
  }
  violations_.note(violation, std::move(text));
}

long long Simulator::count(std::optional<Function> function, CK_SLOT_ID slot) {
  const std::lock_guard lock(counts_mutex_);
  std::uint64_t sum = 0;
  const auto add = [&](SimSlot& each) {
    for (std::size_t i = 0; i < kFunctions; ++i) {
      const auto one = static_cast<Function>(i);
      if (function && *function != one) continue;
      const auto before = counts_before_.find({&each, one});
      sum += each.calls.at(i) - (before == counts_before_.end() ? 0 : before->second);
    }
  };
  for (SimSlot* each : slots(slot)) add(*each);
  if (slot == kAnySlot) add(no_slot_);
  return static_cast<long long>(sum);
}

void Simulator::reset_counts() {
  const std::lock_guard lock(counts_mutex_);
  const auto note = [&](SimSlot& slot) {
    for (std::size_t i = 0; i < kFunctions; ++i) counts_before_[{&slot, static_cast<Function>(i)}] = slot.calls.at(i);
  };
  for (SimSlot* slot : slots()) note(*slot);
  note(no_slot_);
  violations_.reset();
  const std::lock_guard script_lock(script_mutex_);
  played_.clear();
}

std::string Simulator::statistics() {
  nlohmann::json violations = nlohmann::json::object(), counts = nlohmann::json::object();
  for (std::size_t i = 0; i < kViolations; ++i) {
    const auto violation = static_cast<Violation>(i);
    violations[std::string(violation_name(violation))] = violations_.count(violation);
  }
  for (std::size_t i = 0; i < kFunctions; ++i) {
    const auto calls = count(static_cast<Function>(i), kAnySlot);
    if (calls != 0) counts[std::string(kFunctionNames.at(i))] = calls;
  }
  nlohmann::json all = nlohmann::json::array();
  for (SimSlot* slot : slots()) {
    nlohmann::json row{{"id", slot->id.load()},
                       {"label", slot->label_now()},
                       {"present", slot->present.load()},
                       {"pin", pin_state_name(slot->pin)},
                       {"epoch", slot->epoch.load()},
                       {"sessions", slot->sessions.load()},
                       {"calls", count(std::nullopt, slot->id)},
                       {"logins", count(Function::C_Login, slot->id)}};
    const std::lock_guard lock(slot->schedule_mutex);
    row["engines"] = slot->schedule.engines();
    row["operations"] = slot->schedule.booked();
    row["busy_seconds"] = std::chrono::duration<double>(slot->schedule.busy()).count();
    all.push_back(std::move(row));
  }
  const nlohmann::json json{{"total", count(std::nullopt, kAnySlot)},
                            {"seconds", std::chrono::duration<double>(since_start()).count()},
                            {"violations", violations_.total()},
                            {"last_violation", violations_.last()},
                            {"violations_by_kind", std::move(violations)},
                            {"faults_played", faults_played()},
                            {"counts", std::move(counts)},
                            {"slots", std::move(all)}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Simulator::end() {
  end_control();
  if (!statistics_path_.empty() && owner_ == getpid()) std::ofstream(statistics_path_) << statistics() << '\n';
}

Nanoseconds Simulator::since_start() const { return now() - Nanoseconds(started_at_ns_); }

} // namespace hsmux::sim
