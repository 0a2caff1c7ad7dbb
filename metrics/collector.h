// Takes the engine's events and counts them. Thread-safe; recording never waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/cells.h"
#include "metrics/events.h"
#include "metrics/recent_errors.h"
#include "metrics/table.h"

namespace hsmux::metrics {

// A kind of operation that is counted by itself.
struct OperationKind {
  std::string operation, algorithm; // "sign", "ecdsa-p256-sha256"
};

class Collector {
public:
  explicit Collector(std::vector<OperationKind> kinds);

  // As an EventSink.
  void record(const Event& event);

  // What is rare is counted per slot, by all threads together.
  enum class Rare : std::uint8_t { kLost, kPinLatched, kKeyFind, kUnusual, kOverdue, kWrongResult };
  static constexpr std::size_t kRares = 6;
  struct RareSums {
    std::array<std::uint64_t, kRares> counts{};
    std::array<std::uint64_t, kSuccess.size()> logins{}, opens{};
    std::array<std::uint64_t, kCanaryResults.size()> canaries{};
    Outcomes discards{}, retries{};
  };
  [[nodiscard]] RareSums rare_sums(std::string_view slot) const;
  [[nodiscard]] Cells::SlotSums slot_sums(std::string_view slot) const;
  [[nodiscard]] Cells::RequestSums request_sums() const { return cells_.request_sums(); }
  [[nodiscard]] const std::vector<OperationKind>& kinds() const { return kinds_; }
  [[nodiscard]] std::vector<RecentError> recent_errors() const { return recent_.list(); }

private:
  struct SlotCounts {
    std::array<std::atomic<std::uint64_t>, kRares> counts{};
    std::array<std::atomic<std::uint64_t>, kSuccess.size()> logins{}, opens{};
    std::array<std::atomic<std::uint64_t>, kCanaryResults.size()> canaries{};
    std::array<std::atomic<std::uint64_t>, kOutcomes.size()> discards{}, retries{};
  };
  [[nodiscard]] std::optional<std::size_t> find_slot(std::string_view name) const;
  std::optional<std::size_t> slot_of(std::string_view name); // made when it is new
  [[nodiscard]] std::optional<std::size_t> kind_of(const Event& event) const;
  void record_rare(const Event& event);

  const std::vector<OperationKind> kinds_;
  Cells cells_;
  RecentErrors recent_;
  // Slots in the order of their first event. Entries below slots_count_ never change.
  std::mutex slots_mutex_; // of who adds one
  std::array<std::string, kSlotsMax> slot_names_;
  std::array<SlotCounts, kSlotsMax> slot_counts_;
  std::atomic<std::size_t> slots_count_{0};
};

} // namespace hsmux::metrics
