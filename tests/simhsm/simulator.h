// The simulator: settings, slots, sessions, fault script and counts of one copy of the library. Made at the first use
// and never destroyed, since calls may still hang when the program ends. Any thread; no lock of it but a slot's gate is
// held while the backend runs.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>

#include "tests/simhsm/fault.h"
#include "tests/simhsm/session_table.h"
#include "tests/simhsm/settings.h"
#include "tests/simhsm/sim_slot.h"
#include "tests/simhsm/violations.h"

namespace hsmux::sim {

// Every slot, or a call that belongs to none.
constexpr CK_SLOT_ID kAnySlot = ~0UL;

class Simulator {
public:
  static Simulator& get();

  // Reads the settings and opens the backend, once; false, with a text on standard error, where that fails.
  bool start();
  [[nodiscard]] const CK_FUNCTION_LIST& backend() const { return *backend_; }
  [[nodiscard]] const Settings& settings() const { return *settings_; } // as of now; stays valid
  // Settings on top of those that are there. Errors: as read_settings.
  std::expected<void, std::string> apply(const std::string& text);
  // Everything as it was after start(): counts, faults, limits, flags, mechanisms. Hung calls are released, sessions
  // stay open.
  void reset();

  [[nodiscard]] bool initialised() const { return initialised_; }
  void initialised(bool now);

  // The slot that callers know by this id; nullptr for none.
  SimSlot* find_slot(CK_SLOT_ID id);
  SimSlot& slot_of_backend(CK_SLOT_ID id); // one that the backend has
  SimSlot& no_slot() { return no_slot_; }
  // By id; every slot for kAnySlot.
  std::vector<SimSlot*> slots(CK_SLOT_ID id = kAnySlot);
  // After the token was initialised, or the label may have changed otherwise.
  void read_label(SimSlot& slot);

  SessionTable& sessions() { return sessions_; }
  // Counts a session that is about to be opened; false when it would be one too many.
  bool reserve_session(SimSlot& slot);

  // Faults.
  [[nodiscard]] bool has_faults() const { return has_faults_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool has_due() const { return has_faults() || coming_back_.load(std::memory_order_relaxed) != 0; }
  std::vector<Fault> take_faults(Function function, SimSlot& slot, std::uint64_t call, bool with_buffer);
  void change_script(const std::function<void(Script&)>& change);
  // Plays what its time alone brings about.
  void play_due();
  void play(const Fault& fault, SimSlot& slot);
  // By somebody from outside, now: also counted and logged.
  void play_now(const Fault& fault, SimSlot& slot);
  // False for an id that another slot has.
  bool may_have_id(const SimSlot& slot, CK_SLOT_ID id);
  // Until a release() after `releases` was read, or for `time` where that is not 0.
  [[nodiscard]] unsigned long releases() const { return releases_; }
  void hang(unsigned long releases, Nanoseconds time = Nanoseconds{0});
  void release();
  bool wait_hung(unsigned long calls, std::chrono::milliseconds timeout);

  unsigned long lose_sessions(CK_SLOT_ID slot);
  unsigned long lose_sessions_now(CK_SLOT_ID slot); // by somebody from outside, as play_now
  CK_RV log_out(SimSlot& slot);
  CK_RV log_out_now(SimSlot& slot); // as lose_sessions_now
  void new_epoch(SimSlot& slot) { ++slot.epoch; }

  // Mechanisms that are not offered, or only listed.
  void hide_mechanism(CK_MECHANISM_TYPE type);
  void list_mechanism(CK_MECHANISM_TYPE type);
  [[nodiscard]] bool hidden(CK_MECHANISM_TYPE type);
  [[nodiscard]] std::set<CK_MECHANISM_TYPE> listed();

  // Counts. reset_counts() is about calls, violations and faults played.
  void violation(Violation violation, std::string text);
  Violations& violations() { return violations_; }
  long long count(std::optional<Function> function, CK_SLOT_ID slot);
  void reset_counts();
  std::string statistics(); // as JSON, see docs/simhsm.md
  std::map<std::string, unsigned long> faults_played();
  // Of the process: writes the statistics where HSMUX_SIM_STATISTICS asked for them.
  void end();

  [[nodiscard]] Nanoseconds since_start() const;

private:
  Simulator();
  void use(Settings settings);    // with the mutex held
  CK_RV end_login(SimSlot& slot); // in the backend
  void insert(SimSlot& slot, std::optional<CK_SLOT_ID> id);
  void remove(SimSlot& slot, Nanoseconds time);
  void log_fault(const Fault& fault, std::optional<Function> function, SimSlot& slot, std::uint64_t call);
  void set_profile(SimSlot& slot);

  std::once_flag started_;
  const CK_FUNCTION_LIST* backend_ = nullptr;
  std::string statistics_path_;
  pid_t owner_ = 0;          // children made by fork() write no statistics
  std::FILE* log_ = nullptr; // guarded by script_mutex_
  std::atomic<bool> initialised_{false};
  std::atomic<const Settings*> settings_{nullptr};

  std::mutex
      settings_mutex_; // guards the next three: what settings_ and the slots' profiles point to or have pointed to
  std::deque<Settings> all_settings_;
  std::deque<SlotProfile> all_profiles_;
  std::vector<Fault> first_faults_; // those of the start, for reset()

  SimSlot no_slot_{kAnySlot, 0};
  std::shared_mutex slots_mutex_; // guards the next one; slots themselves stay
  std::deque<SimSlot> slots_;

  SessionTable sessions_;
  std::mutex reserve_mutex_; // one reservation at a time, so that limits hold

  std::atomic<bool> has_faults_{false};
  std::atomic<unsigned> coming_back_{0}; // slots with back_at_ns
  std::atomic<std::int64_t> started_at_ns_{0};
  std::mutex script_mutex_; // guards the next two and log_
  Script script_;
  std::map<std::string, unsigned long> played_;

  std::mutex mechanisms_mutex_; // guards the next two
  std::set<CK_MECHANISM_TYPE> hidden_, listed_;
  std::atomic<bool> has_hidden_{false};

  std::mutex hang_mutex_; // guards the next two but one
  std::condition_variable changed_;
  unsigned long hung_ = 0;
  std::atomic<unsigned long> releases_{0}; // written under hang_mutex_

  Violations violations_;
  std::mutex counts_mutex_; // guards the next one
  std::map<std::pair<SimSlot*, Function>, std::uint64_t> counts_before_;
};

// Of the clock that everything here is measured by: CLOCK_MONOTONIC.
Nanoseconds now();

} // namespace hsmux::sim
