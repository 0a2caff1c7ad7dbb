// Submitted work: every request ends exactly once.
#include <future>
#include <thread>

#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

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

} // namespace
} // namespace hsmux
