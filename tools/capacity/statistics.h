// What repeated measurements say: a mean with its interval of confidence, whether a series is stable, and whether two
// sets of measurements differ. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hsmux::capacity {

struct Estimate {
  double mean = 0, low = 0, high = 0; // low to high: 95 %
  std::size_t n = 0;
  [[nodiscard]] double half_width_share() const { return mean > 0 ? (high - low) / 2 / mean : 0; }
};

double median_of(std::span<const double> values);
double mean_of(std::span<const double> values);
double deviation_of(std::span<const double> values); // with n - 1
// The mean of independent measurements, by Student's t. One measurement has no interval: low = high = mean.
Estimate estimate_of(std::span<const double> values);
// Student's t for 95 %, two-sided; `freedom` is at least 1.
double student_t95(double freedom);

enum class Stability : std::uint8_t {
  kStable,
  kFalling, // the series goes down (Mann-Kendall, 99 %), and by more than kTrendShareMin from end to end
  kRising,
  kNoisy,  // its spread is more than kSpreadShareMax
  kTooFew, // under kValuesMin values say nothing
};
std::string_view stability_name(Stability stability); // "stable", "falling", ...

struct StabilityVerdict {
  Stability stability = Stability::kTooFew;
  double change_share = 0; // from end to end by the median slope (Theil-Sen), of the median
  double spread_share = 0; // middle half of what is left without that slope, of the median
};
inline constexpr std::size_t kStabilityValuesMin = 6;
inline constexpr double kTrendShareMin = 0.03, kSpreadShareMax = 0.10;
StabilityVerdict stability_of(std::span<const double> series);

struct Comparison {
  double before = 0, after = 0; // means
  double change_share = 0;      // (after - before) / before
  double low = 0, high = 0;     // of change_share, 95 % (Welch); both 0 where a side has one value
  bool significant = false;     // the interval leaves out 0, and the change is more than `share_min`
  bool known = false;           // both sides have two values at least
};
// `share_min`: changes below it are of no interest to anybody.
Comparison compare_means(std::span<const double> before, std::span<const double> after, double share_min = 0.01);

} // namespace hsmux::capacity
