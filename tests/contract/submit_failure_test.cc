// Submitted work when the module does not return, or the engine closes: every request ends exactly once all the same.
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST_F(Submit, AHangingSlotCostsATimeLimitAndNoError) {
  open_with_key();
  sim_->hang("C_Sign", slot_id(0));
  EXPECT_TRUE(eventually([&] {
    const auto signature = submit_and_wait();
    EXPECT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(verifies("orders", message_, signature.value_or(Bytes())));
    return engine().slots().at(0).overdue > 0;
  }));
}

TEST_F(Submit, ASlotThatHangsAgainAndAgainIsLeftAloneUntilItIsWell) {
  open_with_key();
  sim_->hang("C_Sign", slot_id(0));
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(submit_and_wait().has_value());
    return (engine().slots_now().at(0).stats.health != HealthState::kHealthy);
  }));
  sim_->reset_counts();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LE(sim_->count("C_Sign", slot_id(0)), 3U); // one a second may look
  // Blocking calls, which nobody would take from it, go elsewhere too.
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(sign("orders", message_).has_value());
  sim_->release();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(submit_and_wait().has_value());
    return !(engine().slots_now().at(0).stats.health != HealthState::kHealthy);
  }));
  sim_->reset_counts();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(submit_and_wait().has_value());
    return sim_->count("C_Sign", slot_id(0)) > 0;
  }));
}

TEST_F(Submit, WithNoOtherSlotTheDeadlineHoldsAndTheErrorNamesTheModuleAndItsCall) {
  open_with_key();
  sim_->hang("C_Sign", slot_id(0));
  const Error error = error_of(submit_and_wait(within(milliseconds(100), "slot-0")));
  EXPECT_EQ(error.kind, ErrorKind::kTimeout);
  EXPECT_EQ(error.slot, slot_name(0));
  EXPECT_EQ(error.call, Call::kSign);
  EXPECT_TRUE(error.retryable());
  EXPECT_THAT(error.message, HasSubstr("C_Sign"));
  EXPECT_THAT(error.message, HasSubstr(".so"));
  EXPECT_EQ(engine().work().quarantined, 1U);
  EXPECT_EQ(engine().slots().at(0).stats.sessions.quarantined, 1U);
}

TEST_F(Submit, ASessionInQuarantineIsReplacedAndDiscardedWhenItComesBack) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign", slot_id(0));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(error_of(submit_and_wait(within(milliseconds(200), "slot-0"))).kind, ErrorKind::kTimeout);
  }
  EXPECT_TRUE(sim_->wait_hung(3)); // each had a session
  const std::uint64_t before = engine().slots().at(0).stats.sessions.discarded;
  sim_->release();
  EXPECT_TRUE(eventually([&] { return engine().slots().at(0).stats.sessions.quarantined == 0; }));
  EXPECT_GE(before, 3U);
  EXPECT_TRUE(submit_and_wait({.deadline = {}, .slot = "slot-0"}).has_value());
}

TEST_F(Submit, ALateAnswerOfTheFirstSlotIsDropped) {
  open_with_key();
  sim_->hang("C_Sign", slot_id(0));
  ASSERT_TRUE(engine().submit(request({.deadline = {}, .slot = "slot-0"}), tally_.next()).has_value());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit().has_value());
  EXPECT_TRUE(eventually([&] { return tally_.good() >= 10; }));
  sim_->release();
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 11);
}

TEST_F(Submit, ThoseWhoWaitTooLongEndAtTheirDeadline) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign");
  for (const std::string_view slot : {"slot-0", "slot-1"}) ASSERT_TRUE(submit(within(seconds(60), slot)).has_value());
  EXPECT_TRUE(sim_->wait_hung(2));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit(within(milliseconds(50 + i))).has_value());
  EXPECT_TRUE(eventually([&] { return tally_.errors().size() == 10; }));
  for (const Error& error : tally_.errors()) {
    EXPECT_EQ(error.kind, ErrorKind::kTimeout) << error.text();
    EXPECT_TRUE(error.retryable());
  }
  sim_->release();
  tally_.expect_each_once();
}

TEST_F(Submit, AHardCallKeepsItsDeadlineThoughTheModuleHangs) {
  open_with_key();
  sim_->hang("C_Sign");
  RequestOptions options = within(milliseconds(200));
  options.hard = true;
  Bytes out(200);
  EXPECT_EQ(error_of(engine().sign(request(options), out)).kind, ErrorKind::kTimeout);
  sim_->release();
  options.deadline = {};
  const auto size = engine().sign(request(options), out);
  ASSERT_TRUE(size.has_value()) << why(size);
  out.resize(*size);
  EXPECT_TRUE(verifies("orders", message_, out));
}

TEST_F(Submit, AHardCallGoesOnInTheOtherSlot) {
  open_with_key();
  sim_->hang("C_Sign", slot_id(1));
  for (int i = 0; i < 10; ++i) {
    const auto signature = engine().sign(request({.deadline = {}, .slot = {}, .hard = true}));
    ASSERT_TRUE(signature.has_value()) << why(signature);
  }
}

TEST_F(Submit, HardCallsOfKeyManagementKeepTheirDeadline) {
  open_with_key();
  sim_->hang("C_FindObjectsInit");
  RequestOptions options = within(milliseconds(100));
  options.hard = true;
  EXPECT_EQ(error_of(engine().list_keys({}, options)).kind, ErrorKind::kTimeout);
  options = within(milliseconds(100));
  options.hard = true;
  EXPECT_EQ(error_of(engine().find_key("not looked up yet", options)).kind, ErrorKind::kTimeout);
  sim_->release();
  EXPECT_TRUE(engine().list_keys().has_value());
}

TEST_F(Submit, AKeyMadeAfterItsRequestEndedIsDeleted) {
  open();
  sim_->hang("C_GenerateKeyPair", slot_id(0));
  const GenerateRequest generate{.label = "too-late",
                                 .algorithm = kEcdsa,
                                 .bits = 0,
                                 .placement = PlacementConfig{.kind = Placement::kSlots, .slots = {slot_name(0)}},
                                 .software_key = false,
                                 .options = within(milliseconds(100))};
  EXPECT_EQ(error_of(engine().submit_for<KeyInfo>(generate).result.get()).kind, ErrorKind::kTimeout);
  sim_->release();
  EXPECT_TRUE(eventually([&] { return engine().work().quarantined == 0; }));
  EXPECT_EQ(error_of(engine().find_key("too-late")).kind, ErrorKind::kKeyNotFound);
}

// Nothing but submitted work, from the first request on.
TEST_F(Submit, ASlotThatTakesLongerThanTheFirstLimitIsLearnedAndNotSuspected) {
  open();
  make_key(kEcdsa, "orders");
  sim_->delay("C_Sign", milliseconds(80));
  EXPECT_TRUE(eventually([&] {
    for (int i = 0; i < 20; ++i) {
      const auto signature = submit_and_wait();
      EXPECT_TRUE(signature.has_value()) << why(signature);
    }
    return !(engine().slots_now().at(0).stats.health != HealthState::kHealthy) &&
           !(engine().slots_now().at(1).stats.health != HealthState::kHealthy);
  }));
}

// Whoever gives a slot less time than it takes says nothing about the slot.
TEST_F(Submit, ShortDeadlinesMakeNoSlotSuspect) {
  open();
  make_key(kEcdsa, "orders");
  sim_->delay("C_Sign", milliseconds(60));
  for (const std::string_view slot : {"slot-0", "slot-1"}) {
    ASSERT_TRUE(sign("orders", message_, {.deadline = {}, .slot = slot}).has_value());
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(error_of(submit_and_wait(within(milliseconds(50)))).kind, ErrorKind::kTimeout);
    EXPECT_FALSE((engine().slots_now().at(0).stats.health != HealthState::kHealthy) ||
                 (engine().slots_now().at(1).stats.health != HealthState::kHealthy));
  }
}

// A retry prefers another slot; when that one goes, it is not left waiting for it.
TEST_F(Submit, ARetryDoesNotWaitForASlotThatIsGone) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign", slot_id(1));
  ASSERT_TRUE(submit(within(seconds(60), "slot-1")).has_value());
  EXPECT_TRUE(sim_->wait_hung(1));
  sim_->answer_for_slot(slot_id(0), "C_Sign", CKR_FUNCTION_FAILED);
  auto result = engine().submit_for<Bytes>(request(within(seconds(8)))).result;
  EXPECT_TRUE(eventually([&] { return engine().work().waiting == 1; }));
  sim_->play("remove-token", slot_id(1));
  sim_->release();
  const Result<Bytes> signature = result.get();
  EXPECT_TRUE(signature.has_value()) << why(signature);
  sim_->play("insert-token", slot_id(1));
  tally_.expect_each_once();
}

TEST_F(Submit, AForkedChildCancelsNothing) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign");
  for (const std::string_view slot : {"slot-0", "slot-1"}) ASSERT_TRUE(submit(within(seconds(60), slot)).has_value());
  EXPECT_TRUE(sim_->wait_hung(2));
  const Job waits = submit().value();
  const pid_t child = fork();
  if (child == 0) _exit(waits.cancel() ? 1 : 42);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
  sim_->release();
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 3);
}

// --- the end ---

TEST_F(Submit, ClosingEndsWhatWaitsAndLetsFinishWhatRuns) {
  open_with_key("", "sessions_max = 1");
  sim_->delay("C_Sign", milliseconds(20));
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(submit().has_value());
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  EXPECT_TRUE(tally_.all_ended()); // before close() returned
  tally_.expect_each_once();
  EXPECT_GT(tally_.errors().size(), 0U);
  for (const Error& error : tally_.errors()) EXPECT_EQ(error.kind, ErrorKind::kClosed) << error.text();
}

TEST_F(Submit, ClosingIsBoundedThoughTheModuleHangsAndEveryCompletionRuns) {
  open_with_key("", "sessions_max = 2");
  sim_->hang("C_Sign");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(submit(within(seconds(600))).has_value());
  EXPECT_TRUE(sim_->wait_hung(1));
  EXPECT_FALSE(engine().close(Deadline::after(milliseconds(200))));
  EXPECT_TRUE(tally_.all_ended());
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 0);
  for (const Error& error : tally_.errors()) EXPECT_EQ(error.kind, ErrorKind::kClosed) << error.text();
  sim_->release();
  EXPECT_TRUE(eventually([&] { return engine().work().threads == 0; }));
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
}

} // namespace
} // namespace hsmux
