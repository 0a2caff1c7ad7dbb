// The choice of slot, and all waiting: one queue that knows each waiter's eligible slots, its deadline and its order.
// Thread-safe; never calls the module.
#pragma once

#include <array>
#include <atomic>
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

// What the choice of slot looks at.
struct SlotLoad {
  std::uint32_t in_flight = 0;
  Duration service_time{}; // recent, per operation
  double weight = 1.0;
};
// Expected cost of one more request: (in flight + 1) × service time ÷ weight.
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
  // kOverloaded (kWaitersMax wait), kCredentials or kUnavailable when no eligible slot can come back by itself,
  // kClosed.
  Result<RoutedLease> lease(SlotSet eligible, Deadline deadline);
  // `operations` tells whether the time since the lease is a sample of the slot's service time.
  void finish(RoutedLease lease, CallStatus status, bool operations);

  // A session of `slot` may be free, or the slot has given up.
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
  };

  std::optional<RoutedLease> try_now(SlotSet eligible);
  std::optional<RoutedLease> try_slot(std::size_t slot);
  bool must_queue(SlotSet eligible, TimePoint now);
  Result<RoutedLease> wait(SlotSet eligible, Deadline deadline, TimePoint now);
  void serve(std::size_t slot); // with mutex_ held
  std::optional<Error> hopeless(SlotSet eligible) const;
  Error timed_out(SlotSet eligible) const;

  std::vector<Slot*> slots_;
  std::array<Load, kSlotsMax> loads_{};
  std::atomic<std::size_t> waiting_{0};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::list<Waiter*> waiters_; // oldest first; guarded by mutex_, as are the waiters' fields
};

} // namespace hsmux
