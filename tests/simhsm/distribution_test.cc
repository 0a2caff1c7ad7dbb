#include "tests/simhsm/distribution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace hsmux::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
using Kind = Distribution::Kind;

std::vector<double> microseconds_of(const Distribution& distribution, std::uint64_t seed = 1,
                                    std::size_t count = 200'000) {
  std::vector<double> all;
  for (std::uint64_t i = 0; i < count; ++i) {
    all.push_back(static_cast<double>(distribution.draw(seed, 1, i, seconds(0)).count()) / 1000);
  }
  return all;
}
double mean(const std::vector<double>& all) {
  double sum = 0;
  for (const double each : all) sum += each;
  return sum / static_cast<double>(all.size());
}
void expect_mean(const Distribution& distribution) {
  const double expected = static_cast<double>(distribution.mean().count()) / 1000;
  EXPECT_NEAR(mean(microseconds_of(distribution)), expected, 0.01 * expected);
}

TEST(Distribution, TheSameSeedDrawsTheSameAndAnotherDoesNot) {
  const Distribution distribution{.kind = Kind::kJitter, .time = microseconds(1000), .share = 0.5};
  EXPECT_EQ(microseconds_of(distribution, 7, 1000), microseconds_of(distribution, 7, 1000));
  EXPECT_NE(microseconds_of(distribution, 7, 1000), microseconds_of(distribution, 8, 1000));
}

TEST(Distribution, ConstantIsConstant) {
  const Distribution distribution{.kind = Kind::kConstant, .time = microseconds(43)};
  EXPECT_EQ(distribution.draw(1, 2, 3, seconds(4)), microseconds(43));
}

TEST(Distribution, JitterStaysWithinItsShare) {
  const Distribution distribution{.kind = Kind::kJitter, .time = microseconds(1000), .share = 0.2};
  const auto [least, most] = std::ranges::minmax(microseconds_of(distribution));
  EXPECT_GE(least, 800);
  EXPECT_LT(least, 810);
  EXPECT_LE(most, 1200);
  EXPECT_GT(most, 1190);
  expect_mean(distribution);
}

TEST(Distribution, BimodalHasItsShareOfSlowCalls) {
  const Distribution distribution{
      .kind = Kind::kBimodal, .time = microseconds(100), .slow = microseconds(900), .share = 0.1};
  const std::vector<double> all = microseconds_of(distribution);
  EXPECT_NEAR(static_cast<double>(std::ranges::count(all, 900.)), 20'000, 600);
  EXPECT_EQ(std::ranges::count(all, 100.) + std::ranges::count(all, 900.), 200'000);
  expect_mean(distribution);
}

TEST(Distribution, HeavyTailHasItsMedianAndItsEnd) {
  const Distribution distribution{
      .kind = Kind::kHeavyTail, .time = microseconds(100), .slow = microseconds(5000), .sigma = 1.2};
  std::vector<double> all = microseconds_of(distribution);
  std::ranges::sort(all);
  EXPECT_NEAR(all.at(all.size() / 2), 100, 1.5);
  // The 99th percentile of a log-normal number: median × exp(2.326 σ).
  EXPECT_NEAR(all.at(all.size() * 99 / 100), 1631, 80);
  EXPECT_LE(all.back(), 5000);
  expect_mean(distribution);
}

TEST(Distribution, TheWildestSettingsStayWithinTheirBounds) {
  const Distribution distribution{
      .kind = Kind::kHeavyTail, .time = std::chrono::hours(1000), .slow = std::chrono::hours(1000), .sigma = 5};
  for (const double each : microseconds_of(distribution, 1, 10'000)) {
    EXPECT_GE(each, 0);
    EXPECT_LE(each, 3.6e12);
  }
}

TEST(Distribution, DriftingGoesFromOneTimeToTheOtherAndStaysThere) {
  const Distribution distribution{
      .kind = Kind::kDrifting, .time = microseconds(100), .slow = microseconds(300), .over = seconds(10)};
  EXPECT_EQ(distribution.draw(1, 1, 1, seconds(0)), microseconds(100));
  EXPECT_EQ(distribution.draw(1, 1, 1, seconds(5)), microseconds(200));
  EXPECT_EQ(distribution.draw(1, 1, 1, seconds(10)), microseconds(300));
  EXPECT_EQ(distribution.draw(1, 1, 1, seconds(99)), microseconds(300));
}

} // namespace
} // namespace hsmux::sim
