// Many threads on the simulator while everything about it changes: nothing is lost, mixed up or left over.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/simhsm/sim_faults.h"

namespace hsmux::sim {
namespace {

class SimStress : public SimFaults {
protected:
  // What a caller may see while sessions are lost and tokens are pulled.
  static bool expected(CK_RV rv) {
    return rv == CKR_OK || rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_DEVICE_REMOVED ||
           rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_DEVICE_ERROR || rv == CKR_SESSION_COUNT;
  }
  // One session's life: opened, used, closed. The calls that succeeded.
  int live(int calls) const {
    CK_SESSION_HANDLE session = 0;
    CK_RV rv = open(&session);
    EXPECT_TRUE(expected(rv)) << rv;
    if (rv != CKR_OK) return 0;
    int done = 0;
    for (int i = 0; i < calls && rv == CKR_OK; ++i) {
      rv = random_byte(session);
      EXPECT_TRUE(expected(rv)) << rv;
      if (rv == CKR_OK) ++done;
    }
    rv = functions_.C_CloseSession(session);
    EXPECT_TRUE(expected(rv)) << rv;
    return done;
  }
};

TEST_F(SimStress, SessionsComeAndGoWhileTheyAreLostAndTokensArePulled) {
  sim_.apply("reuse_handles = false\n[limits]\nsessions_max = 6\n[[fault]]\nfunction = 'C_GenerateRandom'\n"
             "probability = 0.01\naction = 'answer'\nrv = 'CKR_DEVICE_ERROR'");
  std::atomic<int> done{0};
  std::atomic<bool> stop{false};
  {
    std::vector<std::jthread> callers;
    for (int t = 0; t < 8; ++t) {
      callers.emplace_back([&] {
        while (!stop) done += live(20);
      });
    }
    for (int round = 0; round < 100; ++round) {
      const int before = done;
      sim_.kill_sessions(slot_);
      sim_.play("remove-token", slot_);
      sim_.play("insert-token", slot_);
      sim_.apply(round % 2 == 0 ? "[[hsm]]\nengines = 2\n[[time]]\nfunction = 'C_GenerateRandom'\nus = 20"
                                : "[[hsm]]\nengines = 1\n[[time]]\nfunction = 'C_GenerateRandom'\nus = 5");
      EXPECT_FALSE(sim_.request(R"({"command":"status"})").empty());
      const auto start = std::chrono::steady_clock::now();
      while (done == before && std::chrono::steady_clock::now() - start < std::chrono::seconds(10)) {
        std::this_thread::yield();
      }
      EXPECT_GT(done, before) << "nobody gets through any more";
    }
    stop = true;
  }
  EXPECT_EQ(sim_.open_sessions(slot_), 0U);
  EXPECT_EQ(sim_.violations(), 0U) << sim_.last_violation();
}

TEST_F(SimStress, ConcurrentUseOfOneSessionIsNoticedAndHarmsNothing) {
  CK_SESSION_HANDLE session = 0;
  ASSERT_EQ(open(&session), CKR_OK);
  std::atomic<unsigned long> refused{0};
  {
    std::vector<std::jthread> callers;
    for (int t = 0; t < 4; ++t) {
      callers.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) {
          const CK_RV rv = random_byte(session);
          EXPECT_TRUE(rv == CKR_OK || rv == CKR_OPERATION_ACTIVE) << rv;
          if (rv == CKR_OPERATION_ACTIVE) ++refused;
        }
      });
    }
  }
  EXPECT_EQ(sim_.violations("two-threads"), refused);
  EXPECT_EQ(functions_.C_CloseSession(session), CKR_OK);
  sim_.reset_counts();
}

} // namespace
} // namespace hsmux::sim
