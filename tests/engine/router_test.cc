#include "engine/router.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace hsmux {
namespace {

using Loads = std::array<SlotLoad, kSlotsMax>;

TEST(ChooseSlot, TheOnlyEligibleSlotIsChosen) {
  EXPECT_EQ(choose_slot(slot_bit(5), Loads{}, 12345), 5U);
  EXPECT_EQ(choose_slot(slot_bit(63), Loads{}, 0), 63U);
}

TEST(ChooseSlot, OfTwoTheLessLoadedIsChosenWhateverTheDice) {
  Loads loads{};
  loads[0] = {.in_flight = 3, .service_time = std::chrono::milliseconds(1), .weight = 1.0};
  loads[1] = {.in_flight = 0, .service_time = std::chrono::milliseconds(1), .weight = 1.0};
  std::mt19937_64 dice(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(choose_slot(0b11, loads, dice()), 1U);
}

TEST(ChooseSlot, ASlotTwiceAsFastTakesTwiceAsMany) {
  Loads loads{};
  loads[0] = {.in_flight = 1, .service_time = std::chrono::milliseconds(1), .weight = 1.0};
  loads[1] = {.in_flight = 1, .service_time = std::chrono::milliseconds(2), .weight = 1.0};
  EXPECT_EQ(choose_slot(0b11, loads, 7), 0U);
  loads[0].in_flight = 4; // 5 × 1 ms against 2 × 2 ms
  EXPECT_EQ(choose_slot(0b11, loads, 7), 1U);
}

TEST(ChooseSlot, WeightDividesTheLoad) {
  EXPECT_DOUBLE_EQ(load_of({.in_flight = 1, .service_time = Duration(10), .weight = 4.0}), 5.0);
}

// A slot that was slow once would never be chosen again, and so never be measured again.
TEST(ChooseSlot, AnIdleSlotWithAnOldEstimateIsTriedAgain) {
  Loads loads{};
  loads[0] = {.in_flight = 0, .service_time = std::chrono::milliseconds(50), .weight = 1.0, .age = {}};
  loads[1] = {.in_flight = 0, .service_time = std::chrono::milliseconds(1), .weight = 1.0, .age = {}};
  EXPECT_EQ(choose_slot(0b11, loads, 7), 1U);
  loads[0].age = kEstimateAgeMax * std::chrono::milliseconds(50);
  EXPECT_EQ(choose_slot(0b11, loads, 7), 1U);
  loads[0].age += std::chrono::milliseconds(50);
  EXPECT_EQ(choose_slot(0b11, loads, 7), 0U);
  loads[0].in_flight = 1; // one request finds out; the others do not follow it
  EXPECT_EQ(choose_slot(0b11, loads, 7), 1U);
}

TEST(ChooseSlot, OnlyEligibleSlotsAreChosenAndAllOfThemAre) {
  Loads loads{};
  for (SlotLoad& load : loads) load.service_time = std::chrono::milliseconds(1);
  const SlotSet eligible = slot_bit(1) | slot_bit(8) | slot_bit(40);
  SlotSet seen = 0;
  std::mt19937_64 dice(7);
  for (int i = 0; i < 1000; ++i) seen |= slot_bit(choose_slot(eligible, loads, dice()));
  EXPECT_EQ(seen, eligible);
}

TEST(Router, ADeadlineInThePastIsATimeoutBeforeAnythingIsTried) {
  Router router;
  const auto lease = router.lease(slot_bit(0), Deadline(MonotonicClock::now() - std::chrono::seconds(1)));
  ASSERT_FALSE(lease.has_value());
  EXPECT_EQ(lease.error().kind, ErrorKind::kTimeout);
  EXPECT_TRUE(lease.error().retryable());
}

TEST(Router, AClosedRouterTakesNoRequest) {
  Router router;
  router.close();
  const auto lease = router.lease(slot_bit(0), Deadline::after(std::chrono::seconds(1)));
  ASSERT_FALSE(lease.has_value());
  EXPECT_EQ(lease.error().kind, ErrorKind::kClosed);
}

} // namespace
} // namespace hsmux
