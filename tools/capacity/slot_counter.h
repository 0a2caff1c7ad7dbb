// Counts from the engine's events: what each slot has done, and how long logins and the opening of sessions took.
// Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/events.h"
#include "tools/capacity/histogram.h"

namespace hsmux::capacity {

class SlotCounter {
public:
  explicit SlotCounter(std::vector<std::string> names) : names_(std::move(names)) {
    for (std::size_t i = 0; i < names_.size(); ++i) done_.push_back(std::make_unique<std::atomic<std::uint64_t>>(0));
  }

  void record(const Event& event) {
    switch (event.kind) {
    case EventKind::kOperation:
      if (event.rv != 0) return;
      for (std::size_t i = 0; i < names_.size(); ++i) {
        if (names_[i] == event.slot) done_[i]->fetch_add(1, std::memory_order_relaxed);
      }
      return;
    case EventKind::kLogin: return add(logins_, event);
    case EventKind::kSessionOpened: return add(opened_, event);
    case EventKind::kRetry: retries_.fetch_add(1, std::memory_order_relaxed); return;
    default: return;
    }
  }

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] std::vector<std::uint64_t> done() const {
    std::vector<std::uint64_t> result;
    for (const auto& count : done_) result.push_back(count->load(std::memory_order_relaxed));
    return result;
  }
  [[nodiscard]] std::uint64_t retries() const { return retries_.load(std::memory_order_relaxed); }
  [[nodiscard]] Histogram logins() const { return copy(logins_); }
  [[nodiscard]] Histogram opened() const { return copy(opened_); }

private:
  void add(Histogram& histogram, const Event& event) {
    if (event.rv != 0 || event.duration.count() <= 0) return;
    const std::lock_guard lock(mutex_);
    histogram.record(event.duration.count());
  }
  Histogram copy(const Histogram& histogram) const {
    const std::lock_guard lock(mutex_);
    return histogram;
  }

  const std::vector<std::string> names_;
  std::vector<std::unique_ptr<std::atomic<std::uint64_t>>> done_;
  std::atomic<std::uint64_t> retries_{0};
  mutable std::mutex mutex_; // guards the histograms
  Histogram logins_, opened_;
};

} // namespace hsmux::capacity
