// What the planner promises to callers: percentiles of latency below limits and a share of errors. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "slots/result.h"
#include "tools/capacity/histogram.h"

namespace hsmux::capacity {

struct PercentileLimit {
  double percent = 99;
  std::int64_t ns = 10'000'000;
};

struct Goal {
  std::vector<PercentileLimit> limits{{}}; // p99 <= 10 ms
  double error_share_max = 0;

  // "p99<=10ms,p99.9<=50ms,errors<=0.1%". Errors: kInvalidArgument that shows the form.
  static Result<Goal> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
};

struct GoalInput {
  const Histogram* latency = nullptr;
  std::uint64_t intended = 0, completed = 0, errors = 0, not_started = 0;
  bool overloaded = false; // it was ended because too much was waiting
};
// Empty: kept. Else why not, as part of a sentence: "p99 is 12.3 ms". Percentiles count errors and what was not started
// as slower than any limit.
std::string broken_goal(const Goal& goal, const GoalInput& input);

std::string time_text(double ns); // "123 us", "1.23 ms", "2.5 s"
// "250us", "10ms", "2s" in nanoseconds. Errors: kInvalidArgument.
Result<std::int64_t> parse_time(std::string_view text);

} // namespace hsmux::capacity
