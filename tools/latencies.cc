#include "tools/latencies.h"

#include <algorithm>
#include <cmath>

namespace hsmux {

Latencies::Latencies(std::size_t kept_max, std::uint64_t seed)
    : kept_max_(kept_max), random_(static_cast<std::minstd_rand::result_type>(seed)) {
  kept_.reserve(kept_max);
}

void Latencies::add(std::chrono::nanoseconds latency) {
  ++count_;
  if (kept_.size() < kept_max_) {
    kept_.push_back(latency);
    return;
  }
  const std::uint64_t place = std::uniform_int_distribution<std::uint64_t>(0, count_ - 1)(random_);
  if (place < kept_max_) kept_[place] = latency;
}

std::chrono::nanoseconds percentile(std::vector<std::chrono::nanoseconds>& values, double share) {
  if (values.empty()) return {};
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const auto index = static_cast<std::ptrdiff_t>(std::clamp(rank, 1.0, static_cast<double>(values.size()))) - 1;
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[static_cast<std::size_t>(index)];
}

} // namespace hsmux
