// The search of a Run: sessions, single slots, rates, and what follows from them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/capacity/run.h"

namespace hsmux::capacity {
namespace {

using std::chrono::milliseconds;

constexpr double kBinSeconds = 0.5;     // of the series whose stability is judged
constexpr double kOthersShareMax = 0.2; // of the host's CPU
constexpr std::size_t kLateRepeatsMax = 3;
constexpr std::size_t kRoundTrips = 100, kFinds = 100;

// Operations a second in bins of kBinSeconds.
std::vector<double> binned_rates(const std::vector<Interval>& intervals) {
  std::vector<double> rates;
  double seconds = 0, completed = 0;
  for (const Interval& each : intervals) {
    seconds += each.seconds;
    completed += static_cast<double>(each.completed);
    if (seconds < kBinSeconds * 0.99) continue;
    rates.push_back(completed / seconds);
    seconds = completed = 0;
  }
  return rates;
}

std::string range_text(const Estimate& estimate) {
  return estimate.n > 1 ? fmt::format("{:.0f} operations a second (95 %: {:.0f} to {:.0f})", estimate.mean,
                                      estimate.low, estimate.high)
                        : fmt::format("{:.0f} operations a second (measured once)", estimate.mean);
}

} // namespace

Status Run::measure_search() {
  SessionsSearch search(options_.sessions_max, options_.sessions);
  HSMUX_CHECK(search_sessions(search));
  if (search.best_rate() <= 0) {
    return fail(ErrorKind::kUnavailable, fmt::format("no operation succeeded: {}",
                                                     document_["stages"].back().at("first_error").get<std::string>()));
  }
  const std::uint32_t sessions = search.recommended();
  capacity_ = search.best_rate();
  limit_.still_rising = search.still_rising();
  HSMUX_CHECK(open(sessions, Fixed::kNo));
  HSMUX_CHECK(repeat_saturated(sessions));
  HSMUX_CHECK(measure_rows(sessions));
  HSMUX_CHECK(measure_single_slots(sessions));
  HSMUX_CHECK(open(sessions, Fixed::kNo));
  HSMUX_CHECK(repeat_saturated(sessions));
  HSMUX_CHECK(search_rate(sessions));
  while (saturated_.size() < options_.repeats) HSMUX_CHECK(repeat_saturated(sessions));
  conclude(search, sessions);
  return {};
}

Status Run::search_sessions(SessionsSearch& search) {
  while (const std::optional<std::uint32_t> sessions = search.next()) {
    HSMUX_CHECK(open(*sessions, Fixed::kYes));
    LoadPlan plan = closed_plan(fmt::format("{} sessions", *sessions), saturating_callers(*sessions));
    plan.time = std::max(plan.time / 2, milliseconds(300));
    plan.warm_up = std::max(plan.warm_up / 2, milliseconds(100));
    HSMUX_TRY(const LoadResult result, stage(plan));
    const std::uint32_t open_now = limit_.sessions;
    if (open_now >= *sessions || !options_.sessions.empty()) {
      search.add({.sessions = *sessions, .rate = result.rate()});
      continue;
    }
    // The token has no more: further steps say nothing.
    document_["warnings"].push_back(
        fmt::format("A slot opened {} of {} sessions: that is its limit now.", open_now, *sessions));
    SessionsSearch bounded(open_now);
    bool measured = false;
    for (const SessionsPoint& point : search.points()) {
      bounded.add(point);
      measured = measured || point.sessions == open_now;
    }
    if (!measured) bounded.add({.sessions = open_now, .rate = result.rate()});
    search = bounded;
    // Where fewer would have done as well they are not what limits.
    if (4 * search.knee() >= 3 * open_now) sessions_missing_ = {open_now, *sessions};
  }
  Json points = Json::array();
  for (const SessionsPoint& point : search.points()) {
    points.push_back({{"sessions", point.sessions}, {"rate", point.rate}});
  }
  document_["sessions"] = {{"points", std::move(points)},
                           {"knee", search.knee()},
                           {"recommended", search.recommended()},
                           {"still_rising", search.still_rising()}};
  return {};
}

Status Run::repeat_saturated(std::uint32_t sessions) {
  if (saturated_.size() >= options_.repeats) return {};
  HSMUX_TRY(const LoadResult result, stage(closed_plan("saturated", saturating_callers(sessions))));
  saturated_.push_back(result.rate());
  for (const double rate : binned_rates(result.intervals)) series_.push_back(rate);
  if (result.host_cpu_share > limit_.cpu_share) {
    limit_.cpu_share = result.host_cpu_share;
    limit_.own_cpu_share = result.process_cpu_share;
  }
  limit_.cores = document_["machine"].at("cores").get<double>();
  limit_.all_slots = std::max(limit_.all_slots, result.rate());
  return {};
}

Status Run::measure_rows(std::uint32_t threads) {
  const std::string slot = config_.slots.front().name;
  // The module alone needs sessions of its own: where the token has few, the engine must not hold them.
  HSMUX_CHECK(open(1, Fixed::kNo));
  Result<std::unique_ptr<RawSlot>> opened =
      RawSlot::open(*engine_, config_, 0, *workload_, threads, options_.opens_per_second);
  if (!opened) {
    if (Program::interrupted()) return fail(std::move(opened).error());
    document_["warnings"].push_back("The module could not be measured alone: " + opened.error().text());
    return {};
  }
  const std::unique_ptr<RawSlot> raw = std::move(*opened);
  const milliseconds time = plan("").time / 2, warm_up = plan("").warm_up / 2;
  const RawResult one = raw->run(1, warm_up, time);
  document_["raw"].push_back(raw_json("one thread", slot, 1, one));
  limit_.raw_one = one.rate();
  limit_.service_s = static_cast<double>(one.latency.percentile(50)) / 1e9;
  // Twice as many threads as sessions make no difference for the module: it sees sessions.
  const RawResult many = raw->run(threads, warm_up, time);
  document_["raw"].push_back(raw_json("as many threads as sessions", slot, raw->threads(), many));
  limit_.raw_many = many.rate();
  HSMUX_TRY(const Histogram trips, raw->round_trips(kRoundTrips));
  limit_.round_trip_s = static_cast<double>(trips.percentile(50)) / 1e9;
  HSMUX_TRY(const Histogram finds, raw->finds(kFinds));
  document_["rows"].push_back(row_json("C_GetSessionInfo (the way to the HSM and back)", trips));
  document_["rows"].push_back(row_json("finding a key by its id", finds));
  document_["rows"].push_back(row_json("C_OpenSession alone", raw->opened()));
  return {};
}

Status Run::measure_single_slots(std::uint32_t sessions) {
  if (config_.slots.size() == 1) {
    limit_.one_slot = {limit_.all_slots};
    return {};
  }
  for (const SlotConfig& slot : config_.slots) {
    HSMUX_CHECK(open(sessions, Fixed::kYes, slot.name));
    LoadPlan plan = closed_plan("slot " + slot.name, saturating_callers(sessions));
    plan.time = std::max(plan.time / 2, milliseconds(300));
    HSMUX_TRY(const LoadResult result, stage(plan));
    limit_.one_slot.push_back(result.rate());
  }
  return {};
}

Status Run::search_rate(std::uint32_t sessions) {
  RateSearch search(capacity_, std::max(options_.repeats / 2 + 1, 1U));
  Json tried = Json::array();
  std::string why;
  std::int64_t slowest_ns = 0;
  for (const PercentileLimit& limit : goal_.limits) slowest_ns = std::max(slowest_ns, limit.ns);
  std::size_t count = 0, late_in_a_row = 0;
  while (const std::optional<double> rate = search.next()) {
    LoadPlan plan = open_plan(fmt::format("rate {:.0f}", *rate), *rate);
    plan.waiting_max =
        500 + static_cast<std::uint64_t>(*rate * std::max(0.25, 20 * static_cast<double>(slowest_ns) / 1e9));
    HSMUX_TRY(const LoadResult result, stage(plan));
    const std::string broken = broken_goal(goal_, {.latency = &result.latency,
                                                   .intended = result.intended,
                                                   .completed = result.completed,
                                                   .errors = result.errors,
                                                   .not_started = result.not_started,
                                                   .overloaded = result.overloaded});
    // A goal that this host breaks by itself says nothing of the HSMs: once more, a few times.
    if (!broken.empty() && result.generator_late && ++late_in_a_row <= kLateRepeatsMax) continue;
    late_in_a_row = 0;
    tried.push_back({{"rate", *rate},
                     {"kept", broken.empty()},
                     {"why", broken},
                     {"p50_us", static_cast<double>(result.latency.percentile(50)) / 1000},
                     {"p99_us", static_cast<double>(result.latency.percentile(99)) / 1000},
                     {"p999_us", static_cast<double>(result.latency.percentile(99.9)) / 1000}});
    if (!broken.empty()) why = broken;
    search.add(broken.empty());
    // Between others, so that a change during the run shows; one is kept for its end.
    if (++count % 4 == 0 && saturated_.size() + 1 < options_.repeats) HSMUX_CHECK(repeat_saturated(sessions));
  }
  document_["goal"] = {{"text", goal_.text()},
                       {"rate", search.rate()},
                       {"confirmed", search.confirmed()},
                       {"first_broken_by", why},
                       {"tried", std::move(tried)}};
  return {};
}

void Run::conclude(const SessionsSearch& search, std::uint32_t sessions) {
  const StabilityVerdict verdict = stability_of(series_);
  Estimate estimate = estimate_of(saturated_);
  const bool drifts = verdict.stability == Stability::kFalling || verdict.stability == Stability::kRising;
  // A mean over a change describes neither before nor after.
  if (drifts && !saturated_.empty()) {
    estimate = {.mean = saturated_.back(), .low = saturated_.back(), .high = saturated_.back(), .n = 1};
  }
  Json& capacity = document_["capacity"] = estimate_json(estimate);
  capacity["repeats"] = saturated_;
  capacity["stability"] = stability_json(verdict);
  capacity["series_bin_s"] = kBinSeconds;
  capacity["series"] = series_;

  if (const double others = limit_.cpu_share - limit_.own_cpu_share; others > kOthersShareMax) {
    document_["warnings"].push_back(
        fmt::format("Other programs used {:.0f} % of this host's CPU during the measurement: "
                    "repeat it on an idle machine.",
                    others * 100));
  }
  if (sessions_missing_.second > 0) {
    limit_.sessions = sessions_missing_.first;
    limit_.sessions_wanted = sessions_missing_.second;
  }
  const Limit limit = limit_of(limit_);
  document_["limit"] = {{"kind", limit_name(limit.kind)},
                        {"why", limit.why},
                        {"raw_one_thread", limit_.raw_one},
                        {"raw_many_threads", limit_.raw_many},
                        {"one_slot", limit_.one_slot},
                        {"all_slots", limit_.all_slots},
                        {"cpu_share", limit_.cpu_share},
                        {"own_cpu_share", limit_.own_cpu_share},
                        {"round_trip_us", limit_.round_trip_s * 1e6},
                        {"service_us", limit_.service_s * 1e6},
                        {"sessions", limit_.sessions},
                        {"sessions_wanted", limit_.sessions_wanted}};

  Json& answer = document_["answer"];
  answer.push_back(fmt::format("Capacity: {}, with {} slots and {} sessions each.", range_text(estimate),
                               config_.slots.size(), sessions));
  answer.push_back(fmt::format("Sessions: the knee is at {} per slot; {} are recommended{}.", search.knee(), sessions,
                               search.still_rising() ? ", and more may do more" : ""));
  const Json& goal = document_["goal"];
  const double rate = goal.at("rate").get<double>();
  if (rate > 0) {
    answer.push_back(fmt::format("Rate to run at: {:.0f} a second keeps {}{}.", rate, goal_.text(),
                                 goal.at("confirmed").get<bool>() ? "" : " (not confirmed by repetitions)"));
  } else {
    answer.push_back(fmt::format("No rate that was tried keeps {}: {}.", goal_.text(),
                                 goal.at("first_broken_by").get<std::string>()));
  }
  answer.push_back(fmt::format("Limit: {}. {}", limit_name(limit.kind), limit.why));
  switch (verdict.stability) {
  case Stability::kStable:
    answer.push_back(fmt::format("Stable: the rate changed by {:+.1f} % over the run, its spread is {:.1f} %.",
                                 verdict.change_share * 100, verdict.spread_share * 100));
    break;
  case Stability::kFalling:
  case Stability::kRising:
    answer.push_back(
        fmt::format("Not stable: the rate was {} over the run, by {:.0f} % from its first measurement to the "
                    "last; the capacity above is the last one. Measure for longer.",
                    stability_name(verdict.stability), std::abs(verdict.change_share) * 100));
    break;
  case Stability::kNoisy:
    answer.push_back(
        fmt::format("Not stable: the rate varies by {:.0f} % around its middle. Is something else using the "
                    "HSMs, or this machine?",
                    verdict.spread_share * 100));
    break;
  case Stability::kTooFew: answer.push_back("Too short to say whether it is stable."); break;
  }
}

} // namespace hsmux::capacity
