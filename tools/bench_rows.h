// The built-in comparisons of `hsmux bench`, as data, and the simulated HSMs that some of them need.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "slots/result.h"

namespace hsmux {

enum class BenchModule : std::uint8_t { kSofthsm, kSimhsm };

struct BenchRow {
  std::string_view name;
  BenchModule module;
  std::string_view hsm; // simhsm: a name of hsm_settings(), else empty
  std::string_view algorithm;
  std::uint32_t slots, sessions, callers; // sessions of each slot
  std::string_view locks, copies; // of the engine's side; the raw side has the system's locks and the key itself
  // What is to be reached; 0 = nothing said.
  double ratio_min = 0; // of the raw rate
  double rate_min = 0;  // operations a second
  double p99_max_us = 0;
  double p999_of_mean_max = 0; // 99.9th percentile ÷ mean
};

std::span<const BenchRow> bench_rows();

// Settings of the simulator for the HSMs of a row, with tokens sim-0 to sim-7 (docs/simhsm.md).
std::string hsm_settings(std::string_view hsm);

} // namespace hsmux
