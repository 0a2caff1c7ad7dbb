#include "tools/capacity/goal.h"

#include <gmock/gmock.h>

#include "tools/capacity/drill_timeline.h"
#include "tools/capacity/mix.h"

namespace hsmux::capacity {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(CapacityGoal, IsReadAsItIsWritten) {
  const Result<Goal> goal = Goal::parse("p99<=10ms,p99.9<=250us,errors<=0.1%");
  ASSERT_TRUE(goal) << goal.error().text();
  ASSERT_EQ(goal->limits.size(), 2);
  EXPECT_EQ(goal->limits[0].ns, 10'000'000);
  EXPECT_EQ(goal->limits[1].percent, 99.9);
  EXPECT_DOUBLE_EQ(goal->error_share_max, 0.001);
  for (const std::string bad : {"", "p99", "p99<=10", "p0<=1ms", "p100<=1ms", "q99<=1ms", "errors<=2", "errors<=0.1%",
                                "p99<=-1ms", "p99<=1ms,", "p99<=1e99s"}) {
    const Result<Goal> refused = Goal::parse(bad);
    EXPECT_FALSE(refused) << bad;
  }
}

TEST(CapacityGoal, CountsErrorsAsSlow) {
  Histogram latency;
  for (int i = 0; i < 990; ++i) latency.record(1'000'000);
  GoalInput input{.latency = &latency, .intended = 1000, .completed = 990, .errors = 10};
  Goal goal;
  goal.error_share_max = 0.5;
  EXPECT_THAT(broken_goal(goal, input), IsEmpty());
  input.errors = 12;
  EXPECT_THAT(broken_goal(goal, input), HasSubstr("p99"));
  goal.error_share_max = 0;
  EXPECT_THAT(broken_goal(goal, input), HasSubstr("12 errors"));
}

TEST(CapacityGoal, IsBrokenByWhatCouldNotStart) {
  Histogram latency;
  latency.record(1'000'000);
  EXPECT_THAT(broken_goal(Goal{}, {.latency = &latency, .completed = 1, .not_started = 3}), HasSubstr("3 requests"));
  EXPECT_THAT(broken_goal(Goal{}, {.latency = &latency, .completed = 1, .overloaded = true}), HasSubstr("pile up"));
}

TEST(CapacityMix, HasItsPresets) {
  for (const std::string name : {"sequencer", "participant", "all"}) {
    const Result<Mix> mix = Mix::preset(name);
    ASSERT_TRUE(mix) << name;
    EXPECT_FALSE(mix->entries.empty());
  }
  EXPECT_EQ(Mix::preset("sequencer")->entries.front().bytes, 34);
  const Result<Mix> none = Mix::preset("validator");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("participant"));
}

TEST(CapacityMix, ReadsAnEntry) {
  const Result<MixEntry> entry = Mix::parse_entry("aes-256-gcm:decrypt,weight=2.5,bytes=100,keys=3");
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->operation, Operation::kDecrypt);
  EXPECT_EQ(entry->weight, 2.5);
  EXPECT_EQ(entry->bytes, 100);
  EXPECT_EQ(entry->keys, 3);
  EXPECT_EQ(Mix::parse_entry("ed25519")->operation, Operation::kSign);
}

TEST(CapacityMix, SaysWhatIsWrongWithAnEntry) {
  const auto message = [](const char* text) {
    const Result<MixEntry> entry = Mix::parse_entry(text);
    return entry ? std::string("accepted") : entry.error().message;
  };
  EXPECT_THAT(message("ecdsa-p999"), HasSubstr("ecdsa-p256-sha256"));
  EXPECT_THAT(message("aes-256-gcm"), HasSubstr(":decrypt or :encrypt"));
  EXPECT_THAT(message("rsa-oaep-sha256:encrypt"), HasSubstr(":decrypt"));
  EXPECT_THAT(message("ed25519,bytes=0"), HasSubstr("not allowed"));
  EXPECT_THAT(message("ed25519,weight=0"), HasSubstr("not allowed"));
  EXPECT_THAT(message("ed25519,keys=100000"), HasSubstr("not allowed"));
  EXPECT_THAT(message("ed25519,colour=red"), HasSubstr("not known"));
}

TEST(CapacityMix, IsDrawnByItsWeights) {
  Mix mix{.name = "own", .entries = {*Mix::parse_entry("ed25519,weight=3"), *Mix::parse_entry("ecdsa-p256-sha256")}};
  MixPicker picker(mix, 7);
  int first = 0;
  for (int i = 0; i < 10'000; ++i) first += picker.next() == 0 ? 1 : 0;
  EXPECT_NEAR(first, 7500, 250);
}

// A hundred intervals of 0.1 s: the second slot is gone from 3 s to 5 s, and back 0.7 s later, with a tail for half a
// second.
std::vector<Interval> pulled() {
  std::vector<Interval> intervals;
  for (int i = 0; i < 100; ++i) {
    Interval each{.at_s = i * 0.1, .seconds = 0.1, .completed = 600, .p99_ns = 1'400'000, .slots = {300, 300}};
    if (i >= 30 && i < 32) each.p99_ns = 50'000'000;
    if (i >= 30 && i < 57) each.slots = {600, 0};
    if (i >= 57 && i < 62) each.p99_ns = 9'000'000;
    if (i == 31) each.errors = 2;
    intervals.push_back(each);
  }
  return intervals;
}

TEST(CapacityDrill, TellsHowLongUntilAllIsAsBefore) {
  const DrillOutcome outcome = drill_outcome(pulled(), {.fault_s = 3.0, .end_s = 5.0}, 1);
  EXPECT_EQ(outcome.errors, 2);
  EXPECT_EQ(outcome.p99_before_ns, 1'400'000);
  EXPECT_EQ(outcome.p99_worst_ns, 50'000'000);
  ASSERT_TRUE(outcome.absorbed_s);
  EXPECT_NEAR(*outcome.absorbed_s, 0.2, 0.05);
  ASSERT_TRUE(outcome.back_s);
  EXPECT_NEAR(*outcome.back_s, 0.7, 0.05);
  ASSERT_TRUE(outcome.recovered_s);
  EXPECT_NEAR(*outcome.recovered_s, 1.2, 0.05);
}

TEST(CapacityDrill, SaysWhereASlotDoesNotComeBack) {
  std::vector<Interval> intervals = pulled();
  for (std::size_t i = 57; i < intervals.size(); ++i) intervals[i].slots = {600, 0};
  EXPECT_FALSE(drill_outcome(intervals, {.fault_s = 3.0, .end_s = 5.0}, 1).recovered_s);
}

TEST(CapacityDrill, OfNothingMeasuredSaysNothing) {
  const DrillOutcome outcome = drill_outcome({}, {.fault_s = 3.0, .end_s = 5.0}, 0);
  EXPECT_EQ(outcome.errors, 0);
  EXPECT_FALSE(outcome.recovered_s);
}

} // namespace
} // namespace hsmux::capacity
