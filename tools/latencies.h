// Latencies of one thread: a bounded sample, exact as long as it does not overflow. One thread at a time; merged at the
// end.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

namespace hsmux {

class Latencies {
public:
  // At most `kept_max` values are held; beyond that each seen value has the same chance to be among them (Vitter's
  // algorithm R).
  explicit Latencies(std::size_t kept_max, std::uint64_t seed = 1);

  void add(std::chrono::nanoseconds latency);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] bool exact() const { return count_ <= kept_max_; }
  [[nodiscard]] const std::vector<std::chrono::nanoseconds>& kept() const { return kept_; }

private:
  std::size_t kept_max_;
  std::uint64_t count_ = 0;
  std::vector<std::chrono::nanoseconds> kept_;
  std::minstd_rand random_;
};

// The nearest-rank percentile (share in (0, 1]); zero when there are no values. Reorders `values`.
std::chrono::nanoseconds percentile(std::vector<std::chrono::nanoseconds>& values, double share);

} // namespace hsmux
