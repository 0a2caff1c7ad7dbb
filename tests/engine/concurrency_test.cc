#include "engine/concurrency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace hsmux {
namespace {

using std::chrono::milliseconds;

// Runs windows against a token whose throughput depends on how much it is given; `noise` of each measurement, relative.
std::uint32_t limit_after(Concurrency& control, int windows, const std::function<double(std::uint32_t)>& rate,
                          double noise = 0) {
  std::mt19937 dice(11);
  std::uniform_real_distribution<double> error(1 - noise, 1 + noise);
  for (int i = 0; i < windows; ++i) {
    const double completed = rate(control.limit()) * 0.05 * error(dice);
    // As many callers all the time: what each waits is the inverse of the throughput (Little).
    constexpr double kCallers = 200;
    control.next({.time = milliseconds(50),
                  .completed = static_cast<std::uint64_t>(completed),
                  .in_system = std::chrono::duration_cast<Duration>(milliseconds(50) * kCallers),
                  .saturated = true});
  }
  return control.limit();
}

// So many engines of 1 ms.
std::function<double(std::uint32_t)> engines(std::uint32_t count) {
  return [count](std::uint32_t limit) { return 1000.0 * std::min(limit, count); };
}

TEST(Concurrency, GoesDownToTheKnee) {
  Concurrency control(1, 64);
  limit_after(control, 300, engines(8));
  EXPECT_GE(control.limit(), 8U);
  EXPECT_LE(control.limit(), 10U);
}

TEST(Concurrency, FindsTheKneeThroughNoise) {
  Concurrency control(1, 64);
  limit_after(control, 1000, engines(8), 0.01);
  EXPECT_GE(control.limit(), 8U);
  EXPECT_LE(control.limit(), 24U);
}

TEST(Concurrency, NeverGoesWhereThroughputIsLost) {
  Concurrency control(1, 16);
  for (int i = 0; i < 100; ++i) {
    limit_after(control, 10, engines(16));
    EXPECT_GE(control.limit(), 12U); // a trial, no more
  }
}

// Requests come at a rate of their own, near what eight engines can do: whatever the limit, they all get done.
TEST(Concurrency, DoesNotSinkToTheRateOfTheArrivals) {
  Concurrency control(1, 16);
  constexpr double kArrivals = 6400;
  for (int i = 0; i < 2000; ++i) {
    const double capacity = 1000.0 * std::min(control.limit(), 8U);
    const double load = std::min(kArrivals / capacity, 0.999);
    const double seconds = 0.001 * (1 + load * load / (8 * (1 - load))); // about a queue's
    control.next({.time = milliseconds(50),
                  .completed = static_cast<std::uint64_t>(std::min(kArrivals, capacity) * 0.05),
                  .in_system = std::chrono::duration_cast<Duration>(
                      std::chrono::duration<double>(seconds * std::min(kArrivals, capacity) * 0.05)),
                  .saturated = true});
    EXPECT_GE(control.limit(), 7U); // a trial, no more
  }
}

TEST(Concurrency, LeavesAConvoyThatGrowsWithTheNumber) {
  Concurrency control(1, 64);
  limit_after(control, 300, [](std::uint32_t limit) { return 40'000.0 / (1 + 0.02 * (limit > 2 ? limit - 2 : 0)); });
  EXPECT_LE(control.limit(), 3U);
}

TEST(Concurrency, GoesUpAgainWhenTheTokenGrows) {
  Concurrency control(1, 64);
  limit_after(control, 300, engines(4));
  EXPECT_LE(control.limit(), 6U);
  limit_after(control, 3000, engines(32));
  EXPECT_GE(control.limit(), 24U);
}

TEST(Concurrency, WithoutSaturationNothingIsLearnt) {
  Concurrency control(1, 64);
  for (int i = 0; i < 100; ++i) control.next({.time = milliseconds(50), .completed = 5, .saturated = false});
  EXPECT_EQ(control.limit(), 64U);
}

TEST(Concurrency, ATrialThatTheLoadLeavesIsGivenUp) {
  Concurrency control(1, 64);
  while (control.limit() == 64) limit_after(control, 1, engines(64));
  control.next({.time = milliseconds(50), .completed = 5, .saturated = false});
  EXPECT_EQ(control.limit(), 64U);
}

TEST(Concurrency, ALoadThatFadesDuringATrialIsNotTakenForItsEffect) {
  Concurrency control(1, 64);
  double rate = 8000;
  for (int i = 0; i < 60; ++i) {
    rate *= 0.99;
    limit_after(control, 1, [&](std::uint32_t) { return rate; });
  }
  EXPECT_LT(control.limit(), 64U); // the limit does not matter to this rate: it may go down
}

TEST(Concurrency, EqualBoundsFixIt) {
  Concurrency control(5, 5);
  limit_after(control, 100, engines(2));
  EXPECT_EQ(control.limit(), 5U);
}

TEST(Concurrency, StaysWithinItsBounds) {
  Concurrency control(4, 64);
  for (int i = 0; i < 300; ++i) {
    limit_after(control, 1, engines(1));
    EXPECT_GE(control.limit(), 4U);
  }
  EXPECT_EQ(control.limit(), 4U);
}

} // namespace
} // namespace hsmux
