// Real-time chaos: seeded faults of the simulated HSM, one after the other, while requests of all forms run at a low
// rate. Three seconds; with HSMUX_CHAOS_LONG a minute, or HSMUX_CHAOS_SECONDS. HSMUX_SEED repeats the order of the
// faults (not the threads').
#include <condition_variable>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/contract/submit_fixture.h"
#include "tests/random_seed.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct ChaosFault {
  const char* name;
  // Begins it on a slot; what ends it, if it does not end by itself.
  std::function<void(SimControl&, unsigned long)> begin, end;
};

const std::vector<ChaosFault>& chaos_faults() {
  const auto answers = [](const char* function, CK_RV rv, unsigned long times) {
    return [=](SimControl& sim, unsigned long slot) { sim.answer_for_slot(slot, function, rv, times); };
  };
  const auto clear = [](SimControl& sim, unsigned long) { sim.clear_answers(); };
  static const std::vector<ChaosFault> kAll{
      {"one session lost", answers("C_Sign", CKR_SESSION_HANDLE_INVALID, 1), {}},
      {"all sessions lost", [](SimControl& sim, unsigned long slot) { sim.kill_sessions(slot); }, {}},
      {"login lost", [](SimControl& sim, unsigned long slot) { sim.logout(slot); }, {}},
      {"token removed", [](SimControl& sim, unsigned long slot) { sim.play("remove-token", slot); },
       [](SimControl& sim, unsigned long slot) { sim.play("insert-token", slot); }},
      {"C_Sign hangs", [](SimControl& sim, unsigned long slot) { sim.hang("C_Sign", slot); },
       [](SimControl& sim, unsigned long) { sim.release(); }},
      {"every call slow", [](SimControl& sim, unsigned long slot) { sim.delay("*", milliseconds(300), slot); },
       [](SimControl& sim, unsigned long slot) { sim.delay("*", milliseconds(0), slot); }},
      {"device errors", answers("C_Sign", CKR_DEVICE_ERROR, 0), clear},
      {"function failed now and then", answers("C_SignInit", CKR_FUNCTION_FAILED, 2), clear},
      {"vendor code", answers("C_Sign", CKR_VENDOR_DEFINED + 3, 5), clear},
      {"out of memory", answers("C_SignInit", CKR_DEVICE_MEMORY, 5), clear},
      {"operation active", answers("C_SignInit", CKR_OPERATION_ACTIVE, 2), clear},
      {"stale handle", answers("C_SignInit", CKR_KEY_HANDLE_INVALID, 1), clear},
      {"no session left", answers("C_OpenSession", CKR_SESSION_COUNT, 10), clear},
      {"wrong signatures", [](SimControl& sim, unsigned long slot) { sim.corrupt("C_Sign", 0, slot); }, clear},
      {"over-long signatures", [](SimControl& sim, unsigned long slot) { sim.overlong("C_Sign", 3, slot); }, clear},
  };
  return kAll;
}

seconds chaos_time() {
  if (std::getenv("HSMUX_CHAOS_LONG") == nullptr) return seconds(3);
  const char* given = std::getenv("HSMUX_CHAOS_SECONDS");
  return seconds(given == nullptr ? 60 : std::max(1, std::atoi(given)));
}

class Chaos : public Submit {
protected:
  // Waits without a processor, until `time` has passed or `done`.
  void pause(Duration time) {
    std::unique_lock lock(pause_mutex_);
    pause_.wait_for(lock, time);
  }
  std::mutex pause_mutex_;
  std::condition_variable pause_;
};

TEST_F(Chaos, StressNothingIsLostMixedUpOrWrongWhateverTheSecondSlotDoes) {
  const Deadline until = Deadline::after(chaos_time());
  std::mt19937_64 random(test_seed());
  open_with_key("[self_check]\nverify_share = 1.0");
  std::atomic<bool> stop{false};
  std::atomic<int> good{0}, wrong{0};
  std::mutex mutex;
  std::vector<std::string> errors;
  const auto caller = [&](bool hard) {
    while (!stop) {
      const auto signature =
          sign("orders", message_, {.deadline = Deadline::after(seconds(20)), .slot = {}, .hard = hard});
      if (signature) {
        ++good;
        if (!verifies("orders", message_, *signature)) ++wrong;
      } else {
        const std::lock_guard lock(mutex);
        errors.push_back(signature.error().text());
      }
      pause(milliseconds(10));
    }
  };
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 3; ++i) callers.emplace_back(caller, true);
    std::map<std::string, int> played;
    while (!until.passed(MonotonicClock::now())) {
      const ChaosFault& fault = chaos_faults().at(random() % chaos_faults().size());
      ++played[fault.name];
      fault.begin(*sim_, slot_id(1));
      for (int i = 0; i < 5; ++i) ASSERT_TRUE(submit(within(seconds(20))).has_value());
      pause(milliseconds(20 + random() % 300));
      if (fault.end) fault.end(*sim_, slot_id(1));
      // What was asked of a slot that hung a moment ago is not what the next fault is to meet.
      for (const SlotReport& slot : engine().slots_now()) {
        const SessionPoolStats& pool = slot.stats.sessions;
        EXPECT_EQ(pool.opened, pool.idle + pool.leased + pool.discarded) << slot.name << " after " << fault.name;
        EXPECT_LE(pool.idle + pool.leased, slot.sessions_configured_max) << slot.name << " after " << fault.name;
      }
    }
    for (const auto& [name, times] : played) std::printf("played %4d x %s\n", times, name.c_str());
    stop = true;
  }
  tally_.expect_each_once();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(errors.empty()) << errors.size() << " errors, the first: " << errors.front();
  EXPECT_TRUE(tally_.errors().empty()) << tally_.errors().front().text();
  EXPECT_GT(good, 0);
  // And it is used again.
  EXPECT_TRUE(eventually([&] {
    (void)sign("orders", message_);
    return engine().health().level == HealthLevel::kOk;
  }));
}

} // namespace
} // namespace hsmux
