#include "tests/simhsm/distribution.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hsmux::sim {
namespace {

std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

// Bounded, since the tail of a log-normal number has no end.
Nanoseconds scaled(Nanoseconds time, double factor) {
  constexpr double kMost = 4e18;
  return Nanoseconds(std::llround(std::clamp(static_cast<double>(time.count()) * factor, 0., kMost)));
}

// Box and Muller's standard normal number, of two independent uniform ones.
double normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t number) {
  const double radius = std::sqrt(-2 * std::log(1 - uniform(seed, stream, 2 * number)));
  return radius * std::cos(2 * std::numbers::pi * uniform(seed, stream, 2 * number + 1));
}

// The mean of a log-normal number of this median that is cut at `most`: E[min(X, most)].
double cut_lognormal_mean(double median, double sigma, double most) {
  const auto below = [](double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); };
  const double z = std::log(most / median) / sigma;
  return median * std::exp(sigma * sigma / 2) * below(z - sigma) + most * (1 - below(z));
}

} // namespace

std::uint64_t hash(std::uint64_t seed, std::uint64_t stream, std::uint64_t number) {
  return mix(mix(mix(seed) ^ stream) ^ number);
}

double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t number) {
  return static_cast<double>(hash(seed, stream, number) >> 11) * 0x1.0p-53;
}

Nanoseconds Distribution::draw(std::uint64_t seed, std::uint64_t stream, std::uint64_t number,
                               Nanoseconds since_start) const {
  switch (kind) {
  case Kind::kConstant: return time;
  case Kind::kJitter: return scaled(time, 1 + share * (2 * uniform(seed, stream, number) - 1));
  case Kind::kBimodal: return uniform(seed, stream, number) < share ? slow : time;
  case Kind::kHeavyTail: return std::min(slow, scaled(time, std::exp(sigma * normal(seed, stream, number))));
  case Kind::kDrifting: {
    const double done =
        std::clamp(static_cast<double>(since_start.count()) / static_cast<double>(over.count()), 0., 1.);
    return time + Nanoseconds(std::llround(done * static_cast<double>((slow - time).count())));
  }
  }
  return time;
}

Nanoseconds Distribution::mean() const {
  const auto t = static_cast<double>(time.count()), s = static_cast<double>(slow.count());
  switch (kind) {
  case Kind::kBimodal: return Nanoseconds(std::llround(t + share * (s - t)));
  case Kind::kHeavyTail: return Nanoseconds(std::llround(cut_lognormal_mean(t, sigma, s)));
  default: return time;
  }
}

std::string_view kind_name(Distribution::Kind kind) {
  switch (kind) {
  case Distribution::Kind::kConstant: return "constant";
  case Distribution::Kind::kJitter: return "jitter";
  case Distribution::Kind::kBimodal: return "bimodal";
  case Distribution::Kind::kHeavyTail: return "heavy-tail";
  case Distribution::Kind::kDrifting: return "drifting";
  }
  return "";
}

} // namespace hsmux::sim
