#include "tools/capacity/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tools/capacity/goal.h"

namespace hsmux::capacity {
namespace {

std::unexpected<Error> cannot_merge(const std::string& why) {
  return fail(ErrorKind::kInvalidArgument, "cannot be merged: " + why);
}

// What must be the same. The rate may differ: hosts need not be equally strong.
constexpr std::array kSameSettings{"mode", "entries", "arrivals", "seconds", "warm_up_seconds", "repeats"};

Result<Json> merged_latency(const Json& a, const Json& b) {
  HSMUX_TRY(Histogram sum, Histogram::decode(a.at("histogram").get<std::string>()));
  HSMUX_TRY(const Histogram other, Histogram::decode(b.at("histogram").get<std::string>()));
  sum.add(other);
  return latency_json(sum);
}

void add_number(Json& to, const Json& from, const char* key) {
  if (from.at(key).is_number_unsigned() && to.at(key).is_number_unsigned()) {
    to[key] = to.at(key).get<std::uint64_t>() + from.at(key).get<std::uint64_t>();
  } else {
    to[key] = to.at(key).get<double>() + from.at(key).get<double>();
  }
}

void add_counts(Json& to, const Json& from) {
  for (const auto& [key, value] : from.items()) to[key] = to.value(key, std::uint64_t{0}) + value.get<std::uint64_t>();
}

// Percentiles of an interval cannot be added: the worst host's stand for all.
void add_intervals(Json& to, const Json& from) {
  for (std::size_t i = 0; i < std::min(to.size(), from.size()); ++i) {
    for (const char* key : {"completed", "errors"}) add_number(to[i], from[i], key);
    for (const char* key : {"p50_us", "p99_us", "max_us"}) to[i][key] = std::max(to[i][key], from[i].at(key));
    Json& slots = to[i]["slots"];
    for (std::size_t j = 0; j < std::min(slots.size(), from[i].at("slots").size()); ++j) {
      slots[j] = slots[j].get<std::uint64_t>() + from[i].at("slots")[j].get<std::uint64_t>();
    }
  }
}

Status add_stage(Json& to, const Json& from) {
  for (const char* key : {"intended", "completed", "errors", "not_started", "ended_in_time", "rate", "retries"}) {
    add_number(to, from, key);
  }
  if (to.contains("rate_intended")) {
    add_number(to, from, "rate_intended");
    to["name"] = fmt::format("rate {:.0f}", to.at("rate_intended").get<double>());
    HSMUX_TRY(to["generator_lag"], merged_latency(to.at("generator_lag"), from.at("generator_lag")));
  } else {
    add_number(to, from, "callers");
    to["name"] = fmt::format("{} callers", to.at("callers").get<std::uint64_t>());
  }
  HSMUX_TRY(to["latency"], merged_latency(to.at("latency"), from.at("latency")));
  for (std::size_t i = 0; i < to.at("entries").size(); ++i) {
    Json& entry = to["entries"][i];
    const Json& other = from.at("entries").at(i);
    for (const char* key : {"completed", "errors"}) add_number(entry, other, key);
    HSMUX_TRY(entry["latency"], merged_latency(entry.at("latency"), other.at("latency")));
  }
  add_counts(to["slots"], from.at("slots"));
  add_counts(to["error_kinds"], from.at("error_kinds"));
  add_intervals(to["intervals"], from.at("intervals"));
  if (to.at("first_error").get<std::string>().empty()) to["first_error"] = from.at("first_error");
  for (const char* key : {"process_share", "host_share"})
    to["cpu"][key] = std::max(to["cpu"][key], from.at("cpu").at(key));
  for (const char* key : {"overloaded", "interrupted", "generator_late"}) {
    to[key] = to.at(key).get<bool>() || from.at(key).get<bool>();
  }
  return {};
}

} // namespace

Result<Json> merge_results(const std::vector<Json>& documents) {
  if (documents.size() < 2) return cannot_merge("give two results at least");
  Json merged = documents.front();
  const Json& settings = merged.at("settings");
  if (settings.at("mode") == "search") {
    return cannot_merge("a search does what it finds on its own host; run the hosts with --rate or --callers");
  }
  Json hosts = Json::array({merged.at("machine")});
  std::vector<std::string> warnings;
  const auto warn_all = [&](const Json& document) {
    for (const Json& each : document.at("warnings")) {
      warnings.push_back(document.at("machine").at("host").get<std::string>() + ": " + each.get<std::string>());
    }
  };
  warn_all(merged);
  for (std::size_t i = 1; i < documents.size(); ++i) {
    const Json& other = documents[i];
    for (const char* key : kSameSettings) {
      if (other.at("settings").at(key) == settings.at(key)) continue;
      return cannot_merge(
          fmt::format("{} differs: {} and {}", key, settings.at(key).dump(), other.at("settings").at(key).dump()));
    }
    if (other.at("stages").size() != merged.at("stages").size()) {
      return cannot_merge(fmt::format("one has {} measurements and another {}: were they interrupted?",
                                      merged.at("stages").size(), other.at("stages").size()));
    }
    for (std::size_t j = 0; j < other.at("stages").size(); ++j) {
      const auto start = [&](const Json& document) {
        return document.at("stages").at(j).at("started_unix_ms").get<double>() / 1000;
      };
      if (const double apart = std::abs(start(other) - start(documents.front())); apart > kStartSpreadMaxSeconds) {
        warnings.push_back(fmt::format("Measurement {} began {:.1f} s apart: the hosts' loads overlapped only in part; "
                                       "--start-at makes them begin together.",
                                       j + 1, apart));
      }
      HSMUX_CHECK(add_stage(merged["stages"][j], other.at("stages").at(j)));
    }
    hosts.push_back(other.at("machine"));
    warn_all(other);
    merged["interrupted"] = merged.at("interrupted").get<bool>() || other.at("interrupted").get<bool>();
  }
  std::vector<double> rates;
  Histogram latency;
  std::uint64_t errors = 0, not_started = 0;
  for (const Json& stage : merged.at("stages")) {
    rates.push_back(stage.at("rate").get<double>());
    HSMUX_TRY(const Histogram each, Histogram::decode(stage.at("latency").at("histogram").get<std::string>()));
    latency.add(each);
    errors += stage.at("errors").get<std::uint64_t>();
    not_started += stage.at("not_started").get<std::uint64_t>();
  }
  const Estimate estimate = estimate_of(rates);
  merged["throughput"] = estimate_json(estimate);
  merged["hosts"] = std::move(hosts);
  merged["warnings"] = warnings;
  merged["drills"] = Json::array(); // of one host each; its own result has them
  merged["answer"] = {fmt::format(
      "{} hosts: {:.0f} operations a second ({:.0f} to {:.0f}), p50 {}, p99 {}, p99.9 {}, {} "
      "errors, {} not started.",
      documents.size(), estimate.mean, estimate.low, estimate.high,
      time_text(static_cast<double>(latency.percentile(50))), time_text(static_cast<double>(latency.percentile(99))),
      time_text(static_cast<double>(latency.percentile(99.9))), errors, not_started)};
  return merged;
}

} // namespace hsmux::capacity
