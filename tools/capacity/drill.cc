// The drills of a Run: an open load, a fault in its middle, and what callers noticed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tools/capacity/drill_actor.h"
#include "tools/capacity/drill_timeline.h"
#include "tools/capacity/run.h"

namespace hsmux::capacity {
namespace {

using std::chrono::duration;

constexpr double kBeforeSeconds = 3, kAfterSeconds = 6; // around the fault; after: at most kAfterMax until all is well
constexpr double kDrillStepSeconds = 0.1;
constexpr double kDrillMaxSeconds = 3600; // an operator's time

// What happens beside the load, on a thread of its own.
class DrillPlayer {
public:
  DrillPlayer(const Drill& drill, const DrillMeans& means, double before_s, double hold_s)
      : drill_(drill), means_(means),
        thread_([this, before_s, hold_s](const std::stop_token& stop) { run(stop, before_s, hold_s); }) {}

  [[nodiscard]] bool over() const { return over_.load(); }
  // After over():
  [[nodiscard]] const Status& status() const { return status_; }
  [[nodiscard]] TimePoint fault_at() const { return fault_at_; }
  [[nodiscard]] TimePoint end_at() const { return end_at_; }
  void join() { thread_.join(); }

private:
  static bool wait(const std::stop_token& stop, double seconds) {
    const TimePoint end = MonotonicClock::now() + std::chrono::duration_cast<Duration>(duration<double>(seconds));
    while (MonotonicClock::now() < end) {
      if (stop.stop_requested() || Program::interrupted()) return false;
      std::this_thread::sleep_until(std::min(end, MonotonicClock::now() + std::chrono::milliseconds(20)));
    }
    return true;
  }

  void run(const std::stop_token& stop, double before_s, double hold_s) {
    if (wait(stop, before_s)) {
      fault_at_ = MonotonicClock::now();
      status_ = play_drill(drill_, means_, true);
      if (status_) wait(stop, hold_s); // in any case the fault ends
      if (status_ || means_.sim_socket.empty()) {
        const Status ended = play_drill(drill_, means_, false);
        if (status_) status_ = ended;
      }
      end_at_ = MonotonicClock::now();
      if (status_) wait(stop, kAfterSeconds);
    }
    over_ = true;
  }

  const Drill drill_;
  const DrillMeans means_;
  std::atomic<bool> over_{false};
  Status status_;
  TimePoint fault_at_{}, end_at_{};
  std::jthread thread_; // last: ends before the members it uses
};

std::string drill_sentence(const Drill& drill, double rate, const DrillTimes& times, const DrillOutcome& outcome,
                           std::uint64_t intended) {
  const auto time = [](std::int64_t ns) { return time_text(static_cast<double>(ns)); };
  std::string text =
      fmt::format("Drill {} {} at {:.0f} a second: callers saw {} errors in {} requests; p99 was {} "
                  "before, {} at worst, {} over the {:.1f} s of it",
                  drill_name(drill.kind), drill.slot, rate, outcome.errors, intended, time(outcome.p99_before_ns),
                  time(outcome.p99_worst_ns), time(outcome.p99_during_ns), times.end_s - times.fault_s);
  if (outcome.absorbed_s) text += fmt::format("; the other slots had it absorbed after {:.1f} s", *outcome.absorbed_s);
  text += outcome.back_s ? fmt::format("; {:.1f} s after its end the slot did its part again", *outcome.back_s)
                         : fmt::format("; {:.0f} s after its end the slot did not do its part again", kAfterSeconds);
  text += outcome.recovered_s ? fmt::format(", and after {:.1f} s the tail was as before.", *outcome.recovered_s)
                              : ", and the tail was not yet as before.";
  return text;
}

Json drill_json(const Drill& drill, double rate, const DrillTimes& times, const DrillOutcome& outcome) {
  Json json{{"kind", drill_name(drill.kind)},
            {"slot", drill.slot},
            {"rate", rate},
            {"fault_s", times.fault_s},
            {"end_s", times.end_s},
            {"errors", outcome.errors},
            {"rate_before", outcome.rate_before},
            {"rate_during", outcome.rate_during},
            {"rate_after", outcome.rate_after},
            {"p99_before_us", static_cast<double>(outcome.p99_before_ns) / 1000},
            {"p99_during_us", static_cast<double>(outcome.p99_during_ns) / 1000},
            {"p99_worst_us", static_cast<double>(outcome.p99_worst_ns) / 1000},
            {"absorbed_s", nullptr},
            {"back_s", nullptr},
            {"recovered_s", nullptr}};
  if (outcome.absorbed_s) json["absorbed_s"] = *outcome.absorbed_s;
  if (outcome.back_s) json["back_s"] = *outcome.back_s;
  if (outcome.recovered_s) json["recovered_s"] = *outcome.recovered_s;
  return json;
}

} // namespace

// Errors: kInvalidArgument. Before anything is connected.
Status Run::check_drills() const {
  for (const std::string& text : options_.drills) {
    HSMUX_TRY(const Drill drill, Drill::parse(text));
    if (std::ranges::find(config_.slots, drill.slot, &SlotConfig::name) == config_.slots.end()) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("--drill {}: no slot is named {}", text, drill.slot));
    }
  }
  return {};
}

Status Run::measure_drills() {
  for (const std::string& text : options_.drills) {
    HSMUX_TRY(Drill drill, Drill::parse(text));
    HSMUX_CHECK(measure_drill(drill));
  }
  return {};
}

Status Run::measure_drill(Drill drill) {
  const std::vector<SlotReport> reports = engine_->slots();
  const auto report = std::ranges::find(reports, drill.slot, &SlotReport::name);
  if (report == reports.end()) return fail(ErrorKind::kUnavailable, "slot " + drill.slot + " is not open");
  drill.token = report->token.label;
  // As much as the others can carry, with room; a rate that was asked for is what is asked.
  double rate = capacity_;
  if (!options_.rate) {
    const auto slots = static_cast<double>(config_.slots.size());
    const double kept = document_.contains("goal") ? document_["goal"].value("rate", 0.0) : 0;
    rate = (kept > 0 ? kept : capacity_) * (slots > 1 ? 0.8 * (slots - 1) / slots : 0.5);
  }
  LoadPlan plan = open_plan(fmt::format("drill {} {}", drill_name(drill.kind), drill.slot), rate);
  plan.time = std::chrono::milliseconds(static_cast<std::int64_t>(kDrillMaxSeconds * 1000));
  plan.step_s = kDrillStepSeconds;
  plan.seed = options_.seed + stage_number_;
  const DrillMeans means{.sim_socket = options_.sim_socket,
                         .script = options_.drill_script,
                         .slow_us = static_cast<std::int64_t>(std::max(limit_.service_s * 1e6, 1000.0) * 20)};
  DrillPlayer player(drill, means, duration<double>(plan.warm_up).count() + kBeforeSeconds, options_.drill_seconds);
  Result<LoadResult> result = stage(plan, [&player] { return player.over(); });
  player.join();
  HSMUX_CHECK(player.status());
  if (!result) return fail(std::move(result).error());
  const DrillTimes times{.fault_s = duration<double>(player.fault_at() - result->window_at).count(),
                         .end_s = duration<double>(player.end_at() - result->window_at).count()};
  const auto slot = static_cast<std::size_t>(report - reports.begin());
  const DrillOutcome outcome = drill_outcome(result->intervals, times, slot);
  Json json = drill_json(drill, rate, times, outcome);
  json["stage"] = document_["stages"].size() - 1;
  const std::string sentence = drill_sentence(drill, rate, times, outcome, result->intended);
  json["sentence"] = sentence;
  document_["drills"].push_back(std::move(json));
  document_["answer"].push_back(sentence);
  return {};
}

} // namespace hsmux::capacity
