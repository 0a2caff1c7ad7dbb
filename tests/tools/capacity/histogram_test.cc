#include "tools/capacity/histogram.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/random_seed.h"

namespace hsmux::capacity {
namespace {

using testing::StartsWith;

TEST(CapacityHistogram, KeepsThreeDigitsOfEveryValue) {
  for (const std::int64_t value :
       {0L, 1L, 2047L, 2048L, 123'456L, 98'765'432L, 1'000'000'000L, Histogram::kHighestNs}) {
    Histogram histogram;
    histogram.record(value);
    const auto exact = static_cast<double>(value);
    EXPECT_GE(histogram.percentile(50), value);
    EXPECT_LE(static_cast<double>(histogram.percentile(50)), exact * 1.001 + 1) << value;
    EXPECT_LE(histogram.min(), value);
    EXPECT_GE(static_cast<double>(histogram.min()), exact * 0.999 - 1) << value;
  }
}

TEST(CapacityHistogram, CountsWhatIsOutOfRangeAtItsEnds) {
  Histogram histogram;
  histogram.record(-5);
  histogram.record(Histogram::kHighestNs * 10);
  EXPECT_EQ(histogram.count(), 2);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_GE(histogram.max(), Histogram::kHighestNs);
}

TEST(CapacityHistogram, TakesTheRankOfAPercentileUpwards) {
  Histogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.record(i);
  EXPECT_EQ(histogram.percentile(50), 500);
  EXPECT_EQ(histogram.percentile(99), 990);
  EXPECT_EQ(histogram.percentile(99.9), 999);
  EXPECT_EQ(histogram.percentile(100), 1000);
  EXPECT_EQ(histogram.count_above(990), 10);
  EXPECT_NEAR(histogram.mean(), 500.5, 0.01);
}

TEST(CapacityHistogram, SumsOfTwoAreAsIfAllWereCountedInOne) {
  std::mt19937_64 random(test_seed());
  std::lognormal_distribution<double> latency(14, 1);
  Histogram one, other, both;
  for (int i = 0; i < 2000; ++i) {
    const auto value = static_cast<std::int64_t>(latency(random));
    (i % 3 == 0 ? one : other).record(value);
    both.record(value);
  }
  one.add(other);
  EXPECT_TRUE(one == both);
}

TEST(CapacityHistogram, ComesBackFromItsEncodingUnchanged) {
  std::mt19937_64 random(test_seed());
  std::uniform_int_distribution<int> bits(0, 41);
  Histogram histogram;
  for (int i = 0; i < 3000; ++i) histogram.record((1LL << bits(random)) + i, static_cast<std::uint64_t>(i) * i + 1);
  const std::string text = histogram.encode();
  EXPECT_THAT(text, StartsWith("HISTFAAA"));
  const Result<Histogram> back = Histogram::decode(text);
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_TRUE(*back == histogram);
  EXPECT_EQ(back->percentile(99), histogram.percentile(99));
  const Result<Histogram> empty = Histogram::decode(Histogram().encode());
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->count(), 0);
}

TEST(CapacityHistogram, RefusesWhatIsNoneOrDamaged) {
  Histogram histogram;
  histogram.record(1'000'000);
  const std::string text = histogram.encode();
  EXPECT_FALSE(Histogram::decode(""));
  EXPECT_FALSE(Histogram::decode("not base64 at all!!!"));
  EXPECT_FALSE(Histogram::decode(text.substr(0, text.size() / 8 * 4)));
  for (std::size_t i = 0; i < text.size(); ++i) { // never more than an error; most flips are noticed
    std::string damaged = text;
    damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
    (void)Histogram::decode(damaged);
  }
}

} // namespace
} // namespace hsmux::capacity
