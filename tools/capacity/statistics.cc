#include "tools/capacity/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace hsmux::capacity {
namespace {

// NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2: 0.975, 1 to 30 degrees of freedom.
constexpr std::array kStudentT95{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                 2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                 2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
constexpr double kNormal95 = 1.960, kNormal99 = 2.576;

// Mann-Kendall's Z, without ties' correction, which only makes it more careful.
double mann_kendall_z(std::span<const double> series) {
  double score = 0;
  for (std::size_t i = 0; i < series.size(); ++i) {
    for (std::size_t j = i + 1; j < series.size(); ++j) {
      if (series[j] != series[i]) score += series[j] > series[i] ? 1 : -1;
    }
  }
  const auto n = static_cast<double>(series.size());
  const double deviation = std::sqrt(n * (n - 1) * (2 * n + 5) / 18);
  if (score == 0) return 0;
  return (score > 0 ? score - 1 : score + 1) / deviation;
}

double theil_sen_slope(std::span<const double> series) {
  std::vector<double> slopes;
  for (std::size_t i = 0; i < series.size(); ++i) {
    for (std::size_t j = i + 1; j < series.size(); ++j) {
      slopes.push_back((series[j] - series[i]) / static_cast<double>(j - i));
    }
  }
  return median_of(slopes);
}

// At most so many values: the tests above take their square.
std::vector<double> thinned(std::span<const double> series) {
  constexpr std::size_t kValuesMax = 200;
  const std::size_t each = (series.size() + kValuesMax - 1) / kValuesMax;
  std::vector<double> result;
  for (std::size_t i = 0; i + each <= series.size(); i += each) result.push_back(mean_of(series.subspan(i, each)));
  return result;
}

} // namespace

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double median_of(std::span<const double> values) {
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

double deviation_of(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const double mean = mean_of(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double student_t95(double freedom) {
  const auto whole = static_cast<std::size_t>(std::max(freedom, 1.0)); // rounded down: the wider interval
  return whole <= kStudentT95.size() ? kStudentT95.at(whole - 1) : kNormal95 + 2.5 / freedom;
}

Estimate estimate_of(std::span<const double> values) {
  Estimate estimate{.mean = mean_of(values), .n = values.size()};
  double half = 0;
  if (values.size() > 1) {
    const auto n = static_cast<double>(values.size());
    half = student_t95(n - 1) * deviation_of(values) / std::sqrt(n);
  }
  estimate.low = estimate.mean - half;
  estimate.high = estimate.mean + half;
  return estimate;
}

std::string_view stability_name(Stability stability) {
  switch (stability) {
  case Stability::kStable: return "stable";
  case Stability::kFalling: return "falling";
  case Stability::kRising: return "rising";
  case Stability::kNoisy: return "noisy";
  case Stability::kTooFew: return "too-few";
  }
  return "";
}

StabilityVerdict stability_of(std::span<const double> all) {
  if (all.size() < kStabilityValuesMin) return {};
  const std::vector<double> series = thinned(all);
  const double middle = median_of(series);
  if (middle <= 0) return {.stability = Stability::kNoisy, .change_share = 0, .spread_share = 1};
  const double slope = theil_sen_slope(series);
  const auto last = static_cast<double>(series.size() - 1);
  std::vector<double> rest;
  for (std::size_t i = 0; i < series.size(); ++i) rest.push_back(series[i] - slope * static_cast<double>(i));
  std::ranges::sort(rest);
  StabilityVerdict verdict;
  verdict.change_share = slope * last / middle;
  verdict.spread_share = (rest[rest.size() * 3 / 4] - rest[rest.size() / 4]) / middle;
  const double z = mann_kendall_z(series);
  if (std::abs(z) > kNormal99 && std::abs(verdict.change_share) > kTrendShareMin) {
    verdict.stability = z < 0 ? Stability::kFalling : Stability::kRising;
  } else {
    verdict.stability = verdict.spread_share > kSpreadShareMax ? Stability::kNoisy : Stability::kStable;
  }
  return verdict;
}

Comparison compare_means(std::span<const double> before, std::span<const double> after, double share_min) {
  Comparison comparison{.before = mean_of(before), .after = mean_of(after)};
  if (comparison.before == 0) return comparison;
  comparison.change_share = comparison.after / comparison.before - 1;
  if (before.size() < 2 || after.size() < 2) return comparison;
  comparison.known = true;
  const auto n = static_cast<double>(before.size()), m = static_cast<double>(after.size());
  const double a = std::pow(deviation_of(before), 2) / n, b = std::pow(deviation_of(after), 2) / m;
  double half = 0;
  if (a + b > 0) {
    const double freedom = (a + b) * (a + b) / (a * a / (n - 1) + b * b / (m - 1)); // Welch-Satterthwaite
    half = student_t95(freedom) * std::sqrt(a + b) / comparison.before;
  }
  comparison.low = comparison.change_share - half;
  comparison.high = comparison.change_share + half;
  comparison.significant = (comparison.low > 0 || comparison.high < 0) && std::abs(comparison.change_share) > share_min;
  return comparison;
}

} // namespace hsmux::capacity
