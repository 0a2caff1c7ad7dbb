// Which calls a fault script meets, and that what was played can be played again.
#include "tests/simhsm/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/simhsm/settings.h"

namespace hsmux::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto kSign = Function::C_Sign;

Fault answer(CK_RV rv) {
  Fault fault;
  fault.match.function = kSign;
  fault.rv = rv;
  return fault;
}

// What so many calls of C_Sign in slot 1 are answered; 0 for none.
std::vector<CK_RV> answers(Script& script, int calls, Nanoseconds at = seconds(0)) {
  std::vector<CK_RV> all;
  for (int i = 0; i < calls; ++i) {
    const std::vector<Fault> faults = script.take(kSign, 1, "sim-1", at);
    const Fault* found = find(faults, Action::kAnswer);
    all.push_back(found == nullptr ? 0 : found->rv);
  }
  return all;
}

TEST(FaultScript, RowsWithoutNumbersTakeTurns) {
  Script script;
  Fault second = answer(2);
  second.skip = 1;
  second.times = 2;
  script.add(answer(1));
  script.add(second);
  EXPECT_THAT(answers(script, 5), ElementsAre(1, 0, 2, 2, 0));
  EXPECT_TRUE(script.empty());
}

TEST(FaultScript, ARowWithACallNumberMeetsThatCallWhateverOthersDo) {
  Script script;
  Fault third = answer(3);
  third.call = 3;
  script.add(third);
  script.add(answer(1));
  EXPECT_THAT(answers(script, 4), ElementsAre(1, 0, 3, 0));
  EXPECT_TRUE(script.empty());
}

TEST(FaultScript, EveryNthCallIsMet) {
  Script script;
  Fault fault = answer(9);
  fault.every = 3;
  fault.times = 2;
  script.add(fault);
  EXPECT_THAT(answers(script, 9), ElementsAre(0, 0, 9, 0, 0, 9, 0, 0, 0));
}

TEST(FaultScript, ProbabilityFollowsTheSeed) {
  const auto played = [](std::uint64_t seed) {
    Script script(seed);
    Fault fault = answer(9);
    fault.probability = 0.1;
    fault.times = 0;
    script.add(fault);
    return answers(script, 10'000);
  };
  EXPECT_EQ(played(5), played(5));
  EXPECT_NE(played(5), played(6));
  EXPECT_NEAR(static_cast<double>(std::ranges::count(played(5), 9UL)), 1000, 100);
}

TEST(FaultScript, OtherFunctionsAndSlotsAreNotMet) {
  Script script;
  Fault fault = answer(9);
  fault.match.slot = CK_SLOT_ID{1};
  script.add(fault);
  EXPECT_THAT(script.take(Function::C_SignInit, 1, "sim-1", seconds(0)), IsEmpty());
  EXPECT_THAT(script.take(kSign, 2, "sim-2", seconds(0)), IsEmpty());
  EXPECT_EQ(script.take(kSign, 1, "sim-1", seconds(0)).size(), 1U);
}

TEST(FaultScript, ASlotIsNamedByItsTokensLabel) {
  Script script;
  Fault fault = answer(9);
  fault.match.slot = "sim-2";
  script.add(fault);
  EXPECT_THAT(script.take(kSign, 1, "sim-1", seconds(0)), IsEmpty());
  EXPECT_EQ(script.take(kSign, 7, "sim-2", seconds(0)).size(), 1U);
}

TEST(FaultScript, ARowIsPlayedBetweenItsTimes) {
  Script script;
  Fault fault = answer(9);
  fault.times = 0;
  fault.at = seconds(1);
  fault.until = seconds(2);
  script.add(fault);
  EXPECT_THAT(answers(script, 1, milliseconds(999)), ElementsAre(0));
  EXPECT_THAT(answers(script, 2, seconds(1)), ElementsAre(9, 9));
  EXPECT_THAT(answers(script, 1, seconds(2)), ElementsAre(0));
}

TEST(FaultScript, SlotFaultsComeDueByTimeAlone) {
  Script script;
  Fault fault;
  fault.action = Action::kRemoveToken;
  fault.at = seconds(1);
  script.add(fault);
  EXPECT_THAT(script.take(kSign, 1, "sim-1", seconds(5)), IsEmpty()); // no call brings it about
  EXPECT_THAT(script.due(milliseconds(999)), IsEmpty());
  EXPECT_EQ(script.due(seconds(1)).size(), 1U);
  EXPECT_THAT(script.due(seconds(9)), IsEmpty());
}

TEST(FaultScript, FaultsOfOutputsLetSizeQueriesPass) {
  const auto meets = [](Script& script, bool with_buffer) {
    return !script.take(kSign, 1, "sim-1", seconds(0), with_buffer).empty();
  };
  Fault fault;
  fault.action = Action::kCorrupt;
  Script turn;
  turn.add(fault);
  EXPECT_FALSE(meets(turn, false));
  EXPECT_TRUE(meets(turn, true));

  fault.call = 3;
  Script numbered; // the number counts them, as that of the log does
  numbered.add(fault);
  EXPECT_FALSE(meets(numbered, false));
  EXPECT_FALSE(meets(numbered, true));
  EXPECT_FALSE(meets(numbered, false));
  EXPECT_TRUE(meets(numbered, true));
}

TEST(FaultScript, FaultsOfSeveralKindsMeetOneCall) {
  Script script;
  Fault delay;
  delay.action = Action::kDelay;
  delay.time = milliseconds(1);
  delay.times = 0;
  script.add(delay);
  script.add(delay);
  script.add(answer(9));
  EXPECT_EQ(script.take(kSign, 1, "sim-1", seconds(0)).size(), 3U);
  EXPECT_EQ(script.take(kSign, 1, "sim-1", seconds(0)).size(), 2U);
}

TEST(FaultScript, WhatWasPlayedIsAScriptThatPlaysItAgain) {
  Script script(3);
  Fault fault = answer(0x30); // CKR_DEVICE_ERROR
  fault.probability = 0.2;
  fault.times = 0;
  script.add(fault);
  Fault vendor = answer(0x80000123);
  vendor.every = 7;
  vendor.times = 0;
  script.add(vendor);

  std::string log;
  std::vector<CK_RV> first;
  for (std::uint64_t call = 1; call <= 50; ++call) {
    first.push_back(0);
    for (const Fault& each : script.take(kSign, 1, "sim-1", seconds(call))) {
      log += replay_row(each, {kSign, call, 1, "sim-1", seconds(call)});
      if (first.back() == 0) first.back() = each.rv;
    }
  }
  const auto again = read_settings(log, "log", {}, true);
  ASSERT_TRUE(again.has_value()) << again.error();
  Script replay(99);
  for (const Fault& each : again->faults) replay.add(each);
  EXPECT_EQ(answers(replay, 50), first);
  EXPECT_GT(again->faults.size(), 10U);
}

TEST(FaultScript, APlayedCallOfNoSlotNamesNone) {
  const std::string row = replay_row(answer(0x30), {Function::C_Initialize, 1, ~0UL, "", seconds(0)});
  EXPECT_EQ(row.find("slot"), std::string::npos) << row;
  EXPECT_TRUE(read_settings(row, "log", {}, true).has_value());
}

TEST(FaultScript, EveryActionHasANameThatIsUnderstood) {
  for (int i = 0; i <= static_cast<int>(Action::kPinState); ++i) {
    const auto action = static_cast<Action>(i);
    EXPECT_EQ(action_named(action_name(action)), action) << i;
  }
  for (int i = 0; i <= static_cast<int>(PinState::kToBeChanged); ++i) {
    const auto state = static_cast<PinState>(i);
    EXPECT_EQ(pin_state_named(pin_state_name(state)), state) << i;
  }
}

} // namespace
} // namespace hsmux::sim
