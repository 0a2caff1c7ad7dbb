// How long an HSM works on one call: a distribution of service times, drawn by number so that a seed gives the same
// times however the threads run. Plain values and pure functions; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace hsmux::sim {

using Nanoseconds = std::chrono::nanoseconds;

// SplitMix64 (Steele, Lea, Flood 2014) over all its arguments: the same arguments give the same number, and numbers of
// neighbouring arguments have nothing in common.
std::uint64_t hash(std::uint64_t seed, std::uint64_t stream, std::uint64_t number);
// The same in [0, 1).
double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t number);

struct Distribution {
  enum class Kind : std::uint8_t {
    kConstant,  // time
    kJitter,    // uniform within time ± share × time
    kBimodal,   // time, or `slow` for this share of the calls
    kHeavyTail, // log-normal with median `time` and `sigma`, at most `slow`
    kDrifting,  // from time to `slow`, linearly over `over`, then `slow`
  };
  Kind kind = Kind::kConstant;
  Nanoseconds time{0};
  Nanoseconds slow{0};
  double share = 0;
  double sigma = 0;
  Nanoseconds over{0};

  // The time of call `number`, which starts so long after the beginning. Never negative.
  [[nodiscard]] Nanoseconds draw(std::uint64_t seed, std::uint64_t stream, std::uint64_t number,
                                 Nanoseconds since_start) const;
  // What the average of many calls tends to; of a drifting one at its start.
  [[nodiscard]] Nanoseconds mean() const;
};

std::string_view kind_name(Distribution::Kind kind); // "constant", "jitter", "bimodal", "heavy-tail", "drifting"

} // namespace hsmux::sim
