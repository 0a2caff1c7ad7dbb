// What is asked of the HSM: operations of algorithms with weights, sizes and numbers of keys. Pure.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "mechanisms/spec.h"
#include "slots/result.h"

namespace hsmux::capacity {

struct MixEntry {
  Algorithm algorithm{};
  Operation operation{};
  double weight = 1;
  std::uint32_t bytes = 0;                // of message or plaintext; 0: what the algorithm takes by default
  std::uint32_t keys = 1;                 // made for the test, used in turn
  std::string key;                        // an existing one in their place
  [[nodiscard]] std::string name() const; // "ecdsa-p256-sha256 sign"
};

struct Mix {
  std::string name; // of a preset, else "own"
  std::vector<MixEntry> entries;

  // "sequencer", "participant" or "all". Errors: kInvalidArgument with those names.
  static Result<Mix> preset(std::string_view name);
  // "ecdsa-p256-sha256:sign,weight=3,bytes=34,keys=4" or ",key=orders"; the operation may be left out where the
  // algorithm has one. Errors: kInvalidArgument that says what is allowed.
  static Result<MixEntry> parse_entry(std::string_view text);
};

inline constexpr std::uint32_t kMixEntriesMax = 32, kMixKeysMax = 1000;

// Draws entries by their weights. One thread.
class MixPicker {
public:
  MixPicker(const Mix& mix, std::uint64_t seed);
  std::size_t next();

private:
  std::mt19937_64 random_;
  std::discrete_distribution<std::size_t> choose_;
  bool single_;
};

} // namespace hsmux::capacity
