// The virtual schedule against what queueing theory says. No clock, no threads: the figures are exact.
#include "tests/simhsm/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <queue>

namespace hsmux::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Throttle kNone;

double seconds_of(Nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// Callers that each wait for their answer, `late` after it, and ask again: the rate, and every latency in order.
struct Loop {
  double per_second = 0;
  std::vector<Nanoseconds> latencies;

  [[nodiscard]] Nanoseconds percentile(double share) const {
    return latencies.at(static_cast<std::size_t>(share * static_cast<double>(latencies.size() - 1)));
  }
};
Loop closed_loop(Schedule& schedule, std::size_t callers, Nanoseconds service, std::size_t calls,
                 Nanoseconds late = Nanoseconds{0}) {
  std::priority_queue<Nanoseconds, std::vector<Nanoseconds>, std::greater<>> next;
  for (std::size_t i = 0; i < callers; ++i) next.push(Nanoseconds{0});
  Loop loop;
  Nanoseconds last{0};
  for (std::size_t i = 0; i < calls; ++i) {
    const Nanoseconds arrival = next.top();
    next.pop();
    const Booking booking = schedule.book(arrival, service, kNone);
    loop.latencies.push_back(booking.end - arrival);
    last = std::max(last, booking.end);
    next.push(booking.end + late);
  }
  loop.latencies.erase(loop.latencies.begin(), loop.latencies.begin() + static_cast<std::ptrdiff_t>(callers));
  std::ranges::sort(loop.latencies);
  loop.per_second = static_cast<double>(calls) / seconds_of(last);
  return loop;
}

TEST(Schedule, CapacityIsEnginesDividedByTime) {
  for (const std::size_t engines : {1, 2, 8, 64}) {
    Schedule schedule;
    schedule.set_engines(engines);
    const Loop loop = closed_loop(schedule, 2 * engines, milliseconds(1), 10'000 * engines);
    EXPECT_NEAR(loop.per_second, 1000. * static_cast<double>(engines), 0.001 * 1000 * static_cast<double>(engines));
  }
}

TEST(Schedule, CallersThatWakeUpLateDoNotLowerTheCapacityWhileOthersWait) {
  Schedule schedule;
  schedule.set_engines(8);
  const Loop loop = closed_loop(schedule, 16, milliseconds(1), 80'000, microseconds(300));
  EXPECT_NEAR(loop.per_second, 8000, 8);
}

TEST(Schedule, AtSaturationEveryCallWaitsForThoseBeforeItAndNoLonger) {
  Schedule schedule;
  schedule.set_engines(8);
  const Loop loop = closed_loop(schedule, 64, milliseconds(1), 100'000);
  // 64 calls on 8 engines of 1 ms: 8 ms each, first in first out.
  EXPECT_EQ(loop.percentile(0.5), milliseconds(8));
  EXPECT_EQ(loop.percentile(0.99), milliseconds(8));
  EXPECT_EQ(loop.latencies.back(), milliseconds(8));
}

TEST(Schedule, PoissonArrivalsOnOneEngineWaitAsTheFormulaSays) {
  // M/D/1: the mean wait is ρ / (2 (1 - ρ)) service times (Pollaczek and Khinchine).
  Schedule schedule;
  const Nanoseconds service = milliseconds(1);
  constexpr double kLoad = 0.8;
  Nanoseconds arrival{0};
  double waits = 0;
  constexpr std::size_t kCalls = 2'000'000;
  for (std::size_t i = 0; i < kCalls; ++i) {
    const double gap = -std::log(1 - uniform(17, 0, i)) * seconds_of(service) / kLoad;
    arrival += Nanoseconds(std::llround(gap * 1e9));
    waits += seconds_of(schedule.book(arrival, service, kNone).start - arrival);
  }
  const double mean = waits / static_cast<double>(kCalls) / seconds_of(service);
  EXPECT_NEAR(mean, kLoad / (2 * (1 - kLoad)), 0.05 * kLoad / (2 * (1 - kLoad)));
}

TEST(Schedule, StartsAreInTheOrderOfArrival) {
  Schedule schedule;
  schedule.set_engines(3);
  Nanoseconds last_start{0};
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    const Nanoseconds service = microseconds(hash(3, 0, i) % 2000);
    const Booking booking = schedule.book(microseconds(100 * i), service, kNone);
    EXPECT_GE(booking.start, last_start);
    EXPECT_EQ(booking.end, booking.start + service);
    last_start = booking.start;
  }
}

TEST(Schedule, AnIdleEngineStartsAtArrival) {
  Schedule schedule;
  EXPECT_EQ(schedule.book(seconds(1), milliseconds(2), kNone).end, seconds(1) + milliseconds(2));
  EXPECT_EQ(schedule.book(seconds(9), milliseconds(2), kNone).start, seconds(9));
  EXPECT_EQ(schedule.booked(), 2U);
  EXPECT_EQ(schedule.busy(), milliseconds(4));
}

TEST(Schedule, EnginesThatComeAreFreeAtOnce) {
  Schedule schedule;
  EXPECT_EQ(schedule.book(seconds(1), seconds(5), kNone).start, seconds(1));
  EXPECT_EQ(schedule.book(seconds(2), seconds(5), kNone).start, seconds(6));
  schedule.set_engines(2);
  EXPECT_EQ(schedule.book(seconds(3), seconds(5), kNone).start, seconds(3));
}

TEST(Schedule, OnceRestartedItIsAsAtTheBeginning) {
  Schedule schedule;
  schedule.set_engines(2);
  const Throttle throttle{.per_second = 0.001, .burst = 1, .answer = 0x31};
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(schedule.book(seconds(1), seconds(5), throttle).start, seconds(1));
    EXPECT_TRUE(schedule.book(seconds(1), seconds(5), throttle).refused);
    EXPECT_EQ(schedule.booked(), 1U);
    schedule.restart();
    EXPECT_EQ(schedule.engines(), 2U);
  }
}

TEST(Schedule, AThrottleThatWaitsHoldsItsRateAfterTheBurst) {
  Schedule schedule;
  schedule.set_engines(8);
  const Throttle throttle{.per_second = 1000, .burst = 10, .answer = {}};
  Booking last;
  for (int i = 0; i < 2010; ++i) last = schedule.book(seconds(1), microseconds(1), throttle);
  EXPECT_NEAR(seconds_of(last.start), 1 + 2, 1e-6); // 10 at once, then 2000 at 1000 a second
}

TEST(Schedule, AThrottleThatRefusesLetsItsRateThrough) {
  Schedule schedule;
  const Throttle throttle{.per_second = 1000, .burst = 1, .answer = 0x31};
  int let_through = 0;
  for (int i = 0; i < 10'000; ++i) { // 10,000 a second for a second
    if (!schedule.book(seconds(1) + microseconds(100 * i), Nanoseconds(1), throttle).refused) ++let_through;
  }
  EXPECT_NEAR(let_through, 1000, 1);
  EXPECT_EQ(schedule.booked(), static_cast<std::uint64_t>(let_through));
}

} // namespace
} // namespace hsmux::sim
