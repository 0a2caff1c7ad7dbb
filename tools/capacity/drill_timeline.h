// What a drill did to callers, read from its intervals: before, while the fault lasted, and how long until all was as
// before. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tools/capacity/load_interval.h"

namespace hsmux::capacity {

struct DrillTimes { // seconds since the first interval's beginning
  double fault_s = 0, end_s = 0;
};

struct DrillOutcome {
  double rate_before = 0, rate_during = 0, rate_after = 0; // operations a second
  std::int64_t p99_before_ns = 0;                          // medians of the intervals'
  std::int64_t p99_during_ns = 0, p99_worst_ns = 0;        // worst: of a single interval, from the fault on
  std::uint64_t errors = 0;                                // from the fault on
  // Since the fault, until latency and errors were as before, even if the fault lasted; nothing: never, until it ended.
  std::optional<double> absorbed_s;
  // Since the fault's end, until the slot did its part again; and until latency and errors were as before, too.
  std::optional<double> back_s, recovered_s;
};

// As before: no errors, and p99 at most half more than before (and kSlackNs), in kQuietShare of kQuietSeconds, the
// first kWellSeconds of them in any case. Its part: the slot at `slot` does at least kShareBack of its share before.
inline constexpr double kQuietSeconds = 1.0, kQuietShare = 0.8, kWellSeconds = 0.3, kShareBack = 0.5;
inline constexpr std::int64_t kSlackNs = 1'000'000;
DrillOutcome drill_outcome(std::span<const Interval> intervals, const DrillTimes& times, std::size_t slot);

} // namespace hsmux::capacity
