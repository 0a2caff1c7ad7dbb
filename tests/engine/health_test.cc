// What the engine's health is, by what its slots say.
#include "engine/health.h"

#include <gmock/gmock.h>

namespace hsmux {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

SlotStats slot(HealthState health, SlotState state = SlotState::kReady, HealthCause cause = HealthCause::kNone) {
  SlotStats stats;
  stats.state = state;
  stats.health = health;
  stats.cause = cause;
  return stats;
}
EngineHealth of(const std::vector<SlotStats>& slots) {
  std::vector<SlotCondition> conditions;
  for (std::size_t i = 0; i < slots.size(); ++i) conditions.push_back(condition_of("s" + std::to_string(i), slots[i]));
  return judge(std::move(conditions));
}

TEST(EngineHealthJudgement, AllSlotsHealthyIsOk) {
  const EngineHealth health = of({slot(HealthState::kHealthy), slot(HealthState::kHealthy)});
  EXPECT_EQ(health.level, HealthLevel::kOk);
  EXPECT_THAT(health.reasons, IsEmpty());
}

TEST(EngineHealthJudgement, ASlotThatIsBackIsNoReasonToAlarm) {
  EXPECT_EQ(of({slot(HealthState::kProbing, SlotState::kReady, HealthCause::kCameBack)}).level, HealthLevel::kOk);
}

TEST(EngineHealthJudgement, OneSlotOfTwoIsDegradedWithItsReason) {
  SlotStats lost = slot(HealthState::kEjected, SlotState::kConnecting, HealthCause::kLost);
  lost.last_error = make_error(ErrorKind::kUnavailable, "the token was removed");
  const EngineHealth health = of({slot(HealthState::kHealthy), lost});
  EXPECT_EQ(health.level, HealthLevel::kDegraded);
  ASSERT_THAT(health.reasons, SizeIs(1));
  EXPECT_THAT(health.reasons[0], HasSubstr("s1 is ejected"));
  EXPECT_THAT(health.reasons[0], HasSubstr("the token was removed"));
}

TEST(EngineHealthJudgement, AnEjectedSlotThatIsConnectedStillServesAsTheLastOne) {
  EXPECT_EQ(of({slot(HealthState::kEjected, SlotState::kReady, HealthCause::kCanaryFailed)}).level,
            HealthLevel::kDegraded);
}

TEST(EngineHealthJudgement, NoSlotThatServesIsFailed) {
  EXPECT_EQ(of({slot(HealthState::kEjected, SlotState::kConnecting, HealthCause::kLost),
                slot(HealthState::kDraining, SlotState::kReady, HealthCause::kOperator)})
                .level,
            HealthLevel::kFailed);
}

TEST(EngineHealthJudgement, ALatchedPinIsFailedAndNotFatalSinceARestartDoesNotCureIt) {
  const EngineHealth health = of({slot(HealthState::kLatched, SlotState::kLatched, HealthCause::kPin)});
  EXPECT_EQ(health.level, HealthLevel::kFailed);
  EXPECT_THAT(health.reasons.at(0), HasSubstr("unlatch"));
  EXPECT_EQ(of({slot(HealthState::kHealthy), slot(HealthState::kLatched, SlotState::kLatched)}).level,
            HealthLevel::kDegraded);
}

TEST(EngineHealthJudgement, AModuleThatHoldsTooManyCallsIsFatalWhereNothingElseServes) {
  SlotStats stuck = slot(HealthState::kEjected, SlotState::kReady, HealthCause::kCanaryStuck);
  stuck.sessions.quarantined = SessionPool::kQuarantinedMax;
  EXPECT_EQ(of({stuck}).level, HealthLevel::kFatal);
  const EngineHealth beside = of({stuck, slot(HealthState::kHealthy)});
  EXPECT_EQ(beside.level, HealthLevel::kDegraded);
  EXPECT_TRUE(beside.slots[0].needs_restart);
  EXPECT_THAT(beside.reasons.at(0), HasSubstr("new process"));
}

} // namespace
} // namespace hsmux
