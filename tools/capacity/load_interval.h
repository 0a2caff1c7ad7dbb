// A short part of a measured time, and what happened in it. A value.
#pragma once

#include <cstdint>
#include <vector>

namespace hsmux::capacity {

struct Interval {
  double at_s = 0, seconds = 0;
  std::uint64_t completed = 0, errors = 0;         // that ended then
  std::int64_t p50_ns = 0, p99_ns = 0, max_ns = 0; // of those that were meant to start then (closed: that started)
  std::vector<std::uint64_t> slots;                // operations of each
};

} // namespace hsmux::capacity
