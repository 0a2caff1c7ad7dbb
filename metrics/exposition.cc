#include "metrics/exposition.h"

#include <prometheus/text_serializer.h>

#include <array>
#include <initializer_list>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

namespace hsmux::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

double in_seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

// Families in the order of the table, filled one series at a time.
class Families {
public:
  Families() {
    for (std::size_t i = 0; i < kTable.size(); ++i) {
      const MetricRow& row = kTable[i];
      families_[i].name = row.name;
      families_[i].help = row.help;
      families_[i].type = row.type == Type::kGauge     ? prometheus::MetricType::Gauge
                          : row.type == Type::kCounter ? prometheus::MetricType::Counter
                                                       : prometheus::MetricType::Histogram;
    }
  }

  void number(Metric metric, Labels labels, double value) {
    ClientMetric& series = add(metric, labels);
    if (row_of(metric).type == Type::kCounter) {
      series.counter.value = value;
    } else {
      series.gauge.value = value;
    }
  }
  void number(Metric metric, Labels labels, std::uint64_t value) { number(metric, labels, static_cast<double>(value)); }

  void times(Metric metric, Labels labels, const Times& times) {
    ClientMetric::Histogram& histogram = add(metric, labels).histogram;
    histogram.sample_sum = in_seconds(times.sum_ns);
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      count += times.buckets[i];
      const double bound = i < kBucketBounds.size() ? static_cast<double>(kBucketBounds[i]) / 1e9
                                                    : std::numeric_limits<double>::infinity();
      histogram.bucket.push_back({.cumulative_count = count, .upper_bound = bound});
    }
    histogram.sample_count = count;
  }

  std::vector<MetricFamily> take() {
    std::vector<MetricFamily> all;
    for (MetricFamily& family : families_) {
      if (!family.metric.empty()) all.push_back(std::move(family));
    }
    return all;
  }

private:
  ClientMetric& add(Metric metric, Labels labels) {
    ClientMetric& series = families_.at(static_cast<std::size_t>(metric)).metric.emplace_back();
    for (const auto& [name, value] : labels) series.label.push_back({std::string(name), std::string(value)});
    return series;
  }

  std::array<MetricFamily, kTable.size()> families_;
};

void states(Families& families, Metric metric, std::string_view slot, std::span<const std::string_view> all,
            std::string_view now) {
  for (const std::string_view state : all) {
    const double value = state == now ? 1 : 0;
    if (slot.empty()) {
      families.number(metric, {{"state", state}}, value);
    } else {
      families.number(metric, {{"slot", slot}, {"state", state}}, value);
    }
  }
}

void show_state(Families& families, const SlotSnapshot& slot, bool token_serial) {
  if (token_serial) {
    families.number(Metric::kSlotInfo,
                    {{"slot", slot.name},
                     {"model", slot.model},
                     {"firmware", slot.firmware},
                     {"library", slot.library},
                     {"serial", slot.serial}},
                    1.0);
  } else {
    families.number(
        Metric::kSlotInfo,
        {{"slot", slot.name}, {"model", slot.model}, {"firmware", slot.firmware}, {"library", slot.library}}, 1.0);
  }
  states(families, Metric::kSlotState, slot.name, kSlotStates, slot.state);
  families.number(Metric::kSlotUsable, {{"slot", slot.name}}, slot.usable ? 1.0 : 0.0);
  families.number(Metric::kSlotEpoch, {{"slot", slot.name}}, slot.epoch);
  const std::array<std::uint32_t, kSessionStates.size()> sessions{slot.sessions_idle, slot.sessions_leased,
                                                                  slot.sessions_quarantined};
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    families.number(Metric::kSessions, {{"slot", slot.name}, {"state", kSessionStates[i]}}, double(sessions[i]));
  }
  families.number(Metric::kSessionsLimit, {{"slot", slot.name}}, double(slot.sessions_limit));
  families.number(Metric::kInFlight, {{"slot", slot.name}}, double(slot.in_flight));
  families.number(Metric::kConcurrency, {{"slot", slot.name}}, double(slot.concurrency));
}

void show_operations(Families& families, const Collector& collector, std::string_view slot) {
  const Cells::SlotSums sums = collector.slot_sums(slot);
  for (std::size_t i = 0; i < collector.kinds().size(); ++i) {
    const auto& [operation, algorithm] = collector.kinds()[i];
    for (std::size_t j = 0; j < kOutcomes.size(); ++j) {
      families.number(Metric::kOperations,
                      {{"slot", slot}, {"op", operation}, {"spec", algorithm}, {"outcome", kOutcomes[j]}},
                      sums.outcomes[i][j]);
    }
    families.times(Metric::kOperationDuration, {{"slot", slot}, {"op", operation}, {"spec", algorithm}}, sums.took[i]);
  }
  families.times(Metric::kWaitDuration, {{"slot", slot}}, sums.waited);
  families.number(Metric::kLastSuccess, {{"slot", slot}}, static_cast<double>(sums.last_success));
}

void show_rare(Families& families, const Collector& collector, std::string_view slot) {
  const Collector::RareSums sums = collector.rare_sums(slot);
  const auto count = [&](Metric metric, Collector::Rare rare) {
    families.number(metric, {{"slot", slot}}, sums.counts.at(static_cast<std::size_t>(rare)));
  };
  count(Metric::kSlotLosses, Collector::Rare::kLost);
  count(Metric::kOverdue, Collector::Rare::kOverdue);
  count(Metric::kPinLatches, Collector::Rare::kPinLatched);
  count(Metric::kKeyFinds, Collector::Rare::kKeyFind);
  count(Metric::kOddities, Collector::Rare::kUnusual);
  count(Metric::kWrongResults, Collector::Rare::kWrongResult);
  for (std::size_t i = 0; i < kCanaryResults.size(); ++i) {
    families.number(Metric::kCanaries, {{"slot", slot}, {"result", kCanaryResults[i]}}, sums.canaries[i]);
  }
  for (std::size_t i = 0; i < kSuccess.size(); ++i) {
    families.number(Metric::kSessionOpens, {{"slot", slot}, {"outcome", kSuccess[i]}}, sums.opens[i]);
    families.number(Metric::kLogins, {{"slot", slot}, {"outcome", kSuccess[i]}}, sums.logins[i]);
  }
  for (std::size_t i = 1; i < kOutcomes.size(); ++i) { // nothing ends a session or an attempt for "ok"
    families.number(Metric::kSessionDiscards, {{"slot", slot}, {"reason", kOutcomes[i]}}, sums.discards[i]);
    families.number(Metric::kRetries, {{"slot", slot}, {"reason", kOutcomes[i]}}, sums.retries[i]);
  }
}

void show_requests(Families& families, const Collector& collector) {
  const Cells::RequestSums sums = collector.request_sums();
  for (std::size_t i = 0; i < collector.kinds().size(); ++i) {
    const auto& [operation, algorithm] = collector.kinds()[i];
    for (std::size_t j = 0; j < kOutcomes.size(); ++j) {
      families.number(Metric::kRequests, {{"op", operation}, {"spec", algorithm}, {"outcome", kOutcomes[j]}},
                      sums.outcomes[i][j]);
    }
    families.times(Metric::kRequestDuration, {{"op", operation}, {"spec", algorithm}}, sums.took[i]);
  }
}

} // namespace

std::vector<MetricFamily> Exposition::Collect() const {
  Families families;
  families.number(Metric::kBuildInfo, {{"version", version_}}, 1.0);
  show_requests(families, collector_);
  const std::optional<Snapshot> snapshot = source_ ? source_() : std::nullopt;
  if (!snapshot) return families.take();
  states(families, Metric::kHealthState, "", kHealthStates, snapshot->health);
  for (const SlotSnapshot& slot : snapshot->slots) {
    show_state(families, slot, token_serial_);
    show_operations(families, collector_, slot.name);
    show_rare(families, collector_, slot.name);
  }
  families.number(Metric::kWaiters, {}, snapshot->waiting);
  families.number(Metric::kSubmitted, {}, snapshot->submitted);
  const std::uint64_t busy =
      snapshot->threads - std::min(snapshot->threads, snapshot->threads_idle + snapshot->threads_quarantined);
  const std::array<std::uint64_t, kThreadStates.size()> threads{snapshot->threads_idle, busy,
                                                                snapshot->threads_quarantined};
  for (std::size_t i = 0; i < threads.size(); ++i) {
    families.number(Metric::kThreads, {{"state", kThreadStates[i]}}, threads[i]);
  }
  return families.take();
}

std::string Exposition::text() const { return prometheus::TextSerializer().Serialize(Collect()); }

} // namespace hsmux::metrics
