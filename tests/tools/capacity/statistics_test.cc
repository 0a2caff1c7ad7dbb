#include "tools/capacity/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/random_seed.h"
#include "tools/capacity/arrivals.h"
#include "tools/capacity/pace.h"

namespace hsmux::capacity {
namespace {

std::vector<double> noisy(std::size_t n, double from, double to, double deviation) {
  std::mt19937_64 random(20'261'124); // a verdict is wrong now and then: by chance, not by the code
  std::normal_distribution<double> noise(0, deviation);
  std::vector<double> series;
  for (std::size_t i = 0; i < n; ++i) {
    series.push_back(from + (to - from) * static_cast<double>(i) / static_cast<double>(n - 1) + noise(random));
  }
  return series;
}

TEST(CapacityStatistics, GiveStudentsIntervalOfAMean) {
  const std::vector<double> values{9, 10, 11};
  const Estimate estimate = estimate_of(values);
  EXPECT_DOUBLE_EQ(estimate.mean, 10);
  EXPECT_NEAR(estimate.high - estimate.mean, 4.303 / std::sqrt(3.0), 1e-9);
  const Estimate single = estimate_of(std::vector<double>{7});
  EXPECT_EQ(single.low, 7);
  EXPECT_EQ(single.high, 7);
}

TEST(CapacityStatistics, CallASteadySeriesStable) {
  EXPECT_EQ(stability_of(noisy(40, 8000, 8000, 80)).stability, Stability::kStable);
}

TEST(CapacityStatistics, NoticeASeriesThatFallsOrRises) {
  const StabilityVerdict falling = stability_of(noisy(40, 8000, 6000, 80));
  EXPECT_EQ(falling.stability, Stability::kFalling);
  EXPECT_NEAR(falling.change_share, -2.0 / 7, 0.03);
  EXPECT_EQ(stability_of(noisy(40, 6000, 8000, 80)).stability, Stability::kRising);
}

TEST(CapacityStatistics, NoticeAStepInTheMiddle) {
  std::vector<double> series = noisy(20, 8000, 8000, 40);
  for (const double value : noisy(20, 5000, 5000, 40)) series.push_back(value);
  EXPECT_EQ(stability_of(series).stability, Stability::kFalling);
}

TEST(CapacityStatistics, CallAScatteredSeriesNoisy) {
  EXPECT_EQ(stability_of(noisy(40, 8000, 8000, 2000)).stability, Stability::kNoisy);
}

TEST(CapacityStatistics, SayNothingOfAFewValues) {
  EXPECT_EQ(stability_of(std::vector<double>{1, 2, 3}).stability, Stability::kTooFew);
}

TEST(CapacityStatistics, TellADifferenceFromNoise) {
  const Comparison same = compare_means(std::vector<double>{100, 102, 98}, std::vector<double>{101, 99, 103});
  EXPECT_TRUE(same.known);
  EXPECT_FALSE(same.significant);
  const Comparison slower = compare_means(std::vector<double>{100, 102, 98}, std::vector<double>{80, 82, 79});
  EXPECT_TRUE(slower.significant);
  EXPECT_NEAR(slower.change_share, -0.197, 0.01);
  EXPECT_LT(slower.high, 0);
}

TEST(CapacityStatistics, DoNotTakeSingleMeasurementsForAProof) {
  const Comparison comparison = compare_means(std::vector<double>{100}, std::vector<double>{50});
  EXPECT_FALSE(comparison.known);
  EXPECT_FALSE(comparison.significant);
}

TEST(CapacityArrivals, AreEquallyFarApartWhereConstant) {
  Arrivals arrivals(ArrivalKind::kConstant, 1000, 1);
  for (int i = 0; i < 100'000; ++i) ASSERT_NEAR(static_cast<double>(arrivals.next().count()), i * 1e6, 2);
}

TEST(CapacityArrivals, OfPoissonHaveTheRateAndItsVariance) {
  Arrivals arrivals(ArrivalKind::kPoisson, 1000, test_seed());
  constexpr int kSeconds = 200;
  std::vector<double> counts(kSeconds);
  for (auto at = arrivals.next(); at < std::chrono::seconds(kSeconds); at = arrivals.next()) {
    ++counts.at(static_cast<std::size_t>(at / std::chrono::seconds(1)));
  }
  EXPECT_NEAR(mean_of(counts), 1000, 15); // its deviation: 2.2
  EXPECT_NEAR(deviation_of(counts), std::sqrt(1000.0), 10);
}

TEST(CapacityPace, LetsSoManyLoginsBeginInAMinute) {
  Pace pace(30, 1000);
  const TimePoint start{};
  TimePoint at = start + std::chrono::hours(1);
  const TimePoint first = at;
  for (int i = 0; i < 30; ++i) at = pace.take(at, 1, 1);
  EXPECT_EQ(at - first, std::chrono::seconds(58));
}

TEST(CapacityPace, WaitsForTheSessionsThatWereOpened) {
  Pace pace(6000, 10);
  const TimePoint start = TimePoint{} + std::chrono::hours(1);
  EXPECT_EQ(pace.take(start, 1, 20), start);
  EXPECT_EQ(pace.take(start, 1, 20), start + std::chrono::seconds(2));
}

} // namespace
} // namespace hsmux::capacity
