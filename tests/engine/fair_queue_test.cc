#include "engine/fair_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

namespace hsmux {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr FlowId kSignatures = 1, kDecryptions = 2;

class Queue : public testing::Test {
protected:
  QueueEntry& push(FlowId flow, Duration cost, SlotSet eligible = 1, TimePoint since = {}) {
    QueueEntry& entry = entries_.emplace_back();
    entry.flow = flow;
    entry.cost = cost;
    entry.eligible = eligible;
    entry.since = since;
    queue_.push(entry);
    return entry;
  }
  QueueEntry* serve(std::size_t slot = 0) {
    QueueEntry* entry = queue_.next(slot);
    if (entry != nullptr) queue_.serve(*entry);
    return entry;
  }

  std::deque<QueueEntry> entries_;
  FairQueue queue_;
};

TEST_F(Queue, OneFlowIsServedFirstInFirstOut) {
  std::vector<QueueEntry*> pushed;
  for (int i = 0; i < 100; ++i) pushed.push_back(&push(kSignatures, microseconds(i % 7)));
  for (QueueEntry* expected : pushed) EXPECT_EQ(serve(), expected);
  EXPECT_EQ(serve(), nullptr);
  EXPECT_EQ(queue_.size(), 0U);
}

TEST_F(Queue, AFloodOfSlowWorkLeavesAnotherFlowItsHalfOfTheTime) {
  for (int i = 0; i < 1000; ++i) push(kDecryptions, microseconds(500));
  for (int i = 0; i < 1000; ++i) push(kSignatures, microseconds(50));
  std::map<FlowId, Duration> time;
  for (int i = 0; i < 550; ++i) {
    const QueueEntry* entry = serve();
    time[entry->flow] += entry->cost;
  }
  EXPECT_NEAR(static_cast<double>(time[kSignatures].count()), static_cast<double>(time[kDecryptions].count()),
              static_cast<double>(Duration(microseconds(1000)).count()));
}

TEST_F(Queue, ASignatureThatComesLateIsNotBehindTheFlood) {
  for (int i = 0; i < 1000; ++i) push(kDecryptions, microseconds(500));
  for (int i = 0; i < 10; ++i) serve();
  QueueEntry& late = push(kSignatures, microseconds(50));
  QueueEntry* first = serve();
  EXPECT_TRUE(first == &late || serve() == &late);
}

TEST_F(Queue, AFlowThatWasAwaySavesUpNothing) {
  for (int i = 0; i < 100; ++i) push(kDecryptions, microseconds(500));
  for (int i = 0; i < 50; ++i) serve();
  // Signatures were away for 50 decryptions; now they come in a flood of their own.
  for (int i = 0; i < 1000; ++i) push(kSignatures, microseconds(500));
  int signatures = 0;
  for (int i = 0; i < 20; ++i) signatures += serve()->flow == kSignatures ? 1 : 0;
  EXPECT_LE(signatures, 11);
}

TEST_F(Queue, AFlowOfOneAtATimePaysForWhatItWasGivenBefore) {
  int signatures = 0;
  push(kSignatures, microseconds(100));
  for (int i = 0; i < 100; ++i) push(kDecryptions, microseconds(100));
  for (int i = 0; i < 40; ++i) {
    const QueueEntry* entry = serve();
    if (entry->flow != kSignatures) continue;
    ++signatures;
    push(kSignatures, microseconds(100)); // it comes back at once
  }
  EXPECT_NEAR(signatures, 20, 1);
}

TEST_F(Queue, OnlyThoseWhoCanUseTheSlotAreServed) {
  push(kSignatures, microseconds(1), slot_bit(1));
  QueueEntry& second = push(kSignatures, microseconds(1), slot_bit(0) | slot_bit(1));
  EXPECT_EQ(serve(0), &second);
  EXPECT_EQ(serve(0), nullptr);
  EXPECT_NE(serve(1), nullptr);
}

TEST_F(Queue, WhoGivesUpLeavesTheOthersInOrder) {
  QueueEntry& first = push(kSignatures, microseconds(1));
  QueueEntry& second = push(kSignatures, microseconds(1));
  QueueEntry& third = push(kSignatures, microseconds(1));
  EXPECT_TRUE(FairQueue::contains(second));
  queue_.take_off(second);
  EXPECT_FALSE(FairQueue::contains(second));
  EXPECT_EQ(serve(), &first);
  EXPECT_EQ(serve(), &third);
}

TEST_F(Queue, WhatWasWithdrawnIsNotCountedAgainstItsFlow) {
  std::vector<QueueEntry*> given_up;
  for (int i = 0; i < 1000; ++i) given_up.push_back(&push(kSignatures, milliseconds(1)));
  for (QueueEntry* entry : given_up) queue_.take_off(*entry);
  for (int i = 0; i < 100; ++i) push(kDecryptions, milliseconds(1));
  QueueEntry& wanted = push(kSignatures, milliseconds(1));
  EXPECT_TRUE(serve() == &wanted || serve() == &wanted);
}

TEST_F(Queue, TheOldestIsOfThoseWhoCanUseTheSlots) {
  const TimePoint start = MonotonicClock::now();
  push(kSignatures, microseconds(1), slot_bit(0), start + milliseconds(2));
  push(kDecryptions, microseconds(1), slot_bit(1), start + milliseconds(1));
  EXPECT_EQ(queue_.oldest(slot_bit(0)), start + milliseconds(2));
  EXPECT_EQ(queue_.oldest(slot_bit(0) | slot_bit(1)), start + milliseconds(1));
  EXPECT_EQ(queue_.oldest(slot_bit(2)), std::nullopt);
}

TEST_F(Queue, MoreFlowsThanLanesAreServedAllTheSame) {
  for (FlowId flow = 0; flow < 500; ++flow) push(flow, microseconds(10));
  for (int i = 0; i < 500; ++i) ASSERT_NE(serve(), nullptr);
  EXPECT_EQ(serve(), nullptr);
}

TEST_F(Queue, KnowsWhatWaitsInAFlow) {
  push(kSignatures, microseconds(10));
  push(kSignatures, microseconds(20));
  push(kDecryptions, microseconds(500));
  EXPECT_EQ(queue_.waiting_cost(kSignatures), microseconds(30));
  serve();
  serve();
  EXPECT_LE(queue_.waiting_cost(kSignatures), microseconds(20));
  EXPECT_EQ(queue_.waiting_cost(99), Duration{});
}

} // namespace
} // namespace hsmux
