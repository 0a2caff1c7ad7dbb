#include "engine/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

namespace hsmux {
namespace {

// For the choice of slot only: SplitMix64, one step.
std::uint64_t random_bits() {
  thread_local std::uint64_t state = std::random_device{}();
  std::uint64_t bits = state += 0x9e3779b97f4a7c15;
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return bits ^ bits >> 31;
}

// The word of Traffic::in_flight.
constexpr int kCostBits = 48;
constexpr std::uint64_t kOneRequest = std::uint64_t{1} << kCostBits;
constexpr Duration::rep kCostMax = 60'000'000'000; // so that the sum of 4096 of them fits
constexpr std::uint32_t count_of(std::uint64_t in_flight) { return static_cast<std::uint32_t>(in_flight >> kCostBits); }
constexpr Duration cost_of(std::uint64_t in_flight) {
  return Duration(static_cast<Duration::rep>(in_flight & (kOneRequest - 1)));
}

} // namespace

// One who waits. On the stack of its thread.
struct Router::Waiter {
  SlotSet eligible;
  WorkClass work;
  TimePoint since;
  Waiter *older = nullptr, *newer = nullptr;
  std::optional<RoutedLease> granted{};
  Parker parker{};
};

// Those to be woken once the mutex is free.
struct Router::Wakes {
  std::array<const Parker::Word*, 16> words;
  std::size_t count = 0;

  [[nodiscard]] bool full() const { return count == words.size(); }
  void add(const Parker::Word* word) { words.at(count++) = word; }
  void wake() {
    for (; count > 0; --count) Parker::wake(words.at(count - 1));
  }
};

Router::~Router() = default;

void Router::add(Slot& slot, std::uint32_t concurrency_min, std::uint32_t concurrency_max) {
  slots_.push_back(&slot);
  traffic_.push_back(std::make_unique<Traffic>(concurrency_min, concurrency_max));
}

// --- the choice ---

SlotLoad Router::load(std::size_t slot, WorkClass work, TimePoint now) const {
  const Traffic& traffic = *traffic_[slot];
  const std::uint64_t in_flight = traffic.in_flight.load(std::memory_order_relaxed);
  const ServiceTime& time = traffic.service_times.at(work);
  return {.backlog = cost_of(in_flight),
          .service_time = time.estimate(),
          .parallelism = traffic.parallelism.estimate(),
          .weight = slots_[slot]->options().weight,
          .unknown = count_of(in_flight) == 0 && time.outdated(now)};
}

std::optional<RoutedLease> Router::try_slot(std::size_t slot, WorkClass work, TimePoint now) {
  Traffic& traffic = *traffic_[slot];
  // The limit is a soft one: requests that look at the same moment may exceed it by each other.
  if (count_of(traffic.in_flight) >= traffic.limit.load(std::memory_order_relaxed)) return std::nullopt;
  std::optional<Lease> lease = slots_[slot]->try_acquire();
  if (!lease) return std::nullopt;
  // At least 1 ns: while nothing is measured yet, the number in flight decides.
  const Duration::rep cost = std::clamp<Duration::rep>(traffic.service_times.at(work).estimate().count(), 1, kCostMax);
  const std::uint64_t before = traffic.in_flight.fetch_add(kOneRequest + static_cast<std::uint64_t>(cost));
  return RoutedLease{slot, std::move(*lease), now, work, cost, cost_of(before) + Duration(cost)};
}

std::optional<RoutedLease> Router::try_now(SlotSet eligible, WorkClass work, TimePoint now) {
  if (std::has_single_bit(eligible)) return try_slot(static_cast<std::size_t>(std::countr_zero(eligible)), work, now);
  while (eligible != 0) {
    const Candidates candidates = two_of(eligible, random_bits());
    const bool second = load_of(load(candidates.second, work, now)) < load_of(load(candidates.first, work, now));
    const std::size_t slot = second ? candidates.second : candidates.first;
    if (auto lease = try_slot(slot, work, now)) return lease;
    eligible &= ~slot_bit(slot);
  }
  return std::nullopt;
}

Result<RoutedLease> Router::lease(SlotSet eligible, Deadline deadline, WorkClass work, Wait wait) {
  const TimePoint now = MonotonicClock::now();
  if (closed_.load(std::memory_order_relaxed)) return fail(ErrorKind::kClosed, "the engine is closed");
  if (eligible == 0) return fail(ErrorKind::kInternal, "a request without any eligible slot reached the router");
  if (deadline.passed(now)) {
    return fail(ErrorKind::kTimeout, "the deadline had passed before the request could start", Retry::kLater);
  }
  if (!must_queue(eligible, now)) {
    if (auto lease = try_now(eligible, work, now)) return std::move(*lease);
  }
  if (auto error = hopeless(eligible, wait)) return fail(std::move(*error));
  return queue(eligible, deadline, work, wait, now);
}

void Router::finish(RoutedLease lease, CallStatus status, bool sample) {
  Traffic& traffic = *traffic_[lease.slot];
  const TimePoint now = MonotonicClock::now();
  if (sample) {
    traffic.service_times.at(lease.work).add(now - lease.since, now);
    traffic.parallelism.add(lease.backlog, now - lease.since);
  }
  traffic.completed.fetch_add(1, std::memory_order_relaxed);
  // Before the session is back: who is served next must find the room.
  traffic.in_flight.fetch_sub(kOneRequest + static_cast<std::uint64_t>(lease.cost));
  slots_[lease.slot]->finish(std::move(lease.lease), status);
  const Duration::rep ends = traffic.window_ends.load(std::memory_order_relaxed);
  if (now.time_since_epoch().count() >= ends) [[unlikely]]
    end_window(lease.slot, now);
}

void Router::end_window(std::size_t slot, TimePoint now) {
  Traffic& traffic = *traffic_[slot];
  bool more = false;
  {
    const std::unique_lock lock(traffic.window_mutex, std::try_to_lock);
    if (!lock) return;
    const Duration time = now - traffic.window_began;
    const std::uint64_t completed = traffic.completed;
    if (traffic.window_began != TimePoint{}) {
      if (time < Concurrency::kWindow || completed < Concurrency::kWindowCompletions) return;
      const std::uint32_t before = traffic.concurrency.limit();
      // Nearly all that ended made way for one who waited.
      const bool saturated = traffic.handed_over * 10 >= completed * 9;
      const std::uint32_t limit =
          traffic.concurrency.next({.time = time, .completed = completed, .saturated = saturated});
      traffic.limit = limit;
      more = limit > before;
    }
    traffic.completed = 0;
    traffic.handed_over = 0;
    traffic.window_began = now;
    traffic.window_ends = (now + Concurrency::kWindow).time_since_epoch().count();
  }
  if (more) capacity_freed(slot);
}

// --- waiting ---

void Router::enqueue(Waiter& waiter) {
  waiter.older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = &waiter;
  newest_ = &waiter;
  waiting_.fetch_add(1);
}

void Router::take_off(Waiter& waiter) {
  (waiter.older == nullptr ? oldest_ : waiter.older->newer) = waiter.newer;
  (waiter.newer == nullptr ? newest_ : waiter.newer->older) = waiter.older;
  waiting_.fetch_sub(1);
}

bool Router::must_queue(SlotSet eligible, TimePoint now) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return false;
  const std::lock_guard lock(mutex_);
  for (const Waiter* waiter = oldest_; waiter != nullptr; waiter = waiter->newer) {
    if ((waiter->eligible & eligible) != 0) return now - waiter->since > kBarging;
  }
  return false;
}

Result<RoutedLease> Router::queue(SlotSet eligible, Deadline deadline, WorkClass work, Wait wait, TimePoint now) {
  Waiter self{.eligible = eligible, .work = work, .since = now};
  std::unique_lock lock(mutex_);
  if (waiting_.load(std::memory_order_relaxed) >= kWaitersMax) {
    return fail(ErrorKind::kOverloaded, fmt::format("{} requests wait already", kWaitersMax), Retry::kLater);
  }
  // From here on a freed session sees us; one freed just before is found by serving the queue now.
  enqueue(self);
  lock.unlock();
  for_each_slot(eligible, [&](std::size_t slot) { serve_and_wake(slot); });

  // Woken when granted, when the engine closes, and when a slot is lost.
  bool in_time = true;
  lock.lock();
  while (!self.granted && !closed_ && in_time && !hopeless(eligible, wait)) {
    lock.unlock();
    in_time = self.parker.wait_until(deadline.at());
    lock.lock();
  }
  if (self.granted) return std::move(*self.granted); // serve() took us off the queue
  take_off(self);
  lock.unlock();
  if (closed_) return fail(ErrorKind::kClosed, "the engine was closed while the request waited");
  if (auto error = hopeless(eligible, wait)) return fail(std::move(*error));
  return fail(timed_out(eligible));
}

// With mutex_ held.
void Router::serve(std::size_t slot, TimePoint now, Wakes& wakes) {
  for (Waiter* waiter = oldest_; waiter != nullptr && !wakes.full();) {
    Waiter& next = *std::exchange(waiter, waiter->newer);
    if ((next.eligible & slot_bit(slot)) == 0) continue;
    std::optional<RoutedLease> lease = try_slot(slot, next.work, now);
    if (!lease) return; // the failed try also tells the pool that one more session is wanted
    traffic_[slot]->handed_over.fetch_add(1, std::memory_order_relaxed);
    take_off(next);
    next.granted.emplace(std::move(*lease));
    wakes.add(next.parker.set()); // it may return from now on
  }
}

void Router::serve_and_wake(std::size_t slot) {
  Wakes wakes;
  bool again = true;
  while (again) {
    {
      const std::lock_guard lock(mutex_);
      serve(slot, MonotonicClock::now(), wakes);
    }
    again = wakes.full();
    wakes.wake();
  }
}

void Router::capacity_freed(std::size_t slot) {
  if (waiting_.load() == 0 || slot >= slots_.size()) return; // nobody, or still being added
  serve_and_wake(slot);
  if (slots_[slot]->ready()) return;
  // Those who wait for it in vain go.
  const std::lock_guard lock(mutex_);
  for (Waiter* waiter = oldest_; waiter != nullptr; waiter = waiter->newer) Parker::wake(waiter->parker.set());
}

void Router::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (Waiter* waiter = oldest_; waiter != nullptr; waiter = waiter->newer) Parker::wake(waiter->parker.set());
}

// --- for people ---

std::uint32_t Router::leased() const {
  std::uint32_t sum = 0;
  for (const auto& traffic : traffic_) sum += count_of(traffic->in_flight);
  return sum;
}

SlotTraffic Router::traffic(std::size_t slot) const {
  const Traffic& traffic = *traffic_[slot];
  return {.in_flight = count_of(traffic.in_flight), .concurrency = traffic.limit};
}

// Waiting helps only while some eligible slot is ready, or tries to become so and we wait for that.
std::optional<Error> Router::hopeless(SlotSet eligible, Wait wait) const {
  std::optional<Error> why;
  bool hope = false;
  for_each_slot(eligible, [&](std::size_t slot) {
    const SlotState state = slots_[slot]->state();
    const bool may_come_back = state == SlotState::kReady || state == SlotState::kConnecting;
    if (wait == Wait::kUntilBack ? may_come_back : slots_[slot]->ready()) hope = true;
    // Only a slot that has given up tells why: the last error of another one may be long over.
    if (hope || may_come_back) return;
    if (std::optional<Error> last = slots_[slot]->stats().last_error) why = std::move(last);
  });
  if (hope) return std::nullopt;
  return why ? why : make_error(ErrorKind::kUnavailable, "no slot that could serve this is in use", Retry::kLater);
}

Error Router::timed_out(SlotSet eligible) const {
  std::string states;
  for_each_slot(eligible, [&](std::size_t slot) {
    const SlotStats stats = slots_[slot]->stats();
    states += fmt::format("{}{}: {}, {} of {} sessions in use", states.empty() ? "" : "; ", slots_[slot]->name(),
                          slot_state_name(stats.state), stats.sessions.leased, stats.sessions.target_max);
    if (stats.last_error && (!slots_[slot]->ready() || stats.sessions.idle + stats.sessions.leased == 0)) {
      states += fmt::format(", last error: {}", stats.last_error->text());
    }
  });
  return make_error(ErrorKind::kTimeout, fmt::format("no session became free before the deadline ({})", states),
                    Retry::kLater);
}

} // namespace hsmux
