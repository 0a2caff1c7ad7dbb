#include "tools/latencies.h"

#include <gtest/gtest.h>

namespace hsmux {
namespace {

using std::chrono::nanoseconds;

std::vector<nanoseconds> values(int count) { // count, …, 2, 1
  std::vector<nanoseconds> result;
  for (int i = count; i > 0; --i) result.emplace_back(i);
  return result;
}

TEST(Percentile, IsTheSmallestValueThatCoversTheShare) {
  std::vector<nanoseconds> hundred = values(100);
  EXPECT_EQ(percentile(hundred, 0.50), nanoseconds(50));
  EXPECT_EQ(percentile(hundred, 0.99), nanoseconds(99));
  EXPECT_EQ(percentile(hundred, 0.999), nanoseconds(100));
  EXPECT_EQ(percentile(hundred, 1.0), nanoseconds(100));
  EXPECT_EQ(percentile(hundred, 1e-9), nanoseconds(1));
}

TEST(Percentile, OfOneValueIsThatValueAndOfNoneIsZero) {
  std::vector<nanoseconds> one{nanoseconds(7)}, none;
  EXPECT_EQ(percentile(one, 0.5), nanoseconds(7));
  EXPECT_EQ(percentile(none, 0.5), nanoseconds(0));
}

TEST(Latencies, KeepEveryValueUpToTheBound) {
  Latencies latencies(10);
  for (const nanoseconds value : values(10)) latencies.add(value);
  EXPECT_TRUE(latencies.exact());
  EXPECT_EQ(latencies.kept(), values(10));
}

TEST(Latencies, BeyondTheBoundAreAFairSample) {
  constexpr int kSeen = 100'000;
  Latencies latencies(1000);
  for (const nanoseconds value : values(kSeen)) latencies.add(value);
  EXPECT_FALSE(latencies.exact());
  EXPECT_EQ(latencies.count(), kSeen);
  ASSERT_EQ(latencies.kept().size(), 1000U);
  // Early and late values alike: the median of a fair sample is within 10 % here by more than five deviations.
  std::vector<nanoseconds> kept = latencies.kept();
  EXPECT_NEAR(static_cast<double>(percentile(kept, 0.5).count()), kSeen / 2.0, kSeen / 10.0);
}

} // namespace
} // namespace hsmux
