// When requests are meant to start: at a fixed distance, or at random as those of many independent clients (a Poisson
// process). Pure; the same seed gives the same times. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace hsmux::capacity {

enum class ArrivalKind : std::uint8_t { kPoisson, kConstant };

class Arrivals {
public:
  Arrivals(ArrivalKind kind, double per_second, std::uint64_t seed)
      : kind_(kind), per_second_(per_second), random_(seed), gap_(per_second) {}

  // The next one, since the beginning. Constant times are products, not sums: no error adds up.
  std::chrono::nanoseconds next() {
    ++number_;
    if (kind_ == ArrivalKind::kConstant) {
      at_s_ = static_cast<double>(number_ - 1) / per_second_;
    } else {
      at_s_ += gap_(random_);
    }
    return std::chrono::nanoseconds(static_cast<std::int64_t>(at_s_ * 1e9));
  }

private:
  ArrivalKind kind_;
  double per_second_;
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_;
  std::uint64_t number_ = 0;
  double at_s_ = 0;
};

} // namespace hsmux::capacity
