#include "tools/capacity/drill_timeline.h"

#include <algorithm>
#include <vector>

#include "tools/capacity/statistics.h"

namespace hsmux::capacity {
namespace {

double share_of_slot(const Interval& interval, std::size_t slot) {
  double all = 0;
  for (const std::uint64_t count : interval.slots) all += static_cast<double>(count);
  return all > 0 && slot < interval.slots.size() ? static_cast<double>(interval.slots[slot]) / all : 0;
}

struct PhaseFigures {
  double rate = 0, share = 0;
  std::int64_t p99_ns = 0;
};

PhaseFigures figures_of(std::span<const Interval> intervals, std::size_t slot) {
  double completed = 0, seconds = 0;
  std::vector<double> p99, share;
  for (const Interval& each : intervals) {
    completed += static_cast<double>(each.completed);
    seconds += each.seconds;
    p99.push_back(static_cast<double>(each.p99_ns));
    share.push_back(share_of_slot(each, slot));
  }
  return {.rate = seconds > 0 ? completed / seconds : 0,
          .share = median_of(share),
          .p99_ns = static_cast<std::int64_t>(median_of(p99))};
}

} // namespace

DrillOutcome drill_outcome(std::span<const Interval> intervals, const DrillTimes& times, std::size_t slot) {
  const auto index_at = [&](double at_s) {
    const auto first =
        std::ranges::find_if(intervals, [&](const Interval& each) { return each.at_s + each.seconds > at_s + 1e-6; });
    return static_cast<std::size_t>(first - intervals.begin());
  };
  const std::size_t fault = index_at(times.fault_s), end = std::max(index_at(times.end_s), fault);
  // An interval that an end falls into belongs to what follows.
  const PhaseFigures before = figures_of(intervals.first(fault), slot);
  const PhaseFigures during = figures_of(intervals.subspan(fault, end - fault), slot);
  const PhaseFigures after = figures_of(intervals.subspan(end), slot);
  DrillOutcome outcome{.rate_before = before.rate,
                       .rate_during = during.rate,
                       .rate_after = after.rate,
                       .p99_before_ns = before.p99_ns,
                       .p99_during_ns = during.p99_ns,
                       .absorbed_s = {},
                       .back_s = {},
                       .recovered_s = {}};
  for (const Interval& each : intervals.subspan(fault)) {
    outcome.errors += each.errors;
    outcome.p99_worst_ns = std::max(outcome.p99_worst_ns, each.p99_ns);
  }
  const std::int64_t p99_max = before.p99_ns + std::max(before.p99_ns / 2, kSlackNs);
  const auto calm = [&](const Interval& each) { return each.errors == 0 && each.p99_ns <= p99_max && each.p99_ns > 0; };
  const auto back = [&](const Interval& each) { return share_of_slot(each, slot) >= kShareBack * before.share; };
  // Since `from_s`, until the first kQuietSeconds of which kQuietShare are good, within `in`.
  const auto good_after = [&](std::span<const Interval> in, double from_s, auto good) -> std::optional<double> {
    for (std::size_t first = 0; first < in.size(); ++first) {
      double seconds = 0, good_s = 0;
      bool begins_well = true;
      for (std::size_t i = first; i < in.size() && seconds < kQuietSeconds * 0.999; ++i) {
        const bool is_good = good(in[i]);
        begins_well = begins_well && (is_good || seconds >= kWellSeconds * 0.999);
        seconds += in[i].seconds;
        good_s += is_good ? in[i].seconds : 0;
      }
      if (begins_well && seconds >= kQuietSeconds * 0.999 && good_s >= kQuietShare * seconds) {
        return std::max(in[first].at_s - from_s, 0.0);
      }
    }
    return std::nullopt;
  };
  outcome.absorbed_s = good_after(intervals.subspan(fault, end - fault), times.fault_s, calm);
  outcome.back_s = good_after(intervals.subspan(end), times.end_s, back);
  outcome.recovered_s =
      good_after(intervals.subspan(end), times.end_s, [&](const Interval& each) { return calm(each) && back(each); });
  return outcome;
}

} // namespace hsmux::capacity
