// A seed for tests with random input: printed, and taken back from HSMUX_SEED to repeat a failure.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace hsmux {

inline std::uint64_t test_seed() {
  const char* given = std::getenv("HSMUX_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("HSMUX_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

} // namespace hsmux
