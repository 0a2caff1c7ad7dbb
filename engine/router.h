// The choice of slot, and all waiting: one queue that knows each waiter's eligible slots, its deadline and its order.
// Thread-safe; never calls the module.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <vector>

#include "slots/deadline.h"
#include "slots/slot.h"

namespace hsmux {

// A set of slots by their number in the configuration.
using SlotSet = std::uint64_t;
inline constexpr std::size_t kSlotsMax = 64;
constexpr SlotSet slot_bit(std::size_t slot) { return SlotSet{1} << slot; }
template <class Visit> void for_each_slot(SlotSet set, Visit visit) {
  for (; set != 0; set &= set - 1) visit(static_cast<std::size_t>(std::countr_zero(set)));
}

// What the choice of slot looks at.
struct SlotLoad {
  std::uint32_t in_flight = 0;
  Duration service_time{}; // recent, per operation
  double weight = 1.0;
  Duration age{}; // since the service time was last measured
};
// A slot that was slow gets no requests and so no new measurement: an estimate this many times older than itself is
// worth nothing any more.
inline constexpr int kEstimateAgeMax = 16;
// Expected cost of one more request: (in flight + 1) × service time ÷ weight. Nothing for an idle slot whose estimate
// is too old: one request finds out what it does now.
double load_of(const SlotLoad& load);
// The less loaded of two different slots of `eligible` (not empty) picked by `random`; pure.
std::size_t choose_slot(SlotSet eligible, const std::array<SlotLoad, kSlotsMax>& loads, std::uint64_t random);

struct RoutedLease {
  std::size_t slot;
  Lease lease;
  TimePoint since;
};

class Router {
public:
  // A newcomer may take a free session until the oldest waiter has waited this long; from then it is first in, first
  // out.
  static constexpr Duration kBarging = std::chrono::microseconds(500);
  static constexpr std::size_t kWaitersMax = 100'000;

  // The slots are added once, before the first request; they must outlive the router's use.
  void add(Slot& slot) { slots_.push_back(&slot); }

  // A session of one of `eligible`, as soon as there is one. Errors: kTimeout (says what each slot was doing),
  // kOverloaded (kWaitersMax wait), kCredentials or kUnavailable when no eligible slot can come back by itself (or,
  // with kWhileReady, when none is ready), kClosed.
  enum class Wait : std::uint8_t { kUntilBack, kWhileReady };
  Result<RoutedLease> lease(SlotSet eligible, Deadline deadline, Wait wait = Wait::kUntilBack);
  // `operations` tells whether the time since the lease is a sample of the slot's service time.
  void finish(RoutedLease lease, CallStatus status, bool operations);

  // A session of `slot` may be free, or the slot is lost.
  void capacity_freed(std::size_t slot);
  // Every waiter ends with kClosed, and so does every later lease().
  void close();

  [[nodiscard]] std::uint32_t leased() const; // over all slots
  [[nodiscard]] SlotSet all() const { return slots_.size() == kSlotsMax ? ~SlotSet{0} : slot_bit(slots_.size()) - 1; }

private:
  struct Waiter {
    SlotSet eligible;
    TimePoint since;
    std::condition_variable changed{};
    std::optional<RoutedLease> granted{};
  };
  struct Load {
    std::atomic<std::uint32_t> in_flight{0};
    std::atomic<Duration::rep> service_time{1};
    std::atomic<Duration::rep> measured_at{0}; // since the clock's epoch
  };

  std::optional<RoutedLease> try_now(SlotSet eligible, TimePoint now);
  std::optional<RoutedLease> try_slot(std::size_t slot);
  bool must_queue(SlotSet eligible, TimePoint now);
  Result<RoutedLease> queue(SlotSet eligible, Deadline deadline, Wait wait, TimePoint now);
  void serve(std::size_t slot); // with mutex_ held
  std::optional<Error> hopeless(SlotSet eligible, Wait wait) const;
  Error timed_out(SlotSet eligible) const;

  std::vector<Slot*> slots_;
  std::array<Load, kSlotsMax> loads_{};
  std::atomic<std::size_t> waiting_{0};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::list<Waiter*> waiters_; // oldest first; guarded by mutex_, as are the waiters' fields
};

} // namespace hsmux
