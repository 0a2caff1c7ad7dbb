#include "engine/slot_load.h"

#include <gtest/gtest.h>

#include <random>

namespace hsmux {
namespace {

using std::chrono::milliseconds;

constexpr TimePoint at(int ms) { return TimePoint(milliseconds(1'000'000 + ms)); }

TEST(TwoOf, TheOnlyEligibleSlotIsBoth) {
  EXPECT_EQ(two_of(slot_bit(5), 12345).first, 5U);
  EXPECT_EQ(two_of(slot_bit(63), 0).second, 63U);
}

TEST(TwoOf, TheTwoDifferAndAllPairsOfEligibleSlotsComeUp) {
  const SlotSet eligible = slot_bit(1) | slot_bit(8) | slot_bit(40);
  std::mt19937_64 dice(7);
  SlotSet firsts = 0, others = 0;
  for (int i = 0; i < 1000; ++i) {
    const Candidates candidates = two_of(eligible, dice());
    EXPECT_NE(candidates.first, candidates.second);
    firsts |= slot_bit(candidates.first);
    others |= slot_bit(candidates.second);
  }
  EXPECT_EQ(firsts, eligible);
  EXPECT_EQ(others, eligible);
}

TEST(LoadOf, IsTheTimeUntilTheRequestWouldBeDone) {
  EXPECT_NEAR(load_of({.backlog = Duration(3000), .service_time = Duration(1000), .alone = Duration(1000)}), 4000, 50);
  EXPECT_NEAR(
      load_of({.backlog = Duration(3000), .service_time = Duration(1000), .alone = Duration(1000), .parallelism = 2}),
      2000, 50);
  EXPECT_NEAR(
      load_of({.backlog = Duration(3000), .service_time = Duration(1000), .alone = Duration(1000), .parallelism = 8}),
      1000, 50);
}

TEST(LoadOf, OfTwoThatWouldBeDoneAtTheSameTimeTheOneWithLessInFlightIsLess) {
  const SlotLoad busy{
      .backlog = Duration(5000), .service_time = Duration(1000), .alone = Duration(1000), .parallelism = 8};
  const SlotLoad free{
      .backlog = Duration(1000), .service_time = Duration(1000), .alone = Duration(1000), .parallelism = 8};
  EXPECT_LT(load_of(free), load_of(busy));
}

TEST(LoadOf, AFastSlotThatWorksOnManyAtOnceBeatsAnIdleSlowOne) {
  const SlotLoad fast{
      .backlog = 6 * milliseconds(1), .service_time = milliseconds(1), .alone = milliseconds(1), .parallelism = 6};
  const SlotLoad slow{.backlog = {}, .service_time = milliseconds(5), .alone = milliseconds(5)};
  EXPECT_LT(load_of(fast), load_of(slow));
}

constexpr Duration kOne = milliseconds(1); // what a request takes alone

TEST(Parallelisms, AreLearntFromWhatWasInFlight) {
  Parallelism parallelism;
  EXPECT_EQ(parallelism.estimate(), 1.0);
  for (int i = 0; i < 100; ++i) parallelism.add(8 * kOne, kOne, kOne);
  EXPECT_NEAR(parallelism.estimate(), 8, 0.5);
  for (int i = 0; i < 50; ++i) parallelism.add(16 * kOne, 2 * kOne, kOne); // eight engines, sixteen callers
  EXPECT_NEAR(parallelism.estimate(), 8, 0.5);
}

// A slot that is given half of what it can do must not look full with that.
TEST(Parallelisms, AreNotForgottenWhileASlotIsGivenLittle) {
  Parallelism parallelism;
  for (int i = 0; i < 100; ++i) parallelism.add(8 * kOne, kOne, kOne);
  for (int i = 0; i < 100'000; ++i) parallelism.add(4 * kOne, kOne, kOne);
  EXPECT_NEAR(parallelism.estimate(), 8, 0.5);
}

TEST(Parallelisms, ShrinkWhereRequestsHaveToWait) {
  Parallelism parallelism;
  for (int i = 0; i < 100; ++i) parallelism.add(8 * kOne, kOne, kOne);
  for (int i = 0; i < 200; ++i) parallelism.add(8 * kOne, 4 * kOne, kOne); // two engines are left
  EXPECT_NEAR(parallelism.estimate(), 2, 0.5);
}

// Four fast signatures are less work than one slow decryption, however many they are.
TEST(LoadOf, CountsTimeNotRequests) {
  const SlotLoad signatures{.backlog = 4 * milliseconds(1), .service_time = milliseconds(1), .alone = milliseconds(1)};
  const SlotLoad decryption{.backlog = milliseconds(50), .service_time = milliseconds(1), .alone = milliseconds(1)};
  EXPECT_LT(load_of(signatures), load_of(decryption));
}

TEST(LoadOf, WeightDividesIt) {
  const SlotLoad load{.backlog = Duration(10), .service_time = Duration(10), .alone = Duration(10)};
  SlotLoad heavy = load;
  heavy.weight = 4.0;
  EXPECT_DOUBLE_EQ(load_of(heavy), load_of(load) / 4);
}

TEST(LoadOf, AnUnknownSlotIsTriedFirst) {
  EXPECT_DOUBLE_EQ(load_of({.backlog = {}, .service_time = milliseconds(50), .weight = 1.0, .unknown = true}), 0.0);
}

TEST(ServiceTimes, TheFirstSampleIsTheEstimate) {
  ServiceTime time;
  EXPECT_TRUE(time.outdated(at(0)));
  time.add(milliseconds(3), at(0));
  EXPECT_EQ(time.estimate(), milliseconds(3));
  EXPECT_FALSE(time.outdated(at(1)));
}

TEST(ServiceTimes, OneHiccupIsNotATrend) {
  ServiceTime time;
  time.add(milliseconds(1), at(0));
  time.add(milliseconds(500), at(1));
  EXPECT_LT(time.estimate(), milliseconds(2));
}

TEST(ServiceTimes, TwentySlowAnswersAre) {
  ServiceTime time;
  time.add(milliseconds(1), at(0));
  for (int i = 1; i <= 20; ++i) time.add(milliseconds(50), at(i));
  EXPECT_GT(time.estimate(), milliseconds(40));
}

TEST(ServiceTimes, FollowTheWayBackToo) {
  ServiceTime time;
  time.add(milliseconds(50), at(0));
  for (int i = 1; i <= 40; ++i) time.add(milliseconds(1), at(i));
  EXPECT_LT(time.estimate(), milliseconds(2));
}

// A slot that was slow once gets no requests, and would never be measured again.
TEST(ServiceTimes, AnEstimateMuchOlderThanItselfIsOutdatedAndTheNextSampleStartsAnew) {
  ServiceTime time;
  time.add(milliseconds(50), at(0));
  EXPECT_FALSE(time.outdated(at(ServiceTime::kAgeMax * 50)));
  EXPECT_TRUE(time.outdated(at((ServiceTime::kAgeMax + 1) * 50 + 1)));
  time.add(milliseconds(1), at((ServiceTime::kAgeMax + 1) * 50 + 2));
  EXPECT_EQ(time.estimate(), milliseconds(1));
}

TEST(ServiceTimes, TheBaseIsWhatARequestTakesAlone) {
  ServiceTime time;
  for (int i = 0; i < 1000; ++i) time.add(milliseconds(i % 5 == 0 ? 1 : 3), at(i)); // most wait
  EXPECT_LT(time.base(), std::chrono::microseconds(1200));
  for (int i = 1000; i < 2000; ++i) time.add(milliseconds(5), at(i)); // it has become slow
  EXPECT_GT(time.base(), std::chrono::microseconds(4500));
}

TEST(ServiceTimes, WhatIsSlowIsAboveNearlyAllSamplesAndBelowTheRest) {
  ServiceTime time;
  EXPECT_EQ(time.slow(), Duration{});
  std::mt19937_64 dice(11);
  std::exponential_distribution<double> spread(1);
  int slower = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Duration sample(static_cast<Duration::rep>(spread(dice) * 1e6));
    if (i >= 10'000 && sample > time.slow()) ++slower;
    time.add(sample, at(i));
  }
  EXPECT_GT(slower, 50); // of ten thousand; a hundred is what is aimed at
  EXPECT_LT(slower, 200);
}

} // namespace
} // namespace hsmux
