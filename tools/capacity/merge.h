// Results of several load hosts that ran the same load at one time against the same HSMs, as one: rates and counts add,
// and percentiles come from the sum of the histograms, so that nothing is averaged. Pure.
#pragma once

#include <vector>

#include "tools/capacity/result.h"

namespace hsmux::capacity {

// Errors: kInvalidArgument (fewer than two; a search, whose steps depend on the host; other work, times or
// repetitions).
Result<Json> merge_results(const std::vector<Json>& documents);

inline constexpr double kStartSpreadMaxSeconds = 1.0; // hosts that started further apart are warned of

} // namespace hsmux::capacity
