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
#include "engine/fair_queue.h"
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
  TimePoint asked; // for; since then it waited
  TimePoint since;
  WorkClass work;
  Duration::rep cost;       // ns of backlog that it stands for
  Duration backlog;         // of the slot when it began, this one included
  bool written_off = false; // by Router::write_off
};

// What a slot was doing lately, for people.
struct SlotTraffic {
  std::uint32_t in_flight = 0;
  std::uint32_t concurrency = 0; // requests given to the slot at once, at most; adapts (engine/concurrency.h)
  std::uint64_t overdue = 0;     // requests given up on so far, because the module did not return in time
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

  enum class Wait : std::uint8_t { kUntilBack, kWhileReady };
  struct Demand {
    SlotSet eligible = 0;
    Deadline deadline{TimePoint::max()};
    WorkClass work = kOtherWork;
    FlowId flow = 0; // whose share of the slots it takes
    Wait wait = Wait::kUntilBack;
  };
  // One who waits without a thread. In the queue between lease_or_wait() and served() or a successful withdraw().
  class AsyncWaiter;

  // A session of one of `eligible`, as soon as there is one. Errors: kTimeout (says what each slot was doing),
  // kOverloaded (kWaitersMax wait, or what waits already takes longer than the deadline allows), kCredentials or
  // kUnavailable when no eligible slot can come back by itself (or, with kWhileReady, when none is ready), kClosed.
  Result<RoutedLease> lease(const Demand& demand);
  // The same without waiting: nullopt, and from then on, even before this returns, `waiter` may be served. It must live
  // until this has returned, too.
  Result<std::optional<RoutedLease>> lease_or_wait(const Demand& demand, AsyncWaiter& waiter);
  // True: it waited, waits no more, and will not be served.
  bool withdraw(AsyncWaiter& waiter);
  // Serves kTimeout to those without a thread whose deadline has passed; when to look again.
  TimePoint expire(TimePoint now);

  // `sample`: the time since the lease is one of the slot's service time for this class of work.
  void finish(RoutedLease lease, CallStatus status, bool sample);
  // The module has not returned in time, and nobody waits for it any more: neither slot nor pool counts the session as
  // theirs until finish(). Not while another thread uses `lease`. capacity_freed() is the caller's to call. True: it
  // counts against the slot, which the caller is to tell (Slot::overdue).
  bool write_off(RoutedLease& lease);

  // A session of `slot` may be free, or the slot is lost, or its health has changed.
  void capacity_freed(std::size_t slot);
  // Every waiter ends with kClosed, and so does every later lease().
  void close();

  [[nodiscard]] std::size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  [[nodiscard]] SlotTraffic traffic(std::size_t slot) const;
  // How long this class of work may take on the slot: about 99 of 100 were faster; 0 while nothing is known.
  [[nodiscard]] Duration slow(std::size_t slot, WorkClass work) const;
  [[nodiscard]] SlotSet all() const { return slots_.size() == kSlotsMax ? ~SlotSet{0} : slot_bit(slots_.size()) - 1; }

private:
  struct Waiter;
  struct ThreadWaiter;
  struct Wakes;
  // Of one slot. Its own cache lines: every request writes here.
  struct alignas(64) Traffic {
    Traffic(std::uint32_t concurrency_min, std::uint32_t concurrency_max)
        : limit(concurrency_max), concurrency(concurrency_min, concurrency_max) {}

    // What is in flight in one word, so that one write changes both: how many (16 bits), and the sum of their costs.
    std::atomic<std::uint64_t> in_flight{0};
    std::atomic<std::uint32_t> limit;
    std::atomic<std::uint64_t> completed{0}, handed_over{0}; // since the window began
    std::atomic<Duration::rep> in_system{0};                 // of those that completed
    std::atomic<Duration::rep> window_ends{0};               // since the clock's epoch
    std::array<ServiceTime, kWorkClasses> service_times{};
    Parallelism parallelism;

    std::atomic<std::uint64_t> overdue{0};
    std::atomic<bool> back{false}; // it is probing

    std::mutex window_mutex; // guards the next two
    TimePoint window_began{};
    Concurrency concurrency;
  };

  [[nodiscard]] std::optional<Error> refusal(const Demand& demand, TimePoint now) const;
  std::optional<RoutedLease> try_now(const Demand& demand, TimePoint now);
  std::optional<RoutedLease> try_any(SlotSet slots, WorkClass work, TimePoint now);
  std::optional<RoutedLease> try_slot(std::size_t slot, WorkClass work, TimePoint now);
  [[nodiscard]] SlotSet preferred(SlotSet eligible) const;
  void take_back(Traffic& traffic, const RoutedLease& lease);
  void note_health(std::size_t slot);
  [[nodiscard]] SlotLoad load(std::size_t slot, WorkClass work, TimePoint now) const;
  [[nodiscard]] Duration cost_of(SlotSet eligible, WorkClass work, Duration unknown) const;
  bool must_queue(SlotSet eligible, TimePoint now);
  std::optional<Error> enqueue(Waiter& waiter, const Demand& demand, TimePoint now);
  void take_off(Waiter& waiter);
  void serve(std::size_t slot, TimePoint now, Wakes& wakes);
  void serve_and_wake(std::size_t slot);
  void refuse_async(Wakes& wakes, AsyncWaiter& waiter, Error error);
  void end_window(std::size_t slot, TimePoint now);
  [[nodiscard]] std::optional<Error> hopeless(SlotSet eligible, Wait wait) const;
  [[nodiscard]] Error timed_out(SlotSet eligible) const;

  std::vector<Slot*> slots_;
  std::atomic<std::size_t> added_{0};             // of slots_: keepers of slots that are being added call already
  std::vector<std::unique_ptr<Traffic>> traffic_; // by slot
  std::atomic<bool> closed_{false};
  std::atomic<SlotSet> unwell_{0}; // slots that are not healthy
  alignas(64) std::atomic<std::size_t> waiting_{0};
  mutable std::mutex mutex_; // guards the queue and the waiters' fields
  FairQueue queue_;
  TimePoint first_deadline_ = TimePoint::max(); // of those without a thread; may be too early
};

// What the queue knows of one who waits.
struct Router::Waiter : QueueEntry {
  WorkClass work = kOtherWork;
  Deadline deadline{TimePoint::max()};
  Wait wait = Wait::kUntilBack;
  std::optional<RoutedLease> granted{};
  ThreadWaiter* thread = nullptr; // or an AsyncWaiter
};

class Router::AsyncWaiter : public Waiter {
public:
  AsyncWaiter() = default;
  virtual ~AsyncWaiter() = default;
  AsyncWaiter(const AsyncWaiter&) = delete;
  AsyncWaiter& operator=(const AsyncWaiter&) = delete;

protected:
  friend class Router;
  // Once, on any thread, without a lock held: `granted` holds the lease, or `refused` says why there will be none.
  virtual void served() = 0;
  std::optional<Error> refused;

private:
  AsyncWaiter* next_ = nullptr; // in a list of those to be told
};

} // namespace hsmux
