// The built-in comparisons of `hsmux bench`, as data, and the simulated HSMs that some of them need.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "slots/result.h"
#include "tools/bench_work.h"

namespace hsmux {

enum class BenchModule : std::uint8_t { kSofthsm, kSimhsm };

struct BenchRow {
  std::string_view name = {};
  BenchModule module = BenchModule::kSofthsm;
  std::string_view hsm = {}; // simhsm: a name of hsm_settings(), else empty
  std::string_view algorithm = {};
  std::uint32_t slots = 1, sessions = 64, callers = 1; // sessions of each slot
  std::string_view locks = {},
                   copies = {}; // of the engine's side; the raw side has the system's locks and the key itself
  BenchMode mode = BenchMode::kCalls;
  double rate = 0;               // of Poisson arrivals
  std::uint32_t raw_callers = 0; // of the raw side where it is not the same
  bool stall = false;            // one slot stalls for a while: the rate after it against that before
  // What is to be reached; 0 = nothing said.
  double ratio_min = 0; // of the raw rate
  double rate_min = 0;  // operations a second
  double p99_max_us = 0;
  double p999_of_mean_max = 0; // 99.9th percentile ÷ mean
  double cpu_ratio_max = 0;    // CPU time of an operation ÷ raw's
  double own_p50_max_us = 0;   // median from the submission, less raw's
};

std::span<const BenchRow> bench_rows();

// Settings of the simulator for the HSMs of a row, with tokens sim-0 to sim-7 (docs/simhsm.md). `control`: path of its
// control socket; empty = none.
std::string hsm_settings(std::string_view hsm, const std::string& control);
// What makes the last slot stall, and what ends that.
std::string stall_settings(bool stall);

} // namespace hsmux
