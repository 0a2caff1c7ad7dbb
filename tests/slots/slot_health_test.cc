// The state machine of a slot's health: no threads, no clock.
#include "slots/slot_health.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/random_seed.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class HealthOfASlot : public testing::Test {
protected:
  void pass(Duration time) {
    const TimePoint until = now_ + time;
    while (health_.next_look() <= until && health_.next_look() > now_) {
      now_ = health_.next_look();
      health_.tick(now_);
      if (health_.canary_due(now_)) return;
    }
    now_ = until;
    health_.tick(now_);
  }
  void fail_until_suspect() {
    for (int i = 0; i < 3; ++i) health_.failed(now_, SlotHealth::kFailureWeight);
    EXPECT_EQ(health_.state(), HealthState::kSuspect);
  }
  void canary(bool well) {
    ASSERT_TRUE(health_.canary_due(now_));
    health_.canary_ended(now_, health_.canary_began(now_), well);
  }
  void eject() {
    fail_until_suspect();
    canary(false);
    EXPECT_EQ(health_.state(), HealthState::kEjected);
  }

  TimePoint now_ = TimePoint(seconds(1000));
  SlotHealth health_;
};

TEST_F(HealthOfASlot, ANewSlotIsEjectedUntilItIsConnectedAndThenHealthy) {
  EXPECT_EQ(health_.state(), HealthState::kEjected);
  EXPECT_EQ(health_.cause(), HealthCause::kConnecting);
  health_.connected(now_);
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
  EXPECT_EQ(health_.next_look(), TimePoint::max());
  EXPECT_TRUE(health_.quiet());
}

TEST_F(HealthOfASlot, SingleFailuresBetweenSuccessesDoNotAddUp) {
  health_.connected(now_);
  for (int i = 0; i < 100; ++i) {
    health_.failed(now_, SlotHealth::kFailureWeight);
    for (int j = 0; j < 2; ++j) health_.succeeded(now_);
  }
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
}

TEST_F(HealthOfASlot, WhereEverySecondRequestFailsItBecomesSuspect) {
  health_.connected(now_);
  for (int i = 0; i < 10; ++i) {
    health_.failed(now_, SlotHealth::kFailureWeight);
    health_.succeeded(now_);
  }
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
}

TEST_F(HealthOfASlot, UnknownCodesCountHalf) {
  health_.connected(now_);
  for (int i = 0; i < 5; ++i) health_.failed(now_, SlotHealth::kUnknownWeight);
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
  health_.failed(now_, SlotHealth::kUnknownWeight);
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
}

TEST_F(HealthOfASlot, FailuresAloneNeverEject) {
  health_.connected(now_);
  for (int i = 0; i < 10'000; ++i) health_.failed(now_, SlotHealth::kFailureWeight);
  for (int i = 0; i < 100; ++i) health_.overdue(now_);
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
}

TEST_F(HealthOfASlot, ACanaryThatSucceedsMakesASuspectHealthy) {
  health_.connected(now_);
  fail_until_suspect();
  EXPECT_EQ(health_.cause(), HealthCause::kFailures);
  canary(true);
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
}

TEST_F(HealthOfASlot, ACanaryThatFailsEjectsAndOneASecondLooksAgain) {
  health_.connected(now_);
  eject();
  EXPECT_EQ(health_.cause(), HealthCause::kCanaryFailed);
  EXPECT_FALSE(health_.canary_due(now_));
  EXPECT_FALSE(health_.canary_due(now_ + SlotHealth::kCanaryInterval - milliseconds(1)));
  now_ += SlotHealth::kCanaryInterval;
  canary(true);
  EXPECT_EQ(health_.state(), HealthState::kProbing);
}

TEST_F(HealthOfASlot, ASlotThatIsBackGetsMoreRequestsWithEachSuccess) {
  health_.connected(now_);
  eject();
  now_ += seconds(1);
  canary(true);
  EXPECT_EQ(health_.in_flight_max(), 1U);
  for (std::uint32_t i = 1; i < SlotHealth::kRampUp; ++i) {
    health_.succeeded(now_);
    EXPECT_EQ(health_.in_flight_max(), 1 + i);
    EXPECT_EQ(health_.state(), HealthState::kProbing);
  }
  health_.succeeded(now_);
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
  EXPECT_TRUE(health_.quiet());
}

TEST_F(HealthOfASlot, OneFailureOfASlotThatIsJustBackMakesItSuspect) {
  health_.connected(now_);
  eject();
  now_ += seconds(1);
  canary(true);
  health_.failed(now_, SlotHealth::kUnknownWeight);
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
}

TEST_F(HealthOfASlot, ASlotThatIsBackAndGetsNoRequestsIsHealthyAfterAWhile) {
  health_.connected(now_);
  health_.lost();
  EXPECT_EQ(health_.state(), HealthState::kEjected);
  EXPECT_EQ(health_.cause(), HealthCause::kLost);
  health_.connected(now_);
  EXPECT_EQ(health_.state(), HealthState::kProbing);
  pass(SlotHealth::kRampUpTime);
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
}

TEST_F(HealthOfASlot, OverdueCallsInARowMakeItSuspectAndAnAnswerBetweenThemDoesNot) {
  health_.connected(now_);
  for (int i = 0; i < 10; ++i) {
    health_.overdue(now_);
    health_.overdue(now_);
    health_.succeeded(now_);
  }
  EXPECT_EQ(health_.state(), HealthState::kHealthy);
  for (std::uint32_t i = 0; i < SlotHealth::kOverdueToSuspect; ++i) health_.overdue(now_);
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
  EXPECT_EQ(health_.cause(), HealthCause::kOverdue);
}

TEST_F(HealthOfASlot, AWrongResultIsEnoughToAskTheCanary) {
  health_.connected(now_);
  health_.wrong_result(now_);
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
  EXPECT_TRUE(health_.canary_due(now_));
}

TEST_F(HealthOfASlot, ACanaryThatDoesNotReturnEjects) {
  health_.connected(now_);
  fail_until_suspect();
  const std::uint64_t number = health_.canary_began(now_);
  pass(SlotHealth::kCanaryLimit);
  EXPECT_EQ(health_.state(), HealthState::kEjected);
  EXPECT_EQ(health_.cause(), HealthCause::kCanaryStuck);
  EXPECT_FALSE(health_.canary_due(now_ + seconds(2))); // single-flight
  // Back late: it is slow at best.
  now_ += seconds(5);
  health_.canary_ended(now_, number, true);
  EXPECT_EQ(health_.state(), HealthState::kEjected);
  canary(true);
  EXPECT_EQ(health_.state(), HealthState::kProbing);
}

TEST_F(HealthOfASlot, CanariesThatNeverReturnAreGivenUpAndBounded) {
  health_.connected(now_);
  fail_until_suspect();
  std::uint32_t begun = 0;
  for (int second = 0; second < 1000; ++second, now_ += seconds(1)) {
    health_.tick(now_);
    if (!health_.canary_due(now_)) continue;
    health_.canary_began(now_);
    ++begun;
  }
  EXPECT_EQ(begun, SlotHealth::kCanariesStuckMax + 1);
  EXPECT_EQ(health_.state(), HealthState::kEjected);
  // As soon as one of those given up on returns, another may begin.
  health_.canary_ended(now_, 1, true);
  EXPECT_TRUE(health_.canary_due(now_));
}

TEST_F(HealthOfASlot, ACanaryOfAnEpochBeforeSaysNothing) {
  health_.connected(now_);
  fail_until_suspect();
  const std::uint64_t number = health_.canary_began(now_);
  health_.lost();
  health_.connected(now_);
  health_.canary_ended(now_, number, false);
  EXPECT_EQ(health_.state(), HealthState::kProbing);
}

TEST_F(HealthOfASlot, ACanaryThatCouldNotBeTriedIsTriedAgain) {
  health_.connected(now_);
  fail_until_suspect();
  health_.canary_put_off(now_, health_.canary_began(now_));
  EXPECT_EQ(health_.state(), HealthState::kSuspect);
  EXPECT_FALSE(health_.canary_due(now_));
  EXPECT_TRUE(health_.canary_due(now_ + SlotHealth::kCanaryInterval));
}

TEST_F(HealthOfASlot, LatchedAndDrainingStandAboveAllElse) {
  health_.connected(now_);
  eject();
  health_.drain(true);
  EXPECT_EQ(health_.state(), HealthState::kDraining);
  health_.latched();
  EXPECT_EQ(health_.state(), HealthState::kLatched);
  EXPECT_EQ(health_.cause(), HealthCause::kPin);
  health_.lost(); // unlatched: it tries again
  EXPECT_EQ(health_.state(), HealthState::kDraining);
  health_.connected(now_);
  health_.drain(false);
  EXPECT_EQ(health_.state(), HealthState::kProbing);
}

// Whatever happens in whatever order: canaries keep their distance, and a slot is ejected by canaries and losses only.
TEST_F(HealthOfASlot, NoOrderOfEventsBreaksTheRules) {
  std::mt19937_64 random(test_seed());
  for (int run = 0; run < 300; ++run) {
    SlotHealth health;
    TimePoint now = now_, last_canary = TimePoint::min();
    std::vector<std::uint64_t> running;
    bool connected = false;
    for (int step = 0; step < 400; ++step) {
      now += milliseconds(random() % 300);
      const HealthState before = health.state();
      bool may_eject = false;
      switch (random() % 10) {
      case 0:
        health.connected(now);
        connected = true;
        break;
      case 1:
        if (random() % 4 != 0) break;
        health.lost();
        connected = false;
        may_eject = true;
        break;
      case 2: health.failed(now, SlotHealth::kFailureWeight); break;
      case 3: health.failed(now, SlotHealth::kUnknownWeight); break;
      case 4: health.overdue(now); break;
      case 5: health.wrong_result(now); break;
      case 6:
        if (running.empty()) break;
        health.canary_ended(now, running.back(), random() % 2 == 0);
        running.pop_back();
        may_eject = true;
        break;
      case 7:
        health.tick(now);
        may_eject = true;
        break;
      default: health.succeeded(now); break;
      }
      if (before != HealthState::kEjected && health.state() == HealthState::kEjected) {
        ASSERT_TRUE(may_eject);
      }
      if (!connected) {
        ASSERT_EQ(health.state(), HealthState::kEjected);
      }
      ASSERT_GE(health.in_flight_max(), 1U);
      if (!health.canary_due(now)) continue;
      if (last_canary != TimePoint::min()) {
        ASSERT_GE(now - last_canary, SlotHealth::kCanaryInterval);
      }
      last_canary = now;
      running.push_back(health.canary_began(now));
      ASSERT_LE(running.size(), SlotHealth::kCanariesStuckMax + 1) << "run " << run << " step " << step;
    }
  }
}

} // namespace
} // namespace hsmux
