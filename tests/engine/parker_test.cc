#include "engine/parker.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Parker, AWaitEndsAtItsTime) {
  Parker parker;
  const TimePoint until = MonotonicClock::now() + milliseconds(5);
  EXPECT_FALSE(parker.wait_until(until));
  EXPECT_GE(MonotonicClock::now(), until);
}

TEST(Parker, WhatWasSetBeforeTheWaitEndsIt) {
  Parker parker;
  parker.set();
  EXPECT_TRUE(parker.wait_until(TimePoint::max()));
}

TEST(Parker, EachSetEndsOneWait) {
  Parker parker;
  parker.set();
  EXPECT_TRUE(parker.wait_until(TimePoint::max()));
  EXPECT_FALSE(parker.wait_until(MonotonicClock::now()));
}

TEST(Parker, AnotherThreadEndsTheWaitAndIsSeenToHaveWrittenBefore) {
  for (int i = 0; i < 1000; ++i) {
    Parker parker;
    int written = 0;
    std::jthread other([&] {
      written = 7;
      Parker::wake(parker.set());
    });
    EXPECT_TRUE(parker.wait_until(MonotonicClock::now() + seconds(60)));
    EXPECT_EQ(written, 7);
    other.join();
  }
}

TEST(Parker, WakingOneThatIsGoneDoesNoHarm) {
  auto parker = std::make_unique<Parker>();
  const Parker::Word* word = parker->set();
  EXPECT_TRUE(parker->wait_until(TimePoint::max()));
  parker.reset();
  Parker::wake(word);
}

} // namespace
} // namespace hsmux
