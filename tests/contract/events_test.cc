// What listeners are told of requests: each attempt with its slot, and each request once, however it ends.
#include <mutex>

#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

struct Told {
  EventKind kind;
  std::string slot, operation, algorithm;
  ErrorKind status;
  unsigned long rv;
  Duration duration, waited;
};

class Events : public Submit {
protected:
  void open_and_listen(const std::string& extra = "") {
    open(extra, "session_copies = 'off'", {.events = [this](const Event& event) { record(event); }, .log = {}});
    make_key(kEcdsa, "orders");
    ASSERT_TRUE(sign("orders", message_).has_value());
    forget();
  }
  void record(const Event& event) {
    const std::lock_guard lock(mutex_);
    for (const std::string_view text : {event.slot, event.call, event.algorithm, event.operation}) {
      EXPECT_TRUE(text.data() == nullptr || text.data()[text.size()] == '\0') << text;
    }
    told_.push_back({event.kind, std::string(event.slot), std::string(event.operation), std::string(event.algorithm),
                     event.status, event.rv, event.duration, event.waited});
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    told_.clear();
  }
  [[nodiscard]] std::vector<Told> told(EventKind kind) const {
    const std::lock_guard lock(mutex_);
    std::vector<Told> found;
    std::ranges::copy_if(told_, std::back_inserter(found), [&](const Told& one) { return one.kind == kind; });
    return found;
  }
  // The only request that was told of; and not again later.
  [[nodiscard]] Told only_request() const {
    const std::vector<Told> requests = told(EventKind::kRequest);
    EXPECT_EQ(requests.size(), 1U);
    return requests.empty() ? Told{} : requests.front();
  }
  void TearDown() override {
    engine_.reset(); // it may tell of something until then
    Contract::TearDown();
  }

private:
  mutable std::mutex mutex_; // guards told_
  std::vector<Told> told_;
};

TEST_F(Events, ASignatureIsOneAttemptAndOneRequest) {
  open_and_listen();
  ASSERT_TRUE(sign("orders", message_).has_value());
  const std::vector<Told> attempts = told(EventKind::kOperation);
  ASSERT_EQ(attempts.size(), 1U);
  EXPECT_THAT(attempts[0].slot, testing::StartsWith("slot-"));
  EXPECT_EQ(attempts[0].operation, "sign");
  EXPECT_EQ(attempts[0].algorithm, "ecdsa-p256-sha256");
  EXPECT_EQ(attempts[0].status, ErrorKind{});
  EXPECT_GE(attempts[0].waited, Duration::zero());
  const Told request = only_request();
  EXPECT_EQ(request.slot, "");
  EXPECT_EQ(request.operation, "sign");
  EXPECT_EQ(request.algorithm, "ecdsa-p256-sha256");
  EXPECT_EQ(request.status, ErrorKind{});
  EXPECT_GE(request.duration, attempts[0].duration);
}

TEST_F(Events, ARetryIsTwoAttemptsAndOneRequest) {
  open_and_listen();
  sim_->answer("C_Sign", CKR_DEVICE_ERROR);
  ASSERT_TRUE(sign("orders", message_).has_value());
  const std::vector<Told> attempts = told(EventKind::kOperation), retries = told(EventKind::kRetry);
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[0].status, ErrorKind::kDevice);
  EXPECT_EQ(attempts[0].rv, CKR_DEVICE_ERROR);
  EXPECT_EQ(attempts[1].status, ErrorKind{});
  ASSERT_EQ(retries.size(), 1U);
  EXPECT_EQ(retries[0].slot, attempts[0].slot);
  EXPECT_EQ(retries[0].status, ErrorKind::kDevice);
  EXPECT_EQ(only_request().status, ErrorKind{});
}

TEST_F(Events, ARequestThatReachesNoSlotIsToldOfToo) {
  open_and_listen();
  EXPECT_FALSE(sign("nobody", message_).has_value());
  EXPECT_TRUE(told(EventKind::kOperation).empty());
  EXPECT_EQ(only_request().status, ErrorKind::kKeyNotFound);
}

TEST_F(Events, SubmittedWorkIsToldOfOnceEach) {
  open_and_listen();
  ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_EQ(only_request().status, ErrorKind{});
  forget();
  EXPECT_FALSE(submit_and_wait({.deadline = Deadline(TimePoint{}), .slot = {}}).has_value());
  EXPECT_EQ(only_request().status, ErrorKind::kTimeout) << "refused by submit() itself";
}

TEST_F(Events, ABatchIsToldOfByItsRequests) {
  open_and_listen();
  const std::vector<SignRequest> batch(5, request());
  std::atomic<int> ended{0};
  ASSERT_TRUE(engine().submit(batch, [&](std::size_t, const Result<Bytes>&) { ++ended; }).has_value());
  EXPECT_TRUE(eventually([&] { return ended == 5; }));
  EXPECT_EQ(told(EventKind::kRequest).size(), 5U);
}

TEST_F(Events, WhatIsTooMuchIsToldOfAsOverloaded) {
  open_and_listen("[submit]\nin_flight_max = 1\n");
  const std::vector<SignRequest> batch(3, request());
  EXPECT_FALSE(engine().submit(batch, [](std::size_t, const Result<Bytes>&) {}).has_value());
  const std::vector<Told> requests = told(EventKind::kRequest);
  ASSERT_EQ(requests.size(), 3U);
  for (const Told& one : requests) EXPECT_EQ(one.status, ErrorKind::kOverloaded);
}

TEST_F(Events, AHardCallIsToldOfOnce) {
  open_and_listen();
  ASSERT_TRUE(sign("orders", message_, {.deadline = {}, .slot = {}, .hard = true}).has_value());
  EXPECT_EQ(only_request().operation, "sign");
}

TEST_F(Events, StateFromMemoryAsksNoModule) {
  open_and_listen();
  sim_->reset_counts();
  const std::vector<SlotReport> reports = engine().slots_now();
  EXPECT_EQ(sim_->total(), 0U);
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].stats.state, SlotState::kReady);
}

} // namespace
} // namespace hsmux
