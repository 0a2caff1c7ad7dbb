#include "metrics/collector.h"

#include <utility>

#include "metrics/outcome.h"

namespace hsmux::metrics {
namespace {

Outcome outcome_of_event(const Event& event) { return outcome_of(static_cast<std::int32_t>(event.status)); }

template <std::size_t kSize>
void copy_counts(const std::array<std::atomic<std::uint64_t>, kSize>& from, std::array<std::uint64_t, kSize>& to) {
  for (std::size_t i = 0; i < kSize; ++i) to[i] = from[i].load(std::memory_order_relaxed);
}

} // namespace

Collector::Collector(std::vector<OperationKind> kinds) : kinds_(std::move(kinds)), cells_(kinds_.size()) {}

std::optional<std::size_t> Collector::find_slot(std::string_view name) const {
  const std::size_t count = slots_count_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (slot_names_[i] == name) return i;
  }
  return std::nullopt;
}

std::optional<std::size_t> Collector::slot_of(std::string_view name) {
  if (const auto found = find_slot(name)) [[likely]]
    return found;
  const std::lock_guard lock(slots_mutex_);
  if (const auto found = find_slot(name)) return found;
  const std::size_t count = slots_count_.load(std::memory_order_relaxed);
  if (name.empty() || count == kSlotsMax) return std::nullopt;
  slot_names_[count] = name;
  slots_count_.store(count + 1, std::memory_order_release);
  return count;
}

std::optional<std::size_t> Collector::kind_of(const Event& event) const {
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i].algorithm == event.algorithm && kinds_[i].operation == event.operation) return i;
  }
  return std::nullopt;
}

void Collector::record(const Event& event) {
  if (event.kind == EventKind::kOperation) {
    const auto slot = slot_of(event.slot);
    const auto kind = kind_of(event);
    if (!slot || !kind) return;
    cells_.add_attempt({.slot = *slot,
                        .kind = *kind,
                        .outcome = outcome_of_event(event),
                        .took_ns = event.duration.count(),
                        .waited_ns = event.waited.count()});
    if (event.status != ErrorKind{}) recent_.add(event);
  } else if (event.kind == EventKind::kRequest) {
    const auto kind = kind_of(event);
    if (!kind) return;
    cells_.add_request(*kind, outcome_of_event(event), event.duration.count());
    if (event.status != ErrorKind{}) recent_.add(event);
  } else {
    record_rare(event);
  }
}

void Collector::record_rare(const Event& event) {
  const auto slot = slot_of(event.slot);
  if (!slot) return;
  SlotCounts& counts = slot_counts_[*slot];
  const auto add = [](std::atomic<std::uint64_t>& count) { count.fetch_add(1, std::memory_order_relaxed); };
  const auto rare = [&](Rare what) { add(counts.counts[static_cast<std::size_t>(what)]); };
  const auto outcome = static_cast<std::size_t>(outcome_of_event(event));
  switch (event.kind) {
  case EventKind::kLogin: add(counts.logins[event.rv == 0 ? 0 : 1]); break;
  case EventKind::kSessionOpened: add(counts.opens[0]); break;
  case EventKind::kSessionOpenFailed: add(counts.opens[1]); break;
  case EventKind::kSessionDiscarded: add(counts.discards[outcome]); break;
  case EventKind::kRetry: add(counts.retries[outcome]); break;
  case EventKind::kKeyFind: rare(Rare::kKeyFind); break;
  case EventKind::kSlotLost: rare(Rare::kLost); break;
  case EventKind::kPinLatched: rare(Rare::kPinLatched); break;
  case EventKind::kUnusual: rare(Rare::kUnusual); break;
  case EventKind::kOverdue: rare(Rare::kOverdue); break;
  case EventKind::kWrongResult: rare(Rare::kWrongResult); break;
  case EventKind::kCanary:
    for (std::size_t i = 0; i < kCanaryResults.size(); ++i) {
      if (event.detail == kCanaryResults[i]) add(counts.canaries[i]);
    }
    break;
  default: break;
  }
  recent_.add(event);
}

Collector::RareSums Collector::rare_sums(std::string_view slot) const {
  RareSums sums;
  const auto index = find_slot(slot);
  if (!index) return sums;
  const SlotCounts& counts = slot_counts_[*index];
  copy_counts(counts.counts, sums.counts);
  copy_counts(counts.logins, sums.logins);
  copy_counts(counts.opens, sums.opens);
  copy_counts(counts.canaries, sums.canaries);
  copy_counts(counts.discards, sums.discards);
  copy_counts(counts.retries, sums.retries);
  return sums;
}

Cells::SlotSums Collector::slot_sums(std::string_view slot) const {
  return cells_.slot_sums(find_slot(slot).value_or(kSlotsMax));
}

} // namespace hsmux::metrics
