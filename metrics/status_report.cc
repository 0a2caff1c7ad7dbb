#include "metrics/status_report.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace hsmux::metrics {
namespace {

using nlohmann::json;

json times_json(const Times& times) { return {{"buckets", times.buckets}, {"sum_ns", times.sum_ns}}; }

// Kinds of operations that never came are left out.
json kinds_json(const Collector& collector, const std::vector<Outcomes>& outcomes, const std::vector<Times>& took) {
  json kinds = json::array();
  for (std::size_t i = 0; i < collector.kinds().size(); ++i) {
    if (std::ranges::all_of(outcomes[i], [](std::uint64_t count) { return count == 0; })) continue;
    kinds.push_back({{"operation", collector.kinds()[i].operation},
                     {"algorithm", collector.kinds()[i].algorithm},
                     {"outcomes", outcomes[i]},
                     {"took", times_json(took[i])}});
  }
  return kinds;
}

json slot_json(const Collector& collector, const SlotSnapshot& slot) {
  const Cells::SlotSums sums = collector.slot_sums(slot.name);
  return {{"name", slot.name},
          {"state", slot.state},
          {"model", slot.model},
          {"firmware", slot.firmware},
          {"library", slot.library},
          {"reason", slot.reason},
          {"epoch", slot.epoch},
          {"sessions",
           {{"idle", slot.sessions_idle},
            {"leased", slot.sessions_leased},
            {"quarantined", slot.sessions_quarantined},
            {"limit", slot.sessions_limit}}},
          {"in_flight", slot.in_flight},
          {"concurrency", slot.concurrency},
          {"last_success", sums.last_success},
          {"waited", times_json(sums.waited)},
          {"operations", kinds_json(collector, sums.outcomes, sums.took)}};
}

json error_json(const RecentError& error) {
  using std::chrono::duration_cast, std::chrono::milliseconds;
  return {{"what", error.what},
          {"slot", error.slot},
          {"call", error.call},
          {"algorithm", error.algorithm},
          {"outcome", error.outcome},
          {"reason", error.reason},
          {"rv", error.rv},
          {"count", error.count},
          {"last_ms", duration_cast<milliseconds>(error.last.time_since_epoch()).count()}};
}

} // namespace

std::string status_report(const Collector& collector, const std::optional<Snapshot>& snapshot,
                          const std::string& version) {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  json report{{"version", version},
              {"now_ms", duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count()},
              {"bucket_bounds_ns", kBucketBounds},
              {"outcomes", kOutcomes},
              {"health", snapshot ? snapshot->health : "failed"},
              {"reasons", snapshot ? snapshot->reasons : std::vector<std::string>{"there is no engine"}},
              {"slots", json::array()},
              {"errors", json::array()}};
  if (snapshot) {
    for (const SlotSnapshot& slot : snapshot->slots) report["slots"].push_back(slot_json(collector, slot));
    report["waiting"] = snapshot->waiting;
    report["submitted"] = snapshot->submitted;
    report["threads"] = {
        {"all", snapshot->threads}, {"idle", snapshot->threads_idle}, {"quarantined", snapshot->threads_quarantined}};
  }
  const Cells::RequestSums requests = collector.request_sums();
  report["requests"] = kinds_json(collector, requests.outcomes, requests.took);
  for (const RecentError& error : collector.recent_errors()) report["errors"].push_back(error_json(error));
  return report.dump(-1, ' ', true, json::error_handler_t::replace); // tokens need not speak UTF-8
}

} // namespace hsmux::metrics
