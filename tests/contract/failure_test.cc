// Sessions, tokens and whole slots fail while requests run: callers see no error as long as something can serve them.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "tests/contract/load.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;

class Failure : public Contract {
protected:
  void SetUp() override {
    Contract::SetUp();
    // Where tests share tokens: an earlier one told the engine that sessions were gone, which were never closed then.
    for (std::size_t slot = 0; sim_ && slot < 2; ++slot) sessions_before_.at(slot) = sim_->open_sessions(slot_id(slot));
  }
  void expect_all_sessions_closed() {
    for (std::size_t slot = 0; slot < 2; ++slot) {
      EXPECT_EQ(sim_->open_sessions(slot_id(slot)), sessions_before_.at(slot));
    }
  }
  std::array<unsigned long, 2> sessions_before_{};
  void open_with_key(const std::string& slot_extra = "") {
    open("", slot_extra);
    make_key(kEcdsa, "orders");
    // Both slots warm: their handles found, their recipes known.
    for (const std::string_view slot : {"slot-0", "slot-1"}) {
      ASSERT_TRUE(sign("orders", bytes("x"), {.deadline = {}, .slot = slot}).has_value());
    }
  }
};

TEST_F(Failure, ASessionThatDiesUnderLoadIsNoErrorToAnybody) {
  open_with_key();
  Load load(engine(), 4);
  for (int i = 0; i < 10; ++i) {
    sim_->answer("C_Sign", CKR_SESSION_HANDLE_INVALID);
    EXPECT_TRUE(load.more(20));
  }
  load.expect_no_error();
}

TEST_F(Failure, AllSessionsOfASlotKilledUnderLoadAreNoErrorToAnybody) {
  open_with_key();
  Load load(engine(), 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(load.more(50));
    EXPECT_TRUE(eventually([&] { return sim_->kill_sessions(slot_id(i % 2)) > 0; })); // none while it reconnects
  }
  EXPECT_TRUE(load.more(50));
  load.expect_no_error();
}

TEST_F(Failure, AllSessionsOfAllSlotsKilledUnderLoadAreNoErrorToAnybody) {
  open_with_key();
  Load load(engine(), 4);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(load.more(50));
    sim_->kill_sessions();
  }
  EXPECT_TRUE(load.more(50));
  load.expect_no_error();
}

TEST_F(Failure, AKeyThatWasNeverUsedIsFoundThoughAllSessionsAreDead) {
  open();
  make_key(kEcdsa, "orders");
  auto other = try_open(config());
  ASSERT_TRUE(other.has_value()) << why(other);
  sim_->kill_sessions();
  const Bytes message = bytes("x");
  const auto signature =
      (*other)->sign({.key = "orders", .algorithm = kEcdsa, .message = message, .prehashed = false, .options = {}});
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

TEST_F(Failure, AnOldErrorOfASlotIsNotWhatALookUpTellsWhileTheSlotIsInDoubt) {
  open();
  make_key_in(0, kEcdsa, "orders");
  // slot-0's first session fails to open: that stays its last error.
  sim_->answer_for_slot(slot_id(0), "C_OpenSession", CKR_DEVICE_ERROR, 1, 1);
  auto other = try_open(config("", "sessions_min = 2"));
  ASSERT_TRUE(other.has_value()) << why(other);
  sim_->answer_for_slot(slot_id(0), "C_FindObjectsInit", CKR_DEVICE_REMOVED);
  sim_->hang("C_GetSessionInfo", slot_id(0)); // it is in doubt until release()
  const Bytes message = bytes("x");
  const Error error =
      error_of((*other)->sign({.key = "orders",
                               .algorithm = kEcdsa,
                               .message = message,
                               .prehashed = false,
                               .options = {.deadline = Deadline::after(milliseconds(300)), .slot = {}}}));
  sim_->release();
  EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
  EXPECT_TRUE(error.retryable());
  const auto signature =
      (*other)->sign({.key = "orders", .algorithm = kEcdsa, .message = message, .prehashed = false, .options = {}});
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

TEST_F(Failure, ListingWorksThoughASessionIsDead) {
  open_with_key();
  sim_->answer("C_FindObjectsInit", CKR_SESSION_HANDLE_INVALID);
  const auto keys = engine().list_keys();
  EXPECT_TRUE(keys.has_value()) << why(keys);
}

TEST_F(Failure, SomebodysLogoutIsNoErrorToAnybody) {
  open_with_key();
  Load load(engine(), 2);
  EXPECT_TRUE(load.more(20));
  EXPECT_EQ(sim_->logout(slot_id(0)), CKR_OK);
  EXPECT_TRUE(load.more(200));
  load.expect_no_error();
}

TEST_F(Failure, ADeviceErrorIsRetriedInTheOtherSlot) {
  open_with_key();
  sim_->reset_counts();
  for (std::size_t bad = 0; bad < 2; ++bad) {
    sim_->answer_for_slot(slot_id(bad), "C_Sign", CKR_DEVICE_ERROR, 0);
    for (int i = 0; i < 10; ++i) {
      const auto signature = sign("orders", bytes("x"));
      ASSERT_TRUE(signature.has_value()) << why(signature);
    }
    sim_->clear_answers();
  }
}

TEST_F(Failure, ADeviceErrorOnceCostsOneMoreAttempt) {
  open_with_key();
  sim_->reset_counts();
  sim_->answer("C_Sign", CKR_DEVICE_ERROR);
  ASSERT_TRUE(sign("orders", bytes("x")).has_value());
  EXPECT_EQ(sim_->count("C_Sign"), 2U);
  EXPECT_EQ(sim_->count("C_Sign", slot_id(0)), 1U); // one attempt in each
}

TEST_F(Failure, ADeviceErrorEverywhereIsToldWithTheNumberOfAttempts) {
  open_with_key();
  sim_->reset_counts();
  sim_->answer("C_Sign", CKR_DEVICE_ERROR, 0);
  const Error error = error_of(sign("orders", bytes("x")));
  EXPECT_EQ(error.kind, ErrorKind::kDevice);
  EXPECT_EQ(error.rv, CKR_DEVICE_ERROR);
  EXPECT_EQ(error.call, Call::kSign);
  EXPECT_THAT(error.text(), HasSubstr("attempt"));
  EXPECT_TRUE(error.retryable());
  EXPECT_LE(sim_->count("C_Sign"), 16U);
  sim_->clear_answers();
  EXPECT_TRUE(sign("orders", bytes("x")).has_value());
}

class ThreeSlotFailure : public ThreeSlots {};

TEST_F(ThreeSlotFailure, ASlotThatIsRemovedUnderLoadIsNoErrorAndIsUsedAgainWhenItIsBack) {
  for (const CK_RV rv : {CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT}) {
    if (!engine_) open();
    if (rv == CKR_DEVICE_REMOVED) make_key(kEcdsa, "orders");
    Load load(engine(), 4);
    EXPECT_TRUE(load.more(50));
    sim_->answer_for_slot(slot_id(0), "*", rv, 0);
    EXPECT_TRUE(load.more(100));
    EXPECT_TRUE(eventually([&] { return state(0) == SlotState::kConnecting; }));
    EXPECT_TRUE(load.more(100));
    sim_->clear_answers();
    const TimePoint back = MonotonicClock::now();
    EXPECT_TRUE(eventually([&] { return state(0) == SlotState::kReady; }));
    EXPECT_LT(MonotonicClock::now() - back, seconds(3)); // 2 s by promise; this machine is shared
    sim_->reset_counts();
    EXPECT_TRUE(eventually([&] { return sim_->count("C_Sign", slot_id(0)) > 0; }));
    load.expect_no_error();
  }
}

TEST_F(ThreeSlotFailure, AKeyThatWasNeverUsedIsFoundThoughASlotWasJustRemoved) {
  open();
  make_key(kEcdsa, "orders");
  auto other = try_open(config());
  ASSERT_TRUE(other.has_value()) << why(other);
  sim_->answer_for_slot(slot_id(0), "*", CKR_DEVICE_REMOVED, 0);
  const Bytes message = bytes("x");
  const auto signature =
      (*other)->sign({.key = "orders", .algorithm = kEcdsa, .message = message, .prehashed = false, .options = {}});
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

TEST_F(Failure, NothingLeftToServeIsATimeoutThatSaysWhatTheSlotsAreDoing) {
  open_with_key();
  sim_->answer("*", CKR_DEVICE_REMOVED, 0);
  const Error error =
      error_of(sign("orders", bytes("x"), {.deadline = Deadline::after(milliseconds(300)), .slot = {}}));
  EXPECT_TRUE(error.kind == ErrorKind::kTimeout || error.kind == ErrorKind::kUnavailable) << error.text();
  EXPECT_TRUE(error.retryable());
  EXPECT_THAT(error.text(), AllOf(HasSubstr("slot-0"), HasSubstr("CKR_DEVICE_REMOVED")));
  sim_->clear_answers();
  const auto signature = sign("orders", bytes("x"));
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

// --- modules that lie ---

TEST_F(Failure, ALieAboutALengthOnceIsRetried) {
  open_with_key();
  sim_->overlong("C_Sign");
  const auto signature = sign("orders", bytes("x"));
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

TEST_F(Failure, AModuleThatLiesAboutLengthsIsNamedAndNothingIsOverrun) {
  open_with_key();
  make_key(kGcm, "box");
  const auto sealed = encrypt("box", kGcm, bytes("secret"));
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  for (const char* function : {"C_Sign", "C_Encrypt", "C_Decrypt"}) sim_->overlong(function, 0);
  const Error errors[] = {error_of(sign("orders", bytes("x"))), error_of(encrypt("box", kGcm, bytes("secret"))),
                          error_of(decrypt("box", kGcm, *sealed))};
  for (const Error& error : errors) {
    EXPECT_EQ(error.kind, ErrorKind::kDevice) << error.text();
    EXPECT_THAT(error.text(), AllOf(HasSubstr("module test claims"), HasSubstr("slot-")));
  }
  sim_->clear_answers();
  EXPECT_TRUE(sign("orders", bytes("x")).has_value());
  EXPECT_EQ(decrypt("box", kGcm, *sealed).value_or(Bytes{}), bytes("secret"));
}

// --- waiting and closing ---

class OneSession : public OneSlot {
protected:
  // The only session is stuck in C_Sign on another thread.
  void stick() {
    open("", "sessions_max = 1");
    make_key(kEcdsa, "orders");
    ASSERT_TRUE(sign("orders", bytes("x")).has_value());
    sim_->hang("C_Sign");
    stuck_ = std::jthread([this] { stuck_result_ = sign("orders", bytes("stuck")); });
    ASSERT_TRUE(sim_->wait_hung(1));
  }
  void TearDown() override {
    if (sim_) sim_->release();
    stuck_ = {};
    OneSlot::TearDown();
  }

  Result<Bytes> stuck_result_ = fail(ErrorKind::kInternal, "not run");
  std::jthread stuck_;
};

TEST_F(OneSession, ARequestThatFindsNoSessionWaitsUntilItsDeadlineAndSaysWhy) {
  stick();
  const TimePoint start = MonotonicClock::now();
  const Error error =
      error_of(sign("orders", bytes("x"), {.deadline = Deadline::after(milliseconds(100)), .slot = {}}));
  EXPECT_EQ(error.kind, ErrorKind::kTimeout);
  EXPECT_THAT(error.text(), HasSubstr("slot-0: ready, 1 of 1 sessions in use"));
  EXPECT_GE(MonotonicClock::now() - start, milliseconds(100));
}

TEST_F(OneSession, AWaitingRequestGetsTheSessionWhenItIsFree) {
  stick();
  std::atomic<bool> waiting{false};
  Result<Bytes> result = fail(ErrorKind::kInternal, "not run");
  std::jthread waiter([&] {
    waiting = true;
    result = sign("orders", bytes("x"));
  });
  EXPECT_TRUE(eventually([&] { return waiting.load(); }));
  sim_->release();
  waiter.join();
  EXPECT_TRUE(result.has_value()) << why(result);
  stuck_.join();
  EXPECT_TRUE(stuck_result_.has_value()) << why(stuck_result_);
}

TEST_F(OneSession, ClosingEndsThoseThatWaitAndIsBoundedByTheDeadline) {
  stick();
  Result<Bytes> result = fail(ErrorKind::kInternal, "not run");
  std::jthread waiter([&] { result = sign("orders", bytes("x")); });
  const TimePoint start = MonotonicClock::now();
  EXPECT_FALSE(engine().close(Deadline::after(milliseconds(100)))); // one call is stuck
  EXPECT_LT(MonotonicClock::now() - start, seconds(10));
  waiter.join();
  EXPECT_EQ(error_of(result).kind, ErrorKind::kClosed);
  sim_->release();
  stuck_.join();
  EXPECT_TRUE(stuck_result_.has_value()) << why(stuck_result_); // what was running ends as it does
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
}

TEST_F(Failure, ClosingTwiceIsFineAndEveryLaterCallSaysClosed) {
  open_with_key();
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  expect_all_sessions_closed();
  sim_->reset_counts();
  Bytes byte(1);
  const Error errors[] = {error_of(sign("orders", bytes("x"))),    error_of(engine().random(byte)),
                          error_of(engine().list_keys()),          error_of(engine().find_key("orders")),
                          error_of(engine().exists("orders")),     error_of(engine().public_key("orders")),
                          error_of(engine().delete_key("orders")), error_of(engine().unlatch("slot-0"))};
  for (const Error& error : errors) EXPECT_EQ(error.kind, ErrorKind::kClosed) << error.text();
  EXPECT_TRUE(engine().slots().empty());
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(Failure, ClosingUnderLoadEndsEveryRequestOneWayOrTheOther) {
  open_with_key();
  std::atomic<int> other_errors{0}, started{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        while (true) {
          const auto signature = sign("orders", bytes("x"));
          ++started;
          if (signature) continue;
          if (signature.error().kind != ErrorKind::kClosed) ++other_errors;
          return;
        }
      });
    }
    EXPECT_TRUE(eventually([&] { return started > 50; }));
    EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  }
  EXPECT_EQ(other_errors, 0);
  expect_all_sessions_closed();
}

TEST_F(Failure, AForkedChildIsRefusedAtOnceAndTheParentGoesOn) {
  open_with_key("session_copies = 'off'"); // which are made beside, and counted
  sim_->reset_counts();
  const pid_t child = fork();
  if (child == 0) {
    const Bytes message = bytes("x");
    Bytes byte(1);
    const auto forked = [](const auto& result) { return !result && result.error().kind == ErrorKind::kForked; };
    const bool refused = forked(sign("orders", message)) && forked(engine().random(byte)) &&
                         forked(engine().list_keys()) && engine().slots().empty() && sim_->total() == 0;
    engine_.reset(); // hangs on nothing that only the parent has
    _exit(refused ? 42 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_TRUE(sign("orders", bytes("x")).has_value());
}

// --- many at once ---

TEST_F(ThreeSlots, StressEveryOperationAtOnceWithSessionsDying) {
  open();
  make_key(kEcdsa, "orders");
  make_key(kGcm, "box");
  make_key(Algorithm::kRsaOaepSha256, "inbox");
  std::atomic<int> wrong{0}, running{6};
  std::mutex mutex;
  std::string first_error;
  const auto check = [&](bool good, const std::string& what) {
    if (good) return;
    ++wrong;
    const std::lock_guard lock(mutex);
    if (first_error.empty()) first_error = what;
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 60; ++i) {
          const Bytes data = random_data(static_cast<std::size_t>(i));
          if (t % 3 == 0) {
            const auto signature = sign("orders", data);
            check(signature && verifies("orders", data, *signature), why(signature));
          } else {
            const Algorithm algorithm = t % 3 == 1 ? kGcm : Algorithm::kRsaOaepSha256;
            const std::string_view key = t % 3 == 1 ? "box" : "inbox";
            const auto sealed = encrypt(key, algorithm, data);
            if (!sealed) {
              check(false, why(sealed));
              continue;
            }
            const auto opened = decrypt(key, algorithm, *sealed);
            check(opened && *opened == data, why(opened));
          }
        }
        --running;
      });
    }
    for (int i = 0; i < 12 && running > 0; ++i) {
      const unsigned long before = sim_->count("C_Sign");
      eventually([&] { return running == 0 || sim_->count("C_Sign") > before + 5; });
      if (i % 4 == 3)
        sim_->kill_sessions(slot_id(static_cast<std::size_t>(i) / 4));
      else
        sim_->answer(i % 2 == 0 ? "C_Sign" : "C_Decrypt", CKR_SESSION_HANDLE_INVALID);
    }
  }
  EXPECT_EQ(wrong, 0) << first_error;
}

} // namespace
} // namespace hsmux
