#include "engine/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Lane = Workers::Lane;

constexpr auto kLong = seconds(30);

TimePoint never(TimePoint) { return TimePoint::max(); }

class Function final : public Task {
public:
  explicit Function(std::function<void()> what) : what_(std::move(what)) {}
  void run() override { what_(); }
  void expire() override { expired.set_value(); }
  std::promise<void> expired;

private:
  std::function<void()> what_;
};

// A call that lasts until it is let go, as the module's.
class Stuck final : public Task {
public:
  Stuck(Workers& workers, TimePoint limit) : workers_(workers), limit_(limit) {}
  void run() override {
    Workers::Watched watched(workers_, *this, limit_);
    began.set_value();
    let_go.get_future().wait();
    ended.set_value(watched.end());
  }
  std::optional<TimePoint> late(TimePoint, bool closing) override {
    if (!closing && more-- > 0) return MonotonicClock::now() + milliseconds(1);
    return std::nullopt;
  }
  void go_on() override { given_up.set_value(); }

  std::promise<void> began, let_go, given_up;
  std::promise<bool> ended; // Watched::end()
  int more = 0;             // times that late() wants to wait on

private:
  Workers& workers_;
  TimePoint limit_;
};

// Something that a worker does after a call of the module.
class AfterACall final : public Task {
public:
  AfterACall(Workers& workers, std::function<void()> what) : workers_(workers), what_(std::move(what)) {}
  void run() override {
    Workers::Watched watched(workers_, *this, MonotonicClock::now() + kLong);
    EXPECT_TRUE(watched.end());
    what_();
  }

private:
  Workers& workers_;
  std::function<void()> what_;
};

class WorkersTest : public testing::Test {
protected:
  ~WorkersTest() override { EXPECT_TRUE(workers_.stop(Deadline::after(kLong))); }
  void run(std::function<void()> what, Lane lane = Lane::kLeases) {
    workers_.run(std::make_shared<Function>(std::move(what)), lane);
  }
  template <class T> static T get(std::promise<T>& promise) {
    std::future<T> future = promise.get_future();
    EXPECT_EQ(future.wait_for(kLong), std::future_status::ready);
    return future.get();
  }
  std::shared_ptr<Stuck> start_stuck(TimePoint limit = MonotonicClock::now(), int more = 0) {
    auto stuck = std::make_shared<Stuck>(workers_, limit);
    stuck->more = more;
    workers_.run(stuck, Lane::kLeases);
    get(stuck->began);
    return stuck;
  }

  Workers workers_{{1, 1, 1}, never};
};

TEST_F(WorkersTest, ATaskRunsOnAnotherThread) {
  std::promise<std::thread::id> where;
  run([&] { where.set_value(std::this_thread::get_id()); });
  EXPECT_NE(get(where), std::this_thread::get_id());
}

TEST_F(WorkersTest, EveryTaskRunsOnce) {
  std::atomic<int> runs{0};
  std::promise<void> all;
  for (int i = 0; i < 1000; ++i) {
    run([&] {
      if (++runs == 1000) all.set_value();
    });
  }
  get(all);
  EXPECT_TRUE(workers_.stop(Deadline::after(kLong)));
  EXPECT_EQ(runs, 1000);
}

TEST_F(WorkersTest, NoMoreThreadsThanAllowed) {
  std::promise<void> go_on;
  const std::shared_future<void> may = go_on.get_future().share();
  for (int i = 0; i < 10; ++i) run([may] { may.wait(); });
  EXPECT_EQ(workers_.stats().threads, 1U);
  EXPECT_LE(workers_.stats().waiting, 10U);
  EXPECT_GE(workers_.stats().waiting, 9U);
  go_on.set_value();
}

TEST_F(WorkersTest, LanesDoNotWaitForEachOther) {
  std::promise<void> go_on, ran;
  const std::shared_future<void> may = go_on.get_future().share();
  run([may] { may.wait(); }, Lane::kErrands);
  run([&] { ran.set_value(); });
  get(ran);
  go_on.set_value();
}

TEST_F(WorkersTest, AWithdrawnTaskNeverRuns) {
  std::promise<void> go_on;
  const std::shared_future<void> may = go_on.get_future().share();
  run([may] { may.wait(); });
  const auto unwanted = std::make_shared<Function>([] { ADD_FAILURE(); });
  const auto wanted = std::make_shared<Function>([] {});
  workers_.run(unwanted, Lane::kLeases);
  workers_.run(wanted, Lane::kLeases);
  EXPECT_TRUE(workers_.withdraw(unwanted, Lane::kLeases));
  EXPECT_FALSE(workers_.withdraw(unwanted, Lane::kLeases));
  go_on.set_value();
  EXPECT_TRUE(workers_.stop(Deadline::after(kLong)));
  EXPECT_FALSE(workers_.withdraw(wanted, Lane::kLeases));
}

TEST_F(WorkersTest, ATaskThatWaitsTooLongForAThreadExpires) {
  std::promise<void> go_on;
  const std::shared_future<void> may = go_on.get_future().share();
  run([may] { may.wait(); });
  const auto late = std::make_shared<Function>([] { ADD_FAILURE(); });
  late->expires = MonotonicClock::now() + milliseconds(5);
  const auto later = std::make_shared<Function>([] {});
  workers_.run(late, Lane::kLeases);
  workers_.run(later, Lane::kLeases);
  get(late->expired);
  go_on.set_value();
}

TEST_F(WorkersTest, TheTasksOfABatchRun) {
  std::atomic<int> runs{0};
  std::promise<void> all;
  {
    const Workers::Batch together(workers_);
    for (int i = 0; i < 3; ++i) {
      run([&] {
        if (++runs == 3) all.set_value();
      });
    }
    EXPECT_EQ(workers_.stats().threads, 0U);
  }
  get(all);
}

// --- the watch ---

TEST_F(WorkersTest, AThreadThatTheModuleHoldsIsGivenUpAndReplaced) {
  const auto stuck = start_stuck();
  get(stuck->given_up);
  EXPECT_EQ(workers_.stats().stuck, 1U);
  std::promise<void> ran;
  run([&] { ran.set_value(); }); // one thread is allowed, and that one does not count
  get(ran);
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
  EXPECT_TRUE(workers_.stop(Deadline::after(kLong)));
  EXPECT_EQ(workers_.stats().stuck, 0U);
}

TEST_F(WorkersTest, WhatWaitsBehindAStuckThreadGetsAnotherOne) {
  const auto stuck = start_stuck(MonotonicClock::now() + milliseconds(20));
  std::promise<void> ran;
  run([&] { ran.set_value(); });
  get(ran);
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
}

TEST_F(WorkersTest, ACallMayBeGivenMoreTime) {
  const auto stuck = start_stuck(MonotonicClock::now(), 3);
  get(stuck->given_up);
  EXPECT_EQ(stuck->more, -1);
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
}

TEST_F(WorkersTest, ACallThatEndsInTimeIsNotGivenUp) {
  const auto stuck = start_stuck(MonotonicClock::now() + seconds(600));
  stuck->let_go.set_value();
  EXPECT_TRUE(get(stuck->ended));
  EXPECT_EQ(workers_.stats().stuck, 0U);
}

TEST_F(WorkersTest, AtTheEndEveryWatchedCallIsGivenUp) {
  const auto stuck = start_stuck(MonotonicClock::now() + seconds(600));
  workers_.give_up();
  get(stuck->given_up);
  EXPECT_FALSE(workers_.stop(Deadline(MonotonicClock::now())));
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
}

// A completion may hand work to another engine.
TEST_F(WorkersTest, AWorkerTakesOnlyItsOwnEnginesTasksOn) {
  Workers others({1, 1, 1}, never);
  const auto stuck = std::make_shared<Stuck>(others, MonotonicClock::now());
  const auto hands_over = std::make_shared<AfterACall>(workers_, [&] { others.run(stuck, Lane::kLeases); });
  workers_.run(hands_over, Lane::kLeases);
  get(stuck->began);
  EXPECT_EQ(others.stats().threads, 1U);
  get(stuck->given_up); // by its own watch
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
  EXPECT_TRUE(others.stop(Deadline::after(kLong)));
}

TEST_F(WorkersTest, ACallThatBeginsAfterTheEndIsGivenUpToo) {
  workers_.give_up();
  const auto stuck = start_stuck(MonotonicClock::now() + seconds(600));
  get(stuck->given_up);
  stuck->let_go.set_value();
  EXPECT_FALSE(get(stuck->ended));
}

TEST_F(WorkersTest, TheWatchCallsBackWhenItWasToldTo) {
  std::promise<void> called;
  std::atomic<bool> told{false};
  const TimePoint at = MonotonicClock::now() + milliseconds(10);
  Workers workers({1, 1, 1}, [&](TimePoint now) {
    if (now < at) return at;
    if (!told.exchange(true)) called.set_value();
    return TimePoint::max();
  });
  workers.watch(at);
  get(called);
  EXPECT_GE(MonotonicClock::now(), at);
  EXPECT_TRUE(workers.stop(Deadline::after(kLong)));
}

} // namespace
} // namespace hsmux
