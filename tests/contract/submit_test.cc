// Submitted work: every request ends exactly once, whatever the module does.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// Completions, counted: each request's once.
class Tally {
public:
  Completion<Bytes> next() {
    return [this, number = given_++](Result<Bytes> result) {
      const std::lock_guard lock(mutex_);
      ++times_[number];
      if (result) {
        ++good_;
      } else {
        errors_.push_back(std::move(result).error());
      }
    };
  }
  [[nodiscard]] bool all_ended() const {
    const std::lock_guard lock(mutex_);
    return times_.size() == static_cast<std::size_t>(given_.load());
  }
  [[nodiscard]] std::vector<Error> errors() const {
    const std::lock_guard lock(mutex_);
    return errors_;
  }
  [[nodiscard]] int good() const { return good_; }
  // All that were given out have ended, each once.
  void expect_each_once() {
    EXPECT_TRUE(eventually([&] { return all_ended(); }));
    const std::lock_guard lock(mutex_);
    for (const auto& [number, times] : times_) EXPECT_EQ(times, 1) << number;
  }

private:
  mutable std::mutex mutex_;
  std::atomic<int> given_{0}, good_{0};
  std::map<int, int> times_;
  std::vector<Error> errors_;
};

class Submit : public Contract {
protected:
  void open_with_key(const std::string& extra = "", const std::string& slot_extra = "") {
    open(extra, slot_extra);
    make_key(kEcdsa, "orders");
    for (const std::string_view slot : {"slot-0", "slot-1"}) {
      ASSERT_TRUE(sign("orders", bytes("x"), {.deadline = {}, .slot = slot}).has_value());
    }
  }
  SignRequest request(RequestOptions options = {}) {
    return {.key = "orders", .algorithm = kEcdsa, .message = message_, .prehashed = false, .options = options};
  }
  Result<Job> submit(RequestOptions options = {}) { return engine().submit(request(options), tally_.next()); }
  Result<Bytes> submit_and_wait(RequestOptions options = {}) {
    return engine().submit_for<Bytes>(request(options)).result.get();
  }
  static RequestOptions within(milliseconds time, std::string_view slot = {}) {
    return {.deadline = Deadline::after(time), .slot = slot};
  }
  // No thread of the engine is in the module any more: before the next test, or the end of the process.
  void TearDown() override {
    if (sim_) sim_->release();
    if (engine_) {
      EXPECT_TRUE(eventually([&] { return engine().work().quarantined == 0; }));
    }
    Contract::TearDown();
  }

  const Bytes message_ = bytes("the message");
  Tally tally_;
};

TEST_F(Submit, ASignatureIsGoodAndComesFromAnotherThread) {
  open_with_key();
  std::promise<std::thread::id> where;
  std::promise<Result<Bytes>> promise;
  const auto job = engine().submit(request(), [&](Result<Bytes> result) {
    where.set_value(std::this_thread::get_id());
    promise.set_value(std::move(result));
  });
  ASSERT_TRUE(job.has_value()) << why(job);
  const Result<Bytes> signature = promise.get_future().get();
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message_, *signature));
  EXPECT_NE(where.get_future().get(), std::this_thread::get_id());
}

TEST_F(Submit, EveryOperationHasItsForm) {
  open_with_key();
  make_key(kGcm, "box");
  make_key(kOaep, "inbox");
  const Bytes secret = bytes("secret");
  for (const auto& [key, algorithm] : {std::pair{"box", kGcm}, std::pair{"inbox", kOaep}}) {
    const EncryptRequest encrypt{.key = key, .algorithm = algorithm, .plaintext = secret, .aad = {}, .options = {}};
    const auto sealed = engine().submit_for<Bytes>(encrypt).result.get();
    ASSERT_TRUE(sealed.has_value()) << why(sealed);
    const DecryptRequest decrypt{
        .key = key, .algorithm = algorithm, .ciphertext = *sealed, .aad = {}, .bound_to = {}, .options = {}};
    EXPECT_EQ(engine().submit_for<Bytes>(decrypt).result.get(), secret);
  }
  const auto signature = submit_and_wait();
  ASSERT_TRUE(signature.has_value());
  const VerifyRequest verify{.key = "orders",
                             .algorithm = kEcdsa,
                             .message = message_,
                             .prehashed = false,
                             .signature = *signature,
                             .options = {}};
  EXPECT_TRUE(engine().submit_for<void>(verify).result.get().has_value());
  EXPECT_EQ(engine().submit_for<Bytes>(RandomRequest{.bytes = 33, .options = {}}).result.get()->size(), 33U);
}

TEST_F(Submit, KeysAreMadeListedFoundAndDeleted) {
  open();
  const GenerateRequest generate{.label = "made",
                                 .algorithm = kEcdsa,
                                 .bits = 0,
                                 .placement = PlacementConfig{.kind = Placement::kSlots, .slots = {slot_name(0)}},
                                 .software_key = false,
                                 .options = {}};
  const auto made = engine().submit_for<KeyInfo>(generate).result.get();
  ASSERT_TRUE(made.has_value()) << why(made);
  const std::string name = "id:" + made->id;
  EXPECT_EQ(engine().submit_for<KeyInfo>(FindKeyRequest{.key = name, .options = {}}).result.get()->label, "made");
  EXPECT_FALSE(engine().submit_for<Bytes>(PublicKeyRequest{.key = name, .options = {}}).result.get()->empty());
  const auto listed =
      engine().submit_for<std::vector<KeyInfo>>(ListKeysRequest{.name = name, .options = {}}).result.get();
  EXPECT_EQ(listed->size(), 1U);
  EXPECT_TRUE(engine().submit_for<KeyInfo>(DeleteKeyRequest{.key = name, .options = {}}).result.get().has_value());
  EXPECT_EQ(error_of(engine().find_key(name)).kind, ErrorKind::kKeyNotFound);
}

TEST_F(Submit, WhatTheCallerLentIsNotLookedAtAfterwards) {
  open();
  make_key(kEcdsa, "orders");
  sim_->hang("C_Sign");
  std::future<Result<Bytes>> result;
  {
    auto own = std::make_unique<Bytes>(message_);
    auto key = std::make_unique<std::string>("orders"), slot = std::make_unique<std::string>("slot-1");
    result = engine()
                 .submit_for<Bytes>(SignRequest{.key = *key,
                                                .algorithm = kEcdsa,
                                                .message = *own,
                                                .prehashed = false,
                                                .options = {.deadline = {}, .slot = *slot}})
                 .result;
    std::ranges::fill(*own, std::uint8_t{0});
    std::ranges::fill(*key, 'x');
    std::ranges::fill(*slot, 'x');
  }
  EXPECT_TRUE(sim_->wait_hung(1));
  sim_->release();
  const Result<Bytes> signature = result.get();
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message_, *signature));
}

TEST_F(Submit, ACompletionMaySubmitTheNextRequest) {
  open_with_key();
  std::atomic<int> left{200};
  std::promise<void> ended;
  std::function<void(Result<Bytes>)> again = [&](const Result<Bytes>& result) {
    EXPECT_TRUE(result.has_value()) << why(result);
    if (--left == 0) return ended.set_value();
    EXPECT_TRUE(engine().submit(request(), again).has_value());
  };
  ASSERT_TRUE(engine().submit(request(), again).has_value());
  EXPECT_EQ(ended.get_future().wait_for(seconds(30)), std::future_status::ready);
}

TEST_F(Submit, ASlowCompletionHoldsUpNobodyElse) {
  open_with_key("", "sessions_max = 1");
  std::promise<void> go_on;
  const std::shared_future<void> may_go_on = go_on.get_future().share();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(engine().submit(request(), [may_go_on](const Result<Bytes>&) { may_go_on.wait(); }).has_value());
  }
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(submit().has_value());
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 20);
  go_on.set_value();
}

TEST_F(Submit, WhatIsWrongWithARequestIsToldAtOnceAndNothingIsCalled) {
  open_with_key();
  const Bytes digest(5);
  EXPECT_EQ(error_of(engine().submit(
                         SignRequest{
                             .key = "orders", .algorithm = kEcdsa, .message = digest, .prehashed = true, .options = {}},
                         tally_.next()))
                .kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(submit({.deadline = {}, .slot = "nowhere"})).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(submit({.deadline = Deadline(TimePoint{}), .slot = {}})).kind, ErrorKind::kTimeout);
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  EXPECT_EQ(error_of(submit()).kind, ErrorKind::kClosed);
  EXPECT_EQ(tally_.good(), 0);
  EXPECT_TRUE(tally_.errors().empty());
}

TEST_F(Submit, AKeyThatIsNotThereIsToldByTheCompletion) {
  open();
  const auto error =
      error_of(engine()
                   .submit_for<Bytes>(SignRequest{
                       .key = "nothing", .algorithm = kEcdsa, .message = message_, .prehashed = false, .options = {}})
                   .result.get());
  EXPECT_EQ(error.kind, ErrorKind::kKeyNotFound);
}

TEST_F(Submit, ABatchGoesTogetherAndEachOfItEndsOnce) {
  open_with_key();
  std::vector<SignRequest> batch(100, request());
  std::mutex mutex;
  std::map<std::size_t, int> times;
  const auto jobs =
      engine().submit(std::span<const SignRequest>(batch), [&](std::size_t i, const Result<Bytes>& result) {
        EXPECT_TRUE(result.has_value()) << why(result);
        const std::lock_guard lock(mutex);
        ++times[i];
      });
  ASSERT_TRUE(jobs.has_value()) << why(jobs);
  EXPECT_EQ(jobs->size(), 100U);
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return times.size() == 100;
  }));
  for (const auto& [i, count] : times) EXPECT_EQ(count, 1) << i;
}

TEST_F(Submit, ABatchWithAMistakeIsRefusedWhole) {
  open_with_key("[submit]\nin_flight_max = 50\n");
  std::vector<SignRequest> batch(3, request());
  batch[1].options.slot = "nowhere";
  const BatchCompletion never = [](std::size_t, const Result<Bytes>&) { ADD_FAILURE(); };
  EXPECT_THAT(error_of(engine().submit(std::span<const SignRequest>(batch), never)).message, HasSubstr("request 1 "));
  const std::vector<SignRequest> many(51, request());
  EXPECT_EQ(error_of(engine().submit(std::span<const SignRequest>(many), never)).kind, ErrorKind::kOverloaded);
  EXPECT_TRUE(submit_and_wait().has_value());
}

TEST_F(Submit, MoreThanTheConfiguredNumberIsRefusedAtOnce) {
  open_with_key("[submit]\nin_flight_max = 8\n", "sessions_max = 1");
  sim_->hang("C_Sign");
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(submit().has_value());
  const Error error = error_of(engine().submit(request(), [](const Result<Bytes>&) { ADD_FAILURE(); }));
  EXPECT_EQ(error.kind, ErrorKind::kOverloaded);
  EXPECT_TRUE(error.retryable());
  sim_->release();
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 8);
}

TEST_F(Submit, WhatWaitsCanBeCancelledAndWhatStartedCannot) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign");
  std::vector<Job> started;
  for (const std::string_view slot : {"slot-0", "slot-1"}) {
    const auto job = submit({.deadline = {}, .slot = slot});
    ASSERT_TRUE(job.has_value());
    started.push_back(*job);
  }
  EXPECT_TRUE(sim_->wait_hung(2));
  std::vector<Job> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(submit().value());
  for (const Job& job : waiting) EXPECT_TRUE(job.cancel());
  for (const Job& job : waiting) EXPECT_FALSE(job.cancel());
  for (const Job& job : started) EXPECT_FALSE(job.cancel());
  sim_->release();
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 2);
  ASSERT_EQ(tally_.errors().size(), 10U);
  for (const Error& error : tally_.errors()) EXPECT_EQ(error.kind, ErrorKind::kCancelled);
}

// --- the module does not return ---

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
    return engine().slots().at(0).suspect;
  }));
  sim_->reset_counts();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LE(sim_->count("C_Sign", slot_id(0)), 3U); // one a second may look
  // Blocking calls, which nobody would take from it, go elsewhere too.
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(sign("orders", message_).has_value());
  sim_->release();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(submit_and_wait().has_value());
    return !engine().slots().at(0).suspect;
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
    return !engine().slots().at(0).suspect && !engine().slots().at(1).suspect;
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
    EXPECT_FALSE(engine().slots().at(0).suspect || engine().slots().at(1).suspect);
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

// --- under load: run by ThreadSanitizer too ---

class SubmitUnderLoad : public Submit {
protected:
  // Chains of requests, each submitted by the completion of the one before.
  void run_chains(int chains, int length, const std::function<void()>& meanwhile = {}) {
    std::atomic<int> left{chains * length}, ended{0};
    std::function<void(Result<Bytes>)> again = [&](const Result<Bytes>& result) {
      EXPECT_TRUE(result.has_value()) << why(result);
      if (left.fetch_sub(1) > chains) {
        EXPECT_TRUE(engine().submit(request(), again).has_value());
      }
      ++ended;
    };
    for (int i = 0; i < chains; ++i) EXPECT_TRUE(engine().submit(request(), again).has_value());
    if (meanwhile) meanwhile();
    EXPECT_TRUE(eventually([&] { return ended == chains * length; })) << ended;
    EXPECT_TRUE(eventually([&] { return engine().work().submitted == 0; }));
  }
};

TEST_F(SubmitUnderLoad, ManyChainsAllEnd) {
  open_with_key();
  run_chains(64, 20);
}

TEST_F(SubmitUnderLoad, KilledSessionsAreNoErrorToAnybody) {
  open_with_key();
  run_chains(16, 100, [&] {
    for (std::size_t i = 0; i < 4; ++i) {
      sim_->kill_sessions(slot_id(i % 2));
      std::this_thread::yield();
    }
  });
}

TEST_F(SubmitUnderLoad, ASlotThatHangsForAWhileIsNoErrorToAnybody) {
  open_with_key();
  run_chains(16, 60, [&] {
    sim_->hang("C_Sign", slot_id(0));
    EXPECT_TRUE(sim_->wait_hung(1));
    EXPECT_TRUE(eventually([&] { return engine().slots().at(0).overdue > 0; }));
    sim_->release();
  });
}

TEST_F(SubmitUnderLoad, CancellingAndClosingMeetNoRequestTwice) {
  open_with_key("", "sessions_max = 2");
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto job = engine().submit(request(), tally_.next());
        if (!job) continue; // counted as given out: see below
        if ((i + t) % 3 == 0) (void)job->cancel();
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(engine().close(Deadline::after(seconds(20))));
  tally_.expect_each_once();
}

TEST_F(SubmitUnderLoad, BlockingAndSubmittedRequestsShareTheSessions) {
  open_with_key("", "sessions_max = 2");
  std::atomic<bool> stop{false};
  std::atomic<int> signatures{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto signature = sign("orders", message_);
        EXPECT_TRUE(signature.has_value()) << why(signature);
        ++signatures;
      }
    });
  }
  run_chains(8, 40);
  EXPECT_TRUE(eventually([&] { return signatures > 20; }));
  stop = true;
}

// A flood of decryptions and a few signatures on one session a slot: the signatures are not behind all of the flood.
TEST_F(SubmitUnderLoad, AFloodOfDecryptionsDoesNotStarveSignatures) {
  open_with_key("", "sessions_max = 1\nconcurrency_min = 1");
  make_key(kOaep, "inbox");
  const Bytes secret = bytes("secret");
  const auto sealed =
      engine().encrypt({.key = "inbox", .algorithm = kOaep, .plaintext = secret, .aad = {}, .options = {}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const DecryptRequest decrypt{.key = "inbox",
                               .algorithm = kOaep,
                               .ciphertext = *sealed,
                               .aad = {},
                               .bound_to = {},
                               .options = {.deadline = Deadline::after(seconds(120)), .slot = {}}};
  ASSERT_TRUE(engine().decrypt(decrypt).has_value());
  std::atomic<int> decrypted{0};
  constexpr int kFlood = 400;
  for (int i = 0; i < kFlood; ++i) {
    ASSERT_TRUE(engine().submit(decrypt, [&](const Result<Bytes>&) { ++decrypted; }).has_value());
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(decrypted, kFlood / 2); // ten signatures by turns with what takes longer
  EXPECT_TRUE(eventually([&] { return decrypted == kFlood; }));
}

// The same when nothing is known of either yet.
TEST_F(SubmitUnderLoad, AFloodOfWorkThatIsNewDoesNotStarveSignatures) {
  open("", "sessions_max = 1\nconcurrency_min = 1");
  make_key(kEcdsa, "orders");
  make_key(kOaep, "inbox");
  const Bytes secret = bytes("secret");
  const auto sealed =
      engine().encrypt({.key = "inbox", .algorithm = kOaep, .plaintext = secret, .aad = {}, .options = {}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  ASSERT_TRUE(engine().find_key("orders").has_value());
  const DecryptRequest decrypt{.key = "inbox",
                               .algorithm = kOaep,
                               .ciphertext = *sealed,
                               .aad = {},
                               .bound_to = {},
                               .options = {.deadline = Deadline::after(seconds(120)), .slot = {}}};
  std::atomic<int> decrypted{0};
  constexpr int kFlood = 400;
  for (int i = 0; i < kFlood; ++i) {
    ASSERT_TRUE(engine().submit(decrypt, [&](const Result<Bytes>&) { ++decrypted; }).has_value());
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(decrypted, kFlood / 2);
  EXPECT_TRUE(eventually([&] { return decrypted == kFlood; }));
}

TEST_F(SubmitUnderLoad, AFloodOfRandomBytesDoesNotStarveSignatures) {
  open_with_key("", "sessions_max = 1\nconcurrency_min = 1");
  sim_->delay("C_GenerateRandom", milliseconds(5));
  std::atomic<bool> stop{false};
  std::atomic<int> taken{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      Bytes out(8);
      while (!stop) {
        EXPECT_TRUE(engine().random(out).has_value());
        ++taken;
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return taken > 50; }));
  const int before = taken;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(taken - before, 200);
  stop = true;
}

} // namespace
} // namespace hsmux
