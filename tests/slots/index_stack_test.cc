#include "slots/index_stack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <initializer_list>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "tests/random_seed.h"

namespace hsmux {
namespace {

using Index = IndexStack::Index;

class IndexStacks : public testing::Test {
protected:
  static constexpr Index kIndices = 4;
  IndexStack::Links links_ = std::make_unique<std::atomic<Index>[]>(kIndices);
  IndexStack stack_{links_.get()};
};

TEST_F(IndexStacks, AnEmptyListGivesNone) {
  EXPECT_TRUE(stack_.empty());
  EXPECT_EQ(stack_.pop(), IndexStack::kNone);
  EXPECT_EQ(stack_.take_all(), IndexStack::kNone);
}

TEST_F(IndexStacks, TheLastInIsTheFirstOut) {
  stack_.push(2);
  stack_.push(0);
  EXPECT_FALSE(stack_.empty());
  EXPECT_EQ(stack_.pop(), 0);
  stack_.push(3);
  EXPECT_EQ(stack_.pop(), 3);
  EXPECT_EQ(stack_.pop(), 2);
  EXPECT_EQ(stack_.pop(), IndexStack::kNone);
}

TEST_F(IndexStacks, AllAreTakenAtOnce) {
  for (const Index index : std::initializer_list<Index>{1, 3, 2}) stack_.push(index);
  EXPECT_EQ(stack_.take_all(), 2);
  EXPECT_EQ(stack_.next(2), 3);
  EXPECT_EQ(stack_.next(3), 1);
  EXPECT_EQ(stack_.next(1), IndexStack::kNone);
  EXPECT_TRUE(stack_.empty());
}

TEST_F(IndexStacks, TwoListsShareTheirLinks) {
  IndexStack other(links_.get());
  stack_.push(0);
  other.push(1);
  stack_.push(2);
  other.push(3);
  EXPECT_EQ(other.pop(), 3);
  EXPECT_EQ(stack_.pop(), 2);
  EXPECT_EQ(other.pop(), 1);
  EXPECT_EQ(stack_.pop(), 0);
}

// --- linearizability: each recorded history has an order of its operations, none after one that began later than it
// ended, in which the sequential list would have answered the same (Herlihy and Wing, 1990) ---

struct Step {
  bool push;
  Index index;            // pushed or popped; kNone: the list was empty
  std::uint64_t from, to; // ticks of a shared counter, before and after
};

using Sequential = std::vector<Index>;

bool apply(const Step& call, Sequential& list) {
  if (call.push) {
    list.push_back(call.index);
    return true;
  }
  const Index top = list.empty() ? IndexStack::kNone : list.back();
  if (!list.empty()) list.pop_back();
  return top == call.index;
}

// Every order is tried, but none twice from the same point: `done` is a bit per call.
bool linearizable(const std::vector<Step>& calls, std::uint64_t done, const Sequential& list,
                  std::set<std::pair<std::uint64_t, Sequential>>& tried) {
  if (done == (std::uint64_t{1} << calls.size()) - 1) return true;
  if (!tried.insert({done, list}).second) return false;
  std::uint64_t first_end = ~std::uint64_t{0};
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if ((done >> i & 1) == 0) first_end = std::min(first_end, calls[i].to);
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if ((done >> i & 1) != 0 || calls[i].from > first_end) continue;
    Sequential after = list;
    if (apply(calls[i], after) && linearizable(calls, done | std::uint64_t{1} << i, after, tried)) return true;
  }
  return false;
}

bool linearizable(const std::vector<Step>& calls, const Sequential& start) {
  std::set<std::pair<std::uint64_t, Sequential>> tried;
  return linearizable(calls, 0, start, tried);
}

TEST(Linearizability, TheCheckKnowsRightHistoriesFromWrongOnes) {
  const Step pop0{false, 0, 1, 2}, push0{true, 0, 3, 4}, pop0_again{false, 0, 5, 6};
  EXPECT_TRUE(linearizable({pop0, push0, pop0_again}, {0}));
  EXPECT_FALSE(linearizable({pop0, pop0_again}, {0})); // one index, two owners
  const Step late_push{true, 0, 3, 9};
  EXPECT_TRUE(linearizable({pop0, late_push, pop0_again}, {0})); // it took effect in time
  EXPECT_FALSE(linearizable({pop0, {true, 0, 7, 9}, pop0_again}, {0}));
  const Step empty{false, IndexStack::kNone, 1, 2};
  EXPECT_FALSE(linearizable({empty}, {0}));
  EXPECT_FALSE(linearizable({{false, 0, 1, 2}}, {0, 1})); // not the last in
}

TEST(Linearizability, StressEveryRecordedHistoryIsOneOfTheSequentialList) {
  constexpr int kThreads = 3, kCallsEach = 6, kHistories = 2000;
  constexpr Index kIndices = 3;
  const std::uint64_t seed = test_seed();
  const IndexStack::Links links = std::make_unique<std::atomic<Index>[]>(kIndices);
  IndexStack stack(links.get());
  std::atomic<std::uint64_t> tick{0};
  std::array<std::vector<Step>, kThreads> recorded;
  Sequential start;
  int wrong = 0;

  std::barrier begin(kThreads + 1), end(kThreads + 1);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(seed) + static_cast<unsigned>(t));
      for (int h = 0; h < kHistories; ++h) {
        begin.arrive_and_wait();
        std::vector<Index> mine;
        std::vector<Step>& calls = recorded.at(static_cast<std::size_t>(t));
        calls.clear();
        while (calls.size() < kCallsEach) {
          Step call{.push = !mine.empty() && random() % 2 == 0, .index = 0, .from = tick++, .to = 0};
          if (call.push) {
            call.index = mine.back();
            mine.pop_back();
            stack.push(call.index);
          } else {
            call.index = stack.pop();
            if (call.index != IndexStack::kNone) mine.push_back(call.index);
          }
          call.to = tick++;
          calls.push_back(call);
        }
        for (const Index index : mine) {
          const std::uint64_t from = tick++;
          stack.push(index);
          calls.push_back({true, index, from, tick++});
        }
        end.arrive_and_wait();
      }
    });
  }
  for (int h = 0; h < kHistories; ++h) {
    // What the list holds now, bottom first.
    start.clear();
    for (Index index = stack.take_all(); index != IndexStack::kNone; index = stack.next(index)) start.push_back(index);
    std::ranges::reverse(start);
    if (h == 0) start = {0, 1, 2};
    for (const Index index : start) stack.push(index);
    begin.arrive_and_wait();
    end.arrive_and_wait();
    std::vector<Step> calls;
    for (const auto& each : recorded) calls.insert(calls.end(), each.begin(), each.end());
    if (!linearizable(calls, start)) ++wrong;
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

} // namespace
} // namespace hsmux
