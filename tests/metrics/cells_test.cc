#include "metrics/cells.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace hsmux::metrics {
namespace {

constexpr std::int64_t kMicrosecond = 1000, kSecond = 1'000'000'000;

std::uint64_t count_of(const Times& times) {
  std::uint64_t count = 0;
  for (const std::uint64_t bucket : times.buckets) count += bucket;
  return count;
}

TEST(Cells, CountAnAttemptWhereItBelongsAndNowhereElse) {
  Cells cells(3);
  cells.add_attempt({.slot = 1, .kind = 2, .outcome = Outcome::kDevice, .took_ns = 70 * kMicrosecond, .waited_ns = 0});
  const Cells::SlotSums sums = cells.slot_sums(1);
  EXPECT_EQ(sums.outcomes[2][static_cast<std::size_t>(Outcome::kDevice)], 1U);
  EXPECT_EQ(sums.outcomes[2][0], 0U);
  EXPECT_EQ(sums.took[2].buckets[1], 1U); // above 50 us, up to 100 us
  EXPECT_EQ(sums.took[2].sum_ns, 70'000U);
  EXPECT_EQ(sums.waited.buckets[0], 1U);
  EXPECT_EQ(sums.last_success, 0) << "it failed";
  EXPECT_EQ(count_of(sums.took[0]) + count_of(sums.took[1]), 0U);
  EXPECT_EQ(count_of(cells.slot_sums(0).took[2]), 0U);
  EXPECT_EQ(count_of(cells.request_sums().took[2]), 0U);
}

TEST(Cells, PutATimeIntoTheBucketWhoseBoundItDoesNotExceed) {
  Cells cells(1);
  for (const std::int64_t bound : kBucketBounds) {
    cells.add_request(0, Outcome::kOk, bound);
    cells.add_request(0, Outcome::kOk, bound + 1);
  }
  cells.add_request(0, Outcome::kOk, -1); // a clock that went back
  const Times took = cells.request_sums().took[0];
  EXPECT_EQ(took.buckets.front(), 2U);
  for (std::size_t i = 1; i + 1 < kBuckets; ++i) EXPECT_EQ(took.buckets[i], 2U) << i;
  EXPECT_EQ(took.buckets.back(), 1U);
}

TEST(Cells, LoseNothingOfManyThreadsThatComeAndGo) {
  constexpr int kRounds = 20, kThreads = 8, kEach = 500;
  Cells cells(2);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&cells, i] {
        for (int n = 0; n < kEach; ++n) {
          cells.add_attempt(
              {.slot = static_cast<std::size_t>(i) % 2, .kind = 1, .outcome = Outcome::kOk, .took_ns = 1});
          cells.add_request(1, Outcome::kOk, kSecond);
        }
      });
    }
    (void)cells.slot_sums(0); // while they write
  }
  EXPECT_EQ(cells.slot_sums(0).outcomes[1][0] + cells.slot_sums(1).outcomes[1][0], 1U * kRounds * kThreads * kEach);
  EXPECT_EQ(cells.request_sums().took[1].sum_ns, std::uint64_t{kRounds} * kThreads * kEach * kSecond);
  EXPECT_GT(cells.slot_sums(0).last_success, 0);
  EXPECT_LE(cells.blocks(), std::size_t{kThreads}) << "what a thread leaves the next one takes";
}

TEST(Cells, OfTwoEnginesInOneThreadStayApart) {
  Cells one(1);
  {
    Cells other(1);
    other.add_request(0, Outcome::kOk, 1);
    one.add_request(0, Outcome::kShed, 1);
    EXPECT_EQ(other.request_sums().outcomes[0][0], 1U);
  }
  Cells later(1); // may lie where `other` did
  later.add_request(0, Outcome::kTimeout, 1);
  EXPECT_EQ(one.request_sums().outcomes[0], (Outcomes{0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(later.request_sums().outcomes[0], (Outcomes{0, 0, 0, 0, 0, 1, 0}));
}

TEST(Cells, IgnoreSlotsAndKindsBeyondTheirBounds) {
  Cells cells(1);
  cells.add_attempt({.slot = kSlotsMax, .kind = 0});
  cells.add_attempt({.slot = 0, .kind = 1});
  cells.add_request(1, Outcome::kOk, 1);
  EXPECT_EQ(count_of(cells.slot_sums(0).took[0]), 0U);
  EXPECT_EQ(count_of(cells.slot_sums(kSlotsMax).took[0]), 0U);
}

} // namespace
} // namespace hsmux::metrics
