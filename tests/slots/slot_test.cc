#include <gmock/gmock.h>

#include <fstream>

#include "tests/slots/slot_fixture.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// --- logging in ---

TEST_F(Slots, AnOpenSlotIsLoggedInAndHasItsMinimumOfSessions) {
  SlotOptions wanted = options();
  wanted.sessions_min = 3;
  Slot& slot = open_slot(wanted);
  EXPECT_TRUE(slot.ready());
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 3; }));
  EXPECT_EQ(sim_.open_sessions(slot_id()), 4U); // and the anchor
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
  Lease lease = lease_of(slot);
  EXPECT_EQ(lease->state(), static_cast<unsigned long>(CKS_RW_USER_FUNCTIONS));
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, SeveralSlotsOfOneTokenLogInOnce) {
  std::array<Result<std::unique_ptr<Slot>>, 4> opened;
  {
    std::vector<std::jthread> threads;
    for (auto& slot : opened) threads.emplace_back([&] { slot = try_open(options()); });
  }
  for (auto& slot : opened) EXPECT_TRUE(slot.has_value()) << slot.error().text();
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
}

TEST_F(Slots, AWrongPinIsTriedOnceInAProcess) {
  if (!ours()) GTEST_SKIP() << "a wrong PIN would use up a try of a token that is not the test's";
  SlotOptions wanted = options();
  wanted.pin = pin_value("not the PIN");
  const Error first = open_error(wanted);
  EXPECT_EQ(first.kind, ErrorKind::kCredentials);
  EXPECT_EQ(first.rv, CKR_PIN_INCORRECT);
  EXPECT_EQ(first.slot, "hsm-a");
  EXPECT_FALSE(first.retryable());
  EXPECT_THAT(first.text(), Not(HasSubstr("not the PIN")));

  std::vector<Error> later(4);
  {
    std::vector<std::jthread> threads;
    for (Error& error : later) threads.emplace_back([&] { error = open_error(wanted); });
  }
  for (const Error& error : later) {
    EXPECT_EQ(error.kind, ErrorKind::kCredentials);
    EXPECT_THAT(error.text(), HasSubstr("no login is tried"));
    EXPECT_THAT(error.text(), HasSubstr("CKR_PIN_INCORRECT"));
  }
  // Also with the right PIN: an operator must say that it was put right.
  EXPECT_EQ(open_error(options()).kind, ErrorKind::kCredentials);
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
  EXPECT_EQ(count(EventKind::kPinLatched), 1);
  unlatch(open_slot(options(), false).token());
}

TEST_F(Slots, LoginsThatFailWithoutAClearReasonAreNotRepeatedForEver) {
  sim_.answer("C_Login", CKR_FUNCTION_FAILED, 0);
  Slot& slot = open_slot(options(), false);
  EXPECT_TRUE(eventually([&] { return slot.stats().state == SlotState::kLatched; }));
  EXPECT_EQ(sim_.logins(slot_id()), 2U);
  EXPECT_EQ(slot.stats().last_error->kind, ErrorKind::kCredentials);
  EXPECT_THAT(slot.stats().last_error->text(), HasSubstr("may be a wrong PIN"));
  sim_.clear_answers();
  slot.unlatch();
  EXPECT_TRUE(eventually([&] { return slot.ready(); }));
}

TEST_F(Slots, ALoginThatFailsForAFaultOfTheHsmIsTriedUntilItWorks) {
  sim_.answer("C_Login", CKR_DEVICE_ERROR, 4);
  Slot& slot = open_slot(options(), false);
  EXPECT_TRUE(eventually([&] { return slot.ready(); }));
  EXPECT_EQ(sim_.logins(slot_id()), 5U);
}

TEST_F(Slots, AfterUnlatchingTheRightPinWorksAlsoThoughTheTokenCounts) {
  if (!ours()) GTEST_SKIP() << "a wrong PIN would use up a try of a token that is not the test's";
  const std::string file = tokens_.folder() + "/changing.pin";
  std::ofstream(file) << "wrong\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  SlotOptions wanted = options();
  wanted.pin = PinFromFile{file};
  Slot& slot = open_slot(wanted, false);
  EXPECT_EQ(slot.stats().state, SlotState::kLatched);
  EXPECT_TRUE(latched(slot.token()));
  EXPECT_FALSE(slot.try_acquire().has_value());

  std::ofstream(file) << tokens_.pin(0) << '\n';
  slot.unlatch();
  EXPECT_TRUE(eventually([&] { return slot.ready(); }));
  EXPECT_FALSE(latched(slot.token()));
  EXPECT_EQ(sim_.logins(slot_id()), 2U);
}

TEST_F(Slots, ASlotThatLatchesTellsThoseWhoWait) {
  if (!ours()) GTEST_SKIP() << "a wrong PIN would use up a try of a token that is not the test's";
  SlotOptions wanted = options();
  wanted.pin = pin_value("wrong");
  open_slot(wanted, false);
  EXPECT_TRUE(eventually([&] { return freed_ > 0; }));
  unlatch(slots_.back()->token());
}

TEST_F(Slots, CountLowIsWithheldUnlessTheSettingAllowsIt) {
  sim_.set_token_flags(slot_id(), CKF_USER_PIN_COUNT_LOW);
  const Error error = open_error(options());
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), HasSubstr("allow_pin_count_low"));
  EXPECT_EQ(sim_.logins(slot_id()), 0U);

  SlotOptions wanted = options();
  wanted.allow_pin_count_low = true;
  open_slot(wanted);
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
}

TEST_F(Slots, AWithheldLoginLatchesNothing) {
  sim_.set_token_flags(slot_id(), CKF_USER_PIN_COUNT_LOW);
  EXPECT_EQ(open_error(options()).kind, ErrorKind::kCredentials);
  sim_.set_token_flags(slot_id(), 0);
  open_slot();
}

TEST_F(Slots, TheLastTryIsNeverUsed) {
  sim_.set_token_flags(slot_id(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
  SlotOptions wanted = options();
  wanted.allow_pin_count_low = true;
  const Error error = open_error(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), HasSubstr("one try is left"));
  Slot& slot = open_slot(wanted, false);
  freed_ = 0;
  slot.unlatch(); // an operator's word does not help against this flag
  EXPECT_TRUE(eventually([&] { return freed_ > 0 && slot.stats().state == SlotState::kLatched; }));
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
}

TEST_F(Slots, ALockedPinIsNamedAndNeverTried) {
  sim_.set_token_flags(slot_id(), CKF_USER_PIN_LOCKED);
  const Error error = open_error(options());
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), HasSubstr("locked"));
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
}

TEST_F(Slots, AlreadyLoggedInIsSuccess) {
  sim_.answer("C_Login", CKR_USER_ALREADY_LOGGED_IN);
  EXPECT_TRUE(open_slot().ready());
}

TEST_F(Slots, ATokenThatIsLoggedInNeedsNoPin) {
  Session before = open_logged_in();
  sim_.reset_counts();
  SlotOptions wanted = options();
  wanted.pin = PinFromFile{"/nonexistent/pin"};
  EXPECT_TRUE(open_slot(wanted).ready());
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
}

TEST_F(Slots, APinThatCannotBeReadIsNamedAndNothingIsTried) {
  SlotOptions wanted = options();
  wanted.pin = PinFromFile{"/nonexistent/pin"};
  const Error error = open_error(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), HasSubstr("/nonexistent/pin"));
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
}

TEST_F(Slots, WithoutAPinNobodyLogsIn) {
  SlotOptions wanted = options();
  wanted.pin.reset();
  Slot& slot = open_slot(wanted);
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
  Lease lease = lease_of(slot);
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, ATokenThatIsNotThereIsNamedWithThoseThatAre) {
  SlotOptions wanted = options();
  wanted.selector.token_label = "no such token";
  const Error error = open_error(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
  EXPECT_THAT(error.text(), HasSubstr("no such token"));
  EXPECT_THAT(error.text(), HasSubstr("the module shows label '"));
}

TEST_F(Slots, ASlotWhoseTokenComesLaterConnectsByItself) {
  sim_.answer_for_slot(slot_id(), "C_OpenSession", CKR_TOKEN_NOT_PRESENT, 3);
  Slot& slot = open_slot(options(), false);
  EXPECT_TRUE(eventually([&] { return slot.ready(); }));
}

// --- sessions ---

TEST_F(Slots, TheAnchorIsNeverLent) {
  SlotOptions wanted = options();
  wanted.sessions_max = 1;
  Slot& slot = open_slot(wanted);
  Lease lease = lease_of(slot);
  EXPECT_FALSE(slot.try_acquire().has_value());
  EXPECT_EQ(sim_.open_sessions(slot_id()), 2U);
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, SessionsAreOpenedOnDemandUpToTheMaximum) {
  SlotOptions wanted = options();
  wanted.sessions_max = 3;
  Slot& slot = open_slot(wanted);
  std::vector<Lease> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(lease_of(slot));
  EXPECT_FALSE(slot.try_acquire().has_value());
  EXPECT_EQ(slot.stats().sessions.leased, 3U);
  for (Lease& lease : leases) slot.finish(std::move(lease), kFine);
  EXPECT_EQ(slot.stats().sessions.idle, 3U);
}

TEST_F(Slots, ATokenWithoutMoreSessionsLowersTheTargetAndIsNoFault) {
  sim_.set_sessions_max(3);
  Slot& slot = open_slot();
  std::vector<Lease> leases;
  leases.push_back(lease_of(slot));
  leases.push_back(lease_of(slot));
  EXPECT_TRUE(eventually([&] {
    EXPECT_FALSE(slot.try_acquire().has_value());
    return slot.stats().sessions.target_max == 2;
  }));
  EXPECT_TRUE(slot.ready());
  EXPECT_EQ(slot.epoch(), 1U);
  for (Lease& lease : leases) slot.finish(std::move(lease), kFine);
  EXPECT_EQ(slot.stats().sessions.idle, 2U);
}

TEST_F(Slots, AFailedOpenIsTriedAgainWithoutAnotherRequest) {
  SlotOptions wanted = options();
  wanted.sessions_min = 0;
  Slot& slot = open_slot(wanted);
  sim_.answer_for_slot(slot_id(), "C_OpenSession", CKR_HOST_MEMORY, 2);
  EXPECT_FALSE(slot.try_acquire().has_value());
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 1; }));
  EXPECT_EQ(count(EventKind::kSessionOpenFailed), 2);
}

TEST_F(Slots, ABrokenSessionIsClosedAndReplacedAndTheSlotLivesOn) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  sim_.reset_counts();
  slot.finish(std::move(lease), {Call::kSign, CKR_DEVICE_ERROR});
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 1; }));
  lease_of(slot); // dropped
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 1; }));
  EXPECT_EQ(slot.stats().sessions.discarded, 2U);
  EXPECT_EQ(slot.epoch(), 1U);
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
  EXPECT_TRUE(eventually([&] { return sim_.count("C_CloseSession") == 2; }));
}

TEST_F(Slots, ALostSessionIsReplacedWhileTheAnchorLives) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  sim_.reset_counts();
  slot.finish(std::move(lease), kDead);
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 1; }));
  EXPECT_EQ(slot.epoch(), 1U);
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U); // its handle may be another session's by now
}

TEST_F(Slots, FailuresInARowProbeTheSlotAndAHealthyOneStays) {
  Slot& slot = open_slot();
  sim_.reset_counts();
  for (int i = 0; i < 5; ++i) slot.finish(lease_of(slot), {Call::kSign, CKR_DEVICE_ERROR});
  EXPECT_TRUE(eventually([&] { return sim_.count("C_GetSessionInfo") > 0; }));
  EXPECT_TRUE(eventually([&] { return slot.stats().sessions.idle == 1; }));
  EXPECT_EQ(slot.epoch(), 1U);
}

TEST_F(Slots, DataErrorsInAnyNumberChangeNothing) {
  Slot& slot = open_slot();
  eventually([&] { return slot.stats().sessions.idle == 1; });
  const SessionPoolStats before = slot.stats().sessions;
  for (int i = 0; i < 200; ++i) {
    slot.finish(lease_of(slot), {Call::kDecrypt, i % 2 == 0 ? CKR_GENERAL_ERROR : CKR_ENCRYPTED_DATA_INVALID});
  }
  EXPECT_EQ(slot.stats().sessions.opened, before.opened);
  EXPECT_EQ(slot.stats().sessions.discarded, 0U);
  EXPECT_EQ(slot.epoch(), 1U);
  EXPECT_TRUE(slot.ready());
}

// --- epochs ---

TEST_F(Slots, AllSessionsKilledIsANewEpochWithANewLogin) {
  Slot& slot = open_slot();
  Lease first = lease_of(slot), second = lease_of(slot);
  sim_.kill_sessions(slot_id());
  sim_.reset_counts();
  slot.finish(std::move(first), kDead);
  EXPECT_TRUE(eventually([&] { return slot.epoch() == 2 && slot.ready(); }));
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U); // the token closed them; the handles may be others' by now

  slot.finish(std::move(second), kDead); // late, of the old epoch: no second loss
  Lease lease = lease_of(slot);
  EXPECT_EQ(lease.epoch(), 2U);
  EXPECT_TRUE(lease->state().has_value());
  slot.finish(std::move(lease), kFine);
  EXPECT_EQ(slot.epoch(), 2U);
  EXPECT_EQ(count(EventKind::kSlotLost), 1);
  EXPECT_EQ(count(EventKind::kSlotReady), 2);
}

TEST_F(Slots, AGoodLeaseOfAnOldEpochDoesNotComeBack) {
  Slot& slot = open_slot();
  Lease first = lease_of(slot), second = lease_of(slot);
  sim_.kill_sessions(slot_id());
  slot.finish(std::move(first), kDead);
  EXPECT_TRUE(eventually([&] { return slot.epoch() == 2 && slot.ready(); }));
  slot.finish(std::move(second), kFine);
  for (int i = 0; i < 3; ++i) {
    Lease lease = lease_of(slot);
    EXPECT_EQ(lease.epoch(), 2U);
    slot.finish(std::move(lease), kFine);
  }
}

TEST_F(Slots, SomebodysLogoutIsANewEpochWithANewLogin) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  ASSERT_EQ(sim_.logout(slot_id()), CKR_OK);
  sim_.reset_counts();
  slot.finish(std::move(lease), {Call::kSignInit, CKR_USER_NOT_LOGGED_IN});
  EXPECT_TRUE(eventually([&] { return slot.epoch() == 2 && slot.ready(); }));
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
  Lease again = lease_of(slot);
  EXPECT_EQ(again->state(), static_cast<unsigned long>(CKS_RW_USER_FUNCTIONS));
  slot.finish(std::move(again), kFine);
}

TEST_F(Slots, ASessionThatIsOpenedAfterAnUnnoticedLogoutIsNotLent) {
  SlotOptions wanted = options();
  wanted.sessions_min = 0;
  Slot& slot = open_slot(wanted);
  ASSERT_EQ(sim_.logout(slot_id()), CKR_OK);
  Lease lease = lease_of(slot);
  EXPECT_EQ(lease.epoch(), 2U);
  EXPECT_EQ(lease->state(), static_cast<unsigned long>(CKS_RW_USER_FUNCTIONS));
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, AKeyThatALogoutHidesIsNotTakenForAbsent) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  make_key(lease);
  ASSERT_EQ(sim_.logout(slot_id()), CKR_OK);
  const auto hidden = handle_of(slot, lease);
  ASSERT_FALSE(hidden.has_value());
  EXPECT_EQ(hidden.error().rv, static_cast<unsigned long>(CKR_USER_NOT_LOGGED_IN)) << hidden.error().text();
  EXPECT_EQ(hidden.error().retry, Retry::kElsewhere);
  slot.finish(std::move(lease), hidden.error().status());
  Lease again = lease_of(slot);
  EXPECT_TRUE(handle_of(slot, again).has_value());
  slot.finish(std::move(again), kFine);
}

TEST_F(Slots, AnUnjustifiedAlarmEndsNoEpoch) {
  Slot& slot = open_slot();
  slot.finish(lease_of(slot), {Call::kSignInit, CKR_USER_NOT_LOGGED_IN}); // but the token is logged in
  Lease lease = lease_of(slot);
  EXPECT_EQ(slot.epoch(), 1U);
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, ARemovedTokenIsLostAndComesBack) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  sim_.answer_for_slot(slot_id(), "*", CKR_DEVICE_REMOVED, 0);
  slot.finish(std::move(lease), {Call::kSign, CKR_DEVICE_REMOVED});
  EXPECT_TRUE(eventually([&] { return !slot.ready(); }));
  EXPECT_FALSE(slot.try_acquire().has_value());
  sim_.clear_answers();
  EXPECT_TRUE(eventually([&] { return slot.ready(); }));
  EXPECT_GE(slot.epoch(), 2U);
  slot.finish(lease_of(slot), kFine);
}

// --- closing ---

TEST_F(Slots, AClosedSlotLendsNothingAndClosesItsSessions) {
  Slot& slot = open_slot();
  slot.finish(lease_of(slot), kFine);
  EXPECT_TRUE(slot.close(Deadline::after(seconds(10))));
  EXPECT_FALSE(slot.try_acquire().has_value());
  EXPECT_FALSE(slot.ready());
  EXPECT_EQ(slot.stats().state, SlotState::kClosed);
  EXPECT_EQ(sim_.open_sessions(slot_id()), 0U);
  EXPECT_TRUE(slot.close(Deadline::after(seconds(10))));
}

TEST_F(Slots, ClosingIsBoundedWhenTheModuleHangs) {
  SlotOptions wanted = options();
  wanted.sessions_min = 0;
  Slot& slot = open_slot(wanted);
  sim_.hang("C_OpenSession", slot_id());
  EXPECT_FALSE(slot.try_acquire().has_value());
  ASSERT_TRUE(sim_.wait_hung(1));
  const TimePoint start = MonotonicClock::now();
  EXPECT_FALSE(slot.close(Deadline::after(milliseconds(50))));
  EXPECT_LT(MonotonicClock::now() - start, seconds(10));
  sim_.release();
  EXPECT_TRUE(slot.close(Deadline::after(seconds(10))));
}

TEST_F(Slots, ConnectingIsBoundedWhenTheModuleHangs) {
  sim_.hang("C_OpenSession", slot_id());
  // The slot that was given up tells of capacity as it closes. The call goes on then: no thread is left behind to run
  // beside the end of the process.
  const auto slot =
      Slot::open(options(), module_, {}, [this] { sim_.release(); }, Deadline::after(milliseconds(50)), true);
  ASSERT_FALSE(slot.has_value());
  EXPECT_EQ(slot.error().kind, ErrorKind::kTimeout);
  EXPECT_EQ(slot.error().slot, "hsm-a");
  EXPECT_TRUE(slot.error().retryable());
}

// --- slots that nobody uses ---

TEST_F(Slots, ALossIsFoundAndMendedThoughNobodyUsesTheSlot) {
  SlotOptions wanted = options();
  wanted.probe_interval = milliseconds(20);
  Slot& slot = open_slot(wanted);
  const std::uint64_t epoch = slot.epoch();
  sim_.kill_sessions();
  EXPECT_TRUE(eventually([&] { return slot.epoch() > epoch && slot.ready(); }));
}

// --- tokens with a keypad of their own ---

TEST_F(Slots, ALoginAtTheTokenIsAskedForOnceAndThenWhenAnOperatorSaysSo) {
  sim_.set_token_flags(slot_id(), CKF_PROTECTED_AUTHENTICATION_PATH);
  sim_.answer("C_Login", CKR_DEVICE_ERROR, 0); // nobody is there: no PIN was refused
  SlotOptions wanted = options();
  wanted.pin.reset();
  wanted.login_at_token = true;
  Slot& slot = open_slot(wanted, false);
  EXPECT_TRUE(eventually([&] { return slot.state() == SlotState::kLatched; }));
  EXPECT_EQ(sim_.logins(slot_id()), 1U);
  EXPECT_EQ(slot.health(), HealthState::kLatched);
  EXPECT_THAT(slot.stats().last_error->text(), HasSubstr("login_at_token"));
  slot.unlatch();
  EXPECT_TRUE(eventually([&] { return sim_.logins(slot_id()) == 2U; }));
}

TEST_F(Slots, ATokenWithoutAKeypadIsNotAskedForOne) {
  SlotOptions wanted = options();
  wanted.pin.reset();
  wanted.login_at_token = true;
  const Error error = open_error(wanted);
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), HasSubstr("no protected authentication path"));
  EXPECT_EQ(sim_.logins(slot_id()), 0U);
}

// --- a module's life ---

TEST_F(Slots, AModuleIsNotRestartedWhileSessionsAreOpen) {
  open_slot();
  const Status restarted = module_->restart();
  ASSERT_FALSE(restarted.has_value());
  EXPECT_THAT(restarted.error().message, AnyOf(HasSubstr("sessions are open"), HasSubstr("other code")));
  EXPECT_EQ(sim_.count("C_Finalize"), 0U);
}

} // namespace
} // namespace hsmux
