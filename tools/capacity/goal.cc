#include "tools/capacity/goal.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ranges>

namespace hsmux::capacity {
namespace {

struct TimeUnit {
  std::string_view name;
  double ns;
};
constexpr std::array kTimeUnits{TimeUnit{"ns", 1}, TimeUnit{"us", 1e3}, TimeUnit{"ms", 1e6}, TimeUnit{"s", 1e9}};

std::optional<double> number_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::unexpected<Error> bad_goal(std::string_view part) {
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("--goal: '{}' is not understood; for instance p99<=10ms,p99.9<=50ms,errors<=0.1%", part));
}

} // namespace

std::string time_text(double ns) {
  if (ns < 1e6) return fmt::format("{:.0f} us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.{}f} ms", ns / 1e6, ns < 1e7 ? 2 : ns < 1e8 ? 1 : 0);
  return fmt::format("{:.1f} s", ns / 1e9);
}

Result<std::int64_t> parse_time(std::string_view text) {
  for (const TimeUnit& unit : kTimeUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto value = number_of(text.substr(0, text.size() - unit.name.size()));
    if (value && *value > 0 && *value * unit.ns <= static_cast<double>(Histogram::kHighestNs)) {
      return static_cast<std::int64_t>(*value * unit.ns);
    }
  }
  return fail(ErrorKind::kInvalidArgument, fmt::format("'{}' is not a time; for instance 250us, 10ms, 2s", text));
}

Result<Goal> Goal::parse(std::string_view text) {
  Goal goal;
  goal.limits.clear();
  for (const auto range : std::views::split(text, ',')) {
    const std::string_view part(range.begin(), range.end());
    const std::size_t sign = part.find("<=");
    if (sign == std::string_view::npos) return bad_goal(part);
    const std::string_view what = part.substr(0, sign), limit = part.substr(sign + 2);
    if (what == "errors") {
      const bool percent = limit.ends_with('%');
      const auto value = number_of(percent ? limit.substr(0, limit.size() - 1) : limit);
      if (!value || *value < 0 || *value > (percent ? 100 : 1)) return bad_goal(part);
      goal.error_share_max = percent ? *value / 100 : *value;
      continue;
    }
    const double percent = what.starts_with('p') ? number_of(what.substr(1)).value_or(0) : 0;
    const Result<std::int64_t> ns = parse_time(limit);
    if (percent <= 0 || percent >= 100 || !ns) return bad_goal(part);
    goal.limits.push_back({.percent = percent, .ns = *ns});
  }
  if (goal.limits.empty()) return bad_goal(text);
  return goal;
}

std::string Goal::text() const {
  std::string result;
  for (const PercentileLimit& limit : limits) {
    result += fmt::format("p{} <= {}, ", limit.percent, time_text(static_cast<double>(limit.ns)));
  }
  if (error_share_max == 0) return result + "no errors";
  return result + fmt::format("errors <= {:.3g} %", error_share_max * 100);
}

std::string broken_goal(const Goal& goal, const GoalInput& input) {
  if (input.overloaded) return "requests pile up";
  if (input.not_started > 0) return fmt::format("{} requests could not start", input.not_started);
  if (input.completed + input.errors == 0) return "nothing was done";
  const double all = static_cast<double>(input.completed + input.errors);
  if (static_cast<double>(input.errors) / all > goal.error_share_max) return fmt::format("{} errors", input.errors);
  for (const PercentileLimit& limit : goal.limits) {
    const double above = static_cast<double>(input.latency->count_above(limit.ns) + input.errors);
    if (above / all <= 1 - limit.percent / 100) continue;
    const auto measured = static_cast<double>(input.latency->percentile(limit.percent));
    return fmt::format("p{} is {}", limit.percent, time_text(measured));
  }
  return {};
}

} // namespace hsmux::capacity
