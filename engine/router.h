// The choice of slot, and all waiting: one queue that knows each waiter's eligible slots, its deadline and its order.
// Thread-safe; never calls the module. docs/session-pool.md has the protocol of waiting.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/concurrency.h"
#include "engine/parker.h"
#include "engine/slot_load.h"
#include "slots/slot.h"

namespace hsmux {

// Requests that take about as long on one slot: the number of their algorithm, or kOtherWork, which is not measured.
using WorkClass = std::uint8_t;
inline constexpr std::size_t kWorkClasses = 32;
inline constexpr WorkClass kOtherWork = kWorkClasses - 1;

struct RoutedLease {
  std::size_t slot;
  Lease lease;
  TimePoint since;
  WorkClass work;
  Duration::rep cost; // ns of backlog that it stands for
  Duration backlog;   // of the slot when it began, this one included
};

// What a slot was doing lately, for people.
struct SlotTraffic {
  std::uint32_t in_flight = 0;
  std::uint32_t concurrency = 0; // requests given to the slot at once, at most; adapts (engine/concurrency.h)
};

class Router {
public:
  // A newcomer may take a free session until the oldest waiter has waited this long; from then it is first in, first
  // out.
  static constexpr Duration kBarging = std::chrono::microseconds(500);
  static constexpr std::size_t kWaitersMax = 100'000;

  Router() = default;
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // The slots are added once, before the first request; they must outlive the router's use. `concurrency_min` and
  // `_max`: bounds of the requests given to the slot at once.
  void add(Slot& slot, std::uint32_t concurrency_min, std::uint32_t concurrency_max);

  // A session of one of `eligible`, as soon as there is one. Errors: kTimeout (says what each slot was doing),
  // kOverloaded (kWaitersMax wait), kCredentials or kUnavailable when no eligible slot can come back by itself (or,
  // with kWhileReady, when none is ready), kClosed.
  enum class Wait : std::uint8_t { kUntilBack, kWhileReady };
  Result<RoutedLease> lease(SlotSet eligible, Deadline deadline, WorkClass work = kOtherWork,
                            Wait wait = Wait::kUntilBack);
  // `sample`: the time since the lease is one of the slot's service time for this class of work.
  void finish(RoutedLease lease, CallStatus status, bool sample);

  // A session of `slot` may be free, or the slot is lost.
  void capacity_freed(std::size_t slot);
  // Every waiter ends with kClosed, and so does every later lease().
  void close();

  [[nodiscard]] std::uint32_t leased() const; // over all slots
  [[nodiscard]] SlotTraffic traffic(std::size_t slot) const;
  [[nodiscard]] SlotSet all() const { return slots_.size() == kSlotsMax ? ~SlotSet{0} : slot_bit(slots_.size()) - 1; }

private:
  struct Waiter;
  struct Wakes;
  // Of one slot. Its own cache lines: every request writes here.
  struct alignas(64) Traffic {
    Traffic(std::uint32_t concurrency_min, std::uint32_t concurrency_max)
        : limit(concurrency_max), concurrency(concurrency_min, concurrency_max) {}

    // What is in flight in one word, so that one write changes both: how many (16 bits), and the sum of their costs.
    std::atomic<std::uint64_t> in_flight{0};
    std::atomic<std::uint32_t> limit;
    std::atomic<std::uint64_t> completed{0}, handed_over{0}; // since the window began
    std::atomic<Duration::rep> window_ends{0};               // since the clock's epoch
    std::array<ServiceTime, kWorkClasses> service_times{};
    Parallelism parallelism;

    std::mutex window_mutex; // guards the next two
    TimePoint window_began{};
    Concurrency concurrency;
  };

  std::optional<RoutedLease> try_now(SlotSet eligible, WorkClass work, TimePoint now);
  std::optional<RoutedLease> try_slot(std::size_t slot, WorkClass work, TimePoint now);
  [[nodiscard]] SlotLoad load(std::size_t slot, WorkClass work, TimePoint now) const;
  bool must_queue(SlotSet eligible, TimePoint now);
  Result<RoutedLease> queue(SlotSet eligible, Deadline deadline, WorkClass work, Wait wait, TimePoint now);
  void serve(std::size_t slot, TimePoint now, Wakes& wakes);
  void serve_and_wake(std::size_t slot);
  void end_window(std::size_t slot, TimePoint now);
  void enqueue(Waiter& waiter);
  void take_off(Waiter& waiter);
  [[nodiscard]] std::optional<Error> hopeless(SlotSet eligible, Wait wait) const;
  [[nodiscard]] Error timed_out(SlotSet eligible) const;

  std::vector<Slot*> slots_;
  std::vector<std::unique_ptr<Traffic>> traffic_; // by slot
  std::atomic<bool> closed_{false};
  alignas(64) std::atomic<std::size_t> waiting_{0};
  std::mutex mutex_; // guards the queue and the waiters' fields
  Waiter *oldest_ = nullptr, *newest_ = nullptr;
};

} // namespace hsmux
