// Retries are a share of the requests: where all of them fail, repeating them would only multiply the load.
// Thread-safe; a request that needs no retry costs one relaxed load.
#pragma once

#include <atomic>
#include <cstdint>

namespace hsmux {

class RetryBudget {
public:
  // Full at the start and at most: more than there are sessions that can be lost at once in all but the largest
  // set-ups.
  static constexpr std::int64_t kRetriesMax = 2000;
  // Each request that succeeds puts back a fifth of a retry.
  static constexpr std::int64_t kUnits = 5;

  // May there be one more retry? Takes it.
  bool take() {
    if (units_.fetch_sub(kUnits, std::memory_order_relaxed) >= kUnits) return true;
    units_.fetch_add(kUnits, std::memory_order_relaxed);
    return false;
  }
  void put_back() {
    if (units_.load(std::memory_order_relaxed) < kRetriesMax * kUnits) [[unlikely]]
      units_.fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::int64_t left() const { return units_.load(std::memory_order_relaxed) / kUnits; }

private:
  alignas(64) std::atomic<std::int64_t> units_{kRetriesMax * kUnits};
};

} // namespace hsmux
