// What a search decides, on HSMs that are formulas.
#include "tools/capacity/search.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <map>

#include "tools/capacity/limit.h"

namespace hsmux::capacity {
namespace {

using testing::ElementsAre;

std::vector<std::uint32_t> steps_of(SessionsSearch& search, const std::function<double(std::uint32_t)>& rate) {
  std::vector<std::uint32_t> steps;
  while (const auto sessions = search.next()) {
    steps.push_back(*sessions);
    search.add({.sessions = *sessions, .rate = rate(*sessions)});
    if (steps.size() > 50) break;
  }
  return steps;
}

// So many engines, a little lost where there are only as many sessions.
std::function<double(std::uint32_t)> engines(double count) {
  return [count](std::uint32_t sessions) {
    const double busy = std::min<double>(sessions, count);
    return busy * 1000 * (sessions <= count ? 0.98 : 1);
  };
}

TEST(CapacitySessions, AreDoubledUntilTwoStepsGainNothing) {
  SessionsSearch search(64);
  EXPECT_THAT(steps_of(search, engines(8)), ElementsAre(1, 2, 4, 8, 16, 32, 6));
  EXPECT_EQ(search.knee(), 8);
  EXPECT_EQ(search.recommended(), 16);
  EXPECT_FALSE(search.still_rising());
}

TEST(CapacitySessions, KneeIsLookedForBetweenTwoSteps) {
  SessionsSearch search(64);
  steps_of(search, engines(5));
  EXPECT_EQ(search.knee(), 6); // tried: 4, 6, 8
}

TEST(CapacitySessions, OfOneEngineAreOneOrTwo) {
  SessionsSearch search(64);
  EXPECT_THAT(steps_of(search, engines(1)), ElementsAre(1, 2, 4));
  EXPECT_EQ(search.knee(), 1);
}

TEST(CapacitySessions, StillRiseAtTheEndOfWhatWasAllowed) {
  SessionsSearch search(16);
  EXPECT_THAT(steps_of(search, engines(200)), ElementsAre(1, 2, 4, 8, 16, 12));
  EXPECT_EQ(search.recommended(), 16);
  EXPECT_TRUE(search.still_rising());
}

TEST(CapacitySessions, AreThoseThatWereAskedFor) {
  SessionsSearch search(64, {3, 10});
  EXPECT_THAT(steps_of(search, engines(8)), ElementsAre(3, 10));
}

// As recorded on a busy machine: 8 sessions lost a tenth, once.
TEST(CapacitySessions, AreNotMisledFarByOneBadMeasurement) {
  const std::map<std::uint32_t, double> recorded{{1, 1700},   {2, 3580},    {4, 6834},    {6, 11'000},
                                                 {8, 14'488}, {16, 15'532}, {32, 15'618}, {64, 15'996}};
  SessionsSearch search(64);
  steps_of(search, [&](std::uint32_t sessions) {
    const auto found = recorded.find(sessions);
    return found != recorded.end() ? found->second : 15'000;
  });
  EXPECT_GE(search.knee(), 8);
  EXPECT_LE(search.knee(), 16);
}

double found_rate(RateSearch& search, const std::function<bool(double)>& kept, int& steps) {
  for (steps = 0; steps < 100; ++steps) {
    const auto rate = search.next();
    if (!rate) break;
    search.add(kept(*rate));
  }
  return search.rate();
}

TEST(CapacityRate, IsTheHighestThatKeepsTheGoal) {
  for (const double limit : {150., 400., 777., 930., 985.}) {
    RateSearch search(1000, 3);
    int steps = 0;
    const double rate = found_rate(search, [limit](double each) { return each <= limit; }, steps);
    EXPECT_LE(rate, limit);
    EXPECT_GT(rate, limit - 1000 * RateSearch::kResolution) << limit;
    EXPECT_TRUE(search.confirmed());
    EXPECT_LT(steps, 25);
  }
}

TEST(CapacityRate, IsNoneWhereNoneKeepsTheGoal) {
  RateSearch search(1000, 3);
  int steps = 0;
  EXPECT_EQ(found_rate(search, [](double) { return false; }, steps), 0);
  EXPECT_FALSE(search.confirmed());
  EXPECT_LT(steps, 15);
}

TEST(CapacityRate, MayBeAboveWhatWasTakenForTheCapacity) {
  RateSearch search(1000, 1);
  int steps = 0;
  EXPECT_NEAR(found_rate(search, [](double) { return true; }, steps), 1050, 1);
}

TEST(CapacityRate, GoesDownWhereRepetitionsBreakTheGoal) {
  RateSearch search(1000, 3);
  int steps = 0;
  const double rate = found_rate(
      search,
      [&](double each) { // kept at first, and then only lower
        return search.phase() == RateSearch::Phase::kRepeat ? each <= 650 : each <= 700;
      },
      steps);
  EXPECT_LE(rate, 650);
  EXPECT_GT(rate, 600);
  EXPECT_TRUE(search.confirmed());
}

LimitInput idle_token() {
  return {.raw_one = 1000,
          .raw_many = 8000,
          .one_slot = {8000, 8000},
          .all_slots = 16'000,
          .cpu_share = 0.2,
          .own_cpu_share = 0.18,
          .cores = 2,
          .still_rising = false,
          .sessions = 16,
          .sessions_wanted = 16,
          .round_trip_s = 0.0001,
          .calls = 2,
          .service_s = 0.001};
}

TEST(CapacityLimit, IsTheTokenWhereNothingElseIs) { EXPECT_EQ(limit_of(idle_token()).kind, LimitKind::kToken); }

TEST(CapacityLimit, IsTheHostWhereThisProcessFillsIt) {
  LimitInput in = idle_token();
  in.cpu_share = in.own_cpu_share = 0.95;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kHostCpu);
  in.own_cpu_share = 0.1; // others do
  EXPECT_EQ(limit_of(in).kind, LimitKind::kToken);
}

TEST(CapacityLimit, IsTheNetworkWhereMoreSessionsWouldDoMore) {
  LimitInput in = idle_token();
  in.still_rising = true;
  in.service_s = 0.011;
  in.round_trip_s = 0.005;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kNetwork);
}

TEST(CapacityLimit, IsTheSessionsWhereTheTokenHasNoMore) {
  LimitInput in = idle_token();
  in.sessions = 4;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kSessions);
}

TEST(CapacityLimit, IsTheModulesLockWhereSlotsShareIt) {
  LimitInput in = idle_token();
  in.all_slots = 8500;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kModuleLock);
}

TEST(CapacityLimit, IsTheModulesLockWhereManyThreadsFillOneCpu) {
  LimitInput in = idle_token();
  in.raw_one = 7800;
  in.cpu_share = in.own_cpu_share = 0.52;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kModuleLock);
}

TEST(CapacityLimit, IsHsmuxWhereTheModuleAloneDoesMore) {
  LimitInput in = idle_token();
  in.one_slot = {6000, 8000};
  in.all_slots = 14'000;
  EXPECT_EQ(limit_of(in).kind, LimitKind::kEngine);
}

} // namespace
} // namespace hsmux::capacity
