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
constexpr Duration kCostLeast = std::chrono::microseconds(1);
// What a flow pays for work that was never measured: a flood of it is not to go first because nothing is known of it.
constexpr Duration kCostUnknown = std::chrono::milliseconds(1);
// What came back after it was given up on is a sample, too, else what takes longer than the first limit is never
// learned; but a call that hung says no more than this.
constexpr Duration kLateSampleMax = std::chrono::seconds(1);
constexpr std::uint32_t count_of(std::uint64_t in_flight) { return static_cast<std::uint32_t>(in_flight >> kCostBits); }
constexpr Duration backlog_of(std::uint64_t in_flight) {
  return Duration(static_cast<Duration::rep>(in_flight & (kOneRequest - 1)));
}

// The less loaded of two random slots. One of them that is out of the question is no choice: another one takes its
// place.
template <class LoadOf> std::size_t choose(SlotSet slots, LoadOf load_of) {
  const auto [first, second] = two_of(slots, random_bits());
  const double load_of_first = load_of(first), load_of_second = load_of(second);
  const std::size_t better = load_of_second < load_of_first ? second : first;
  const double load = std::min(load_of_first, load_of_second);
  const SlotSet others = slots & ~slot_bit(first) & ~slot_bit(second);
  if (others == 0 || std::max(load_of_first, load_of_second) <= 2 * load) return better;
  const std::size_t third = two_of(others, random_bits()).first;
  return load_of(third) < load ? third : better;
}

} // namespace

// One whose thread waits for it.
struct Router::ThreadWaiter : Waiter {
  Parker parker{};
};

// Those to be told once the mutex is free.
struct Router::Wakes {
  std::array<const Parker::Word*, 16> words;
  std::size_t count = 0;
  AsyncWaiter *first = nullptr, *last = nullptr;

  [[nodiscard]] bool full() const { return count == words.size(); }
  void add(const Parker::Word* word) { words.at(count++) = word; }
  void add(AsyncWaiter& waiter) {
    waiter.next_ = nullptr;
    (first == nullptr ? first : last->next_) = &waiter;
    last = &waiter;
  }
  void wake() {
    for (; count > 0; --count) Parker::wake(words.at(count - 1));
    while (first != nullptr) { // which may be gone once it is told
      AsyncWaiter& waiter = *std::exchange(first, first->next_);
      waiter.served();
    }
  }
};

Router::~Router() = default;

void Router::add(Slot& slot, std::uint32_t concurrency_min, std::uint32_t concurrency_max) {
  if (slots_.empty()) { // keepers of the slots before it read them meanwhile: they stay where they are
    slots_.reserve(kSlotsMax);
    traffic_.reserve(kSlotsMax);
  }
  slots_.push_back(&slot);
  traffic_.push_back(std::make_unique<Traffic>(concurrency_min, concurrency_max));
  added_.store(slots_.size(), std::memory_order_release);
  note_health(slots_.size() - 1);
}

void Router::note_health(std::size_t slot) {
  const SlotSet bit = slot_bit(slot);
  const bool back = slots_[slot]->health() == HealthState::kProbing;
  if (traffic_[slot]->back.load(std::memory_order_relaxed) != back && traffic_[slot]->back.exchange(back) != back &&
      back) {
    for (ServiceTime& time : traffic_[slot]->service_times) time.forget();
  }
  const auto stale = [&] { return (slots_[slot]->health() == HealthState::kHealthy) == ((unwell_.load() & bit) != 0); };
  // Again where it has changed meanwhile: the last of those who write leaves what is true.
  while (stale()) {
    if (slots_[slot]->health() == HealthState::kHealthy) {
      unwell_.fetch_and(~bit);
    } else {
      unwell_.fetch_or(bit);
    }
  }
}

// --- the choice ---

SlotLoad Router::load(std::size_t slot, WorkClass work, TimePoint now) const {
  const Traffic& traffic = *traffic_[slot];
  const std::uint64_t in_flight = traffic.in_flight.load(std::memory_order_relaxed);
  const ServiceTime& time = traffic.service_times.at(work);
  return {.backlog = backlog_of(in_flight),
          .service_time = time.estimate(),
          .alone = time.base(),
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
  const Duration::rep cost = std::clamp<Duration::rep>(traffic.service_times.at(work).base().count(), 1, kCostMax);
  const std::uint64_t before = traffic.in_flight.fetch_add(kOneRequest + static_cast<std::uint64_t>(cost));
  return RoutedLease{slot, std::move(*lease), now, now, work, cost, backlog_of(before) + Duration(cost)};
}

std::optional<RoutedLease> Router::try_any(SlotSet slots, WorkClass work, TimePoint now) {
  if (std::has_single_bit(slots)) return try_slot(static_cast<std::size_t>(std::countr_zero(slots)), work, now);
  while (slots != 0) {
    const std::size_t slot = choose(slots, [&](std::size_t each) { return load_of(load(each, work, now)); });
    if (auto lease = try_slot(slot, work, now)) return lease;
    slots &= ~slot_bit(slot);
  }
  return std::nullopt;
}

std::optional<RoutedLease> Router::try_now(const Demand& demand, TimePoint now) {
  if ((unwell_.load(std::memory_order_relaxed) & demand.eligible) == 0) [[likely]]
    return try_any(demand.eligible, demand.work, now);
  return try_any(preferred(demand.eligible), demand.work, now);
}

SlotSet Router::preferred(SlotSet eligible) const {
  return preferred_by_health(eligible, [this](std::size_t slot) {
    const Slot& each = *slots_[slot];
    return HealthView{.ready = each.ready(),
                      .state = each.health(),
                      .room = count_of(traffic_[slot]->in_flight) < each.in_flight_max()};
  });
}

Result<RoutedLease> Router::lease(const Demand& demand) {
  const TimePoint now = MonotonicClock::now();
  if (auto error = refusal(demand, now)) return fail(std::move(*error));
  if (!must_queue(demand.eligible, now)) {
    if (auto lease = try_now(demand, now)) return std::move(*lease);
  }
  if (auto error = hopeless(demand.eligible, demand.wait)) return fail(std::move(*error));
  ThreadWaiter self;
  self.thread = &self;
  if (auto error = enqueue(self, demand, now)) return fail(std::move(*error));

  // Woken when granted, when the engine closes, and when a slot is lost.
  bool in_time = true;
  std::unique_lock lock(mutex_);
  while (!self.granted && !closed_ && in_time && !hopeless(demand.eligible, demand.wait)) {
    lock.unlock();
    in_time = self.parker.wait_until(demand.deadline.at());
    lock.lock();
  }
  if (self.granted) return std::move(*self.granted); // serve() took us off the queue
  take_off(self);
  lock.unlock();
  if (closed_) return fail(ErrorKind::kClosed, "the engine was closed while the request waited");
  if (auto error = hopeless(demand.eligible, demand.wait)) return fail(std::move(*error));
  return fail(timed_out(demand.eligible));
}

Result<std::optional<RoutedLease>> Router::lease_or_wait(const Demand& demand, AsyncWaiter& waiter) {
  const TimePoint now = MonotonicClock::now();
  if (auto error = refusal(demand, now)) return fail(std::move(*error));
  if (!must_queue(demand.eligible, now)) {
    if (auto lease = try_now(demand, now)) return lease;
  }
  if (auto error = hopeless(demand.eligible, demand.wait)) return fail(std::move(*error));
  if (auto error = enqueue(waiter, demand, now)) return fail(std::move(*error));
  // What became hopeless just before it was in the queue, nobody tells it.
  if (auto error = hopeless(demand.eligible, demand.wait); error && withdraw(waiter)) return fail(std::move(*error));
  return std::optional<RoutedLease>();
}

std::optional<Error> Router::refusal(const Demand& demand, TimePoint now) const {
  if (closed_.load(std::memory_order_relaxed)) return make_error(ErrorKind::kClosed, "the engine is closed");
  if (demand.eligible == 0) {
    return make_error(ErrorKind::kInternal, "a request without any eligible slot reached the router");
  }
  if (!demand.deadline.passed(now)) return std::nullopt;
  return make_error(ErrorKind::kTimeout, "the deadline had passed before the request could start", Retry::kLater);
}

void Router::take_back(Traffic& traffic, const RoutedLease& lease) {
  traffic.in_flight.fetch_sub(kOneRequest + static_cast<std::uint64_t>(lease.cost));
}

void Router::finish(RoutedLease lease, CallStatus status, bool sample) {
  const std::size_t slot = lease.slot;
  Traffic& traffic = *traffic_[slot];
  const TimePoint now = MonotonicClock::now();
  if (lease.written_off) [[unlikely]] {
    if (sample) traffic.service_times.at(lease.work).add(std::min(now - lease.since, kLateSampleMax), now);
    return slots_[slot]->finish(std::move(lease.lease), status);
  }
  if (sample) {
    ServiceTime& time = traffic.service_times.at(lease.work);
    time.add(now - lease.since, now);
    traffic.parallelism.add(lease.backlog, now - lease.since, time.base());
  }
  traffic.completed.fetch_add(1, std::memory_order_relaxed);
  traffic.in_system.fetch_add((now - lease.asked).count(), std::memory_order_relaxed);
  // Before the session is back: who is served next must find the room.
  take_back(traffic, lease);
  slots_[slot]->finish(std::move(lease.lease), status);
  const Duration::rep ends = traffic.window_ends.load(std::memory_order_relaxed);
  if (now.time_since_epoch().count() >= ends) [[unlikely]]
    end_window(slot, now);
}

bool Router::write_off(RoutedLease& lease) {
  Traffic& traffic = *traffic_[lease.slot];
  lease.written_off = true;
  traffic.overdue.fetch_add(1, std::memory_order_relaxed);
  const TimePoint now = MonotonicClock::now();
  take_back(traffic, lease);
  slots_[lease.slot]->write_off(lease.lease);
  // Whose deadline left less time than the slot takes when it is well, says nothing about the slot.
  return now - lease.since >= 2 * traffic.service_times.at(lease.work).slow();
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
          traffic.concurrency.next({.time = time,
                                    .completed = completed,
                                    .in_system = Duration(traffic.in_system.load(std::memory_order_relaxed)),
                                    .saturated = saturated});
      traffic.limit = limit;
      more = limit > before;
    }
    traffic.completed = 0;
    traffic.in_system = 0;
    traffic.handed_over = 0;
    traffic.window_began = now;
    traffic.window_ends = (now + Concurrency::kWindow).time_since_epoch().count();
  }
  if (more) capacity_freed(slot);
}

// --- waiting ---

// About how long this work takes on one of the slots; `unknown` while nothing is measured.
Duration Router::cost_of(SlotSet eligible, WorkClass work, Duration unknown) const {
  Duration cost{};
  for_each_slot(eligible, [&](std::size_t slot) {
    const Duration here = traffic_[slot]->service_times.at(work).base();
    if (cost == Duration{} || (here > Duration{} && here < cost)) cost = here;
  });
  return cost == Duration{} ? unknown : std::clamp(cost, kCostLeast, Duration(kCostMax));
}

// Enters the queue and serves it: from here on a freed session sees the waiter, and one freed just before is found now.
std::optional<Error> Router::enqueue(Waiter& waiter, const Demand& demand, TimePoint now) {
  waiter.eligible = demand.eligible;
  waiter.flow = demand.flow;
  waiter.cost = cost_of(demand.eligible, demand.work, kCostLeast); // nothing is refused for what is not known
  waiter.since = now;
  waiter.work = demand.work;
  waiter.deadline = demand.deadline;
  waiter.wait = demand.wait;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return make_error(ErrorKind::kClosed, "the engine is closed");
    if (queue_.size() >= kWaitersMax) {
      return make_error(ErrorKind::kOverloaded, fmt::format("{} requests wait already", kWaitersMax), Retry::kLater);
    }
    // Half of what is waiting of the same flow: refused is only what is in vain for sure.
    double at_once = 0;
    for_each_slot(demand.eligible, [&](std::size_t slot) { at_once += traffic_[slot]->parallelism.estimate(); });
    const double left = static_cast<double>(demand.deadline.left(now).count());
    const double before = static_cast<double>(queue_.waiting_cost(demand.flow).count()) / at_once;
    if (before / 2 > left) {
      return make_error(ErrorKind::kOverloaded,
                        fmt::format("what waits already with this key takes about {:.0f} ms, and the deadline is in "
                                    "{:.0f} ms",
                                    before / 1e6, left / 1e6),
                        Retry::kLater);
    }
    queue_.push(waiter);
    waiting_.fetch_add(1);
    if (waiter.thread == nullptr) first_deadline_ = std::min(first_deadline_, demand.deadline.at());
  }
  for_each_slot(demand.eligible, [&](std::size_t slot) { serve_and_wake(slot); });
  return std::nullopt;
}

void Router::take_off(Waiter& waiter) {
  queue_.take_off(waiter);
  waiting_.fetch_sub(1);
}

bool Router::must_queue(SlotSet eligible, TimePoint now) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return false;
  const std::lock_guard lock(mutex_);
  const std::optional<TimePoint> since = queue_.oldest(eligible);
  return since && now - *since > kBarging;
}

// With mutex_ held.
void Router::serve(std::size_t slot, TimePoint now, Wakes& wakes) {
  while (!wakes.full()) {
    QueueEntry* next = queue_.next(slot);
    if (next == nullptr) return;
    Waiter& waiter = static_cast<Waiter&>(*next);
    if ((unwell_.load(std::memory_order_relaxed) & waiter.eligible) != 0 &&
        (preferred(waiter.eligible) & slot_bit(slot)) == 0) {
      return;
    }
    std::optional<RoutedLease> lease = try_slot(slot, waiter.work, now);
    if (!lease) return; // the failed try also tells the pool that one more session is wanted
    traffic_[slot]->handed_over.fetch_add(1, std::memory_order_relaxed);
    queue_.serve(waiter, cost_of(waiter.eligible, waiter.work, kCostUnknown));
    waiting_.fetch_sub(1);
    waiter.granted.emplace(std::move(*lease)).asked = waiter.since;
    if (waiter.thread != nullptr) {
      wakes.add(waiter.thread->parker.set()); // it may return from now on
    } else {
      wakes.add(static_cast<AsyncWaiter&>(waiter));
    }
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

// With mutex_ held.
void Router::refuse_async(Wakes& wakes, AsyncWaiter& waiter, Error error) {
  take_off(waiter);
  waiter.refused = std::move(error);
  wakes.add(waiter);
}

void Router::capacity_freed(std::size_t slot) {
  if (slot >= added_.load(std::memory_order_acquire)) return; // still being added
  note_health(slot);
  if (waiting_.load() == 0) return;
  serve_and_wake(slot);
  if (slots_[slot]->ready() && slots_[slot]->health() == HealthState::kHealthy) return;
  // Those who wait for it in vain go.
  Wakes wakes;
  {
    const std::lock_guard lock(mutex_);
    queue_.for_each([&](QueueEntry& entry) {
      Waiter& waiter = static_cast<Waiter&>(entry);
      if (waiter.thread != nullptr) return Parker::wake(waiter.thread->parker.set());
      if (auto error = hopeless(waiter.eligible, waiter.wait)) {
        refuse_async(wakes, static_cast<AsyncWaiter&>(waiter), std::move(*error));
      }
    });
  }
  wakes.wake();
}

void Router::close() {
  Wakes wakes;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    queue_.for_each([&](QueueEntry& entry) {
      Waiter& waiter = static_cast<Waiter&>(entry);
      if (waiter.thread != nullptr) return Parker::wake(waiter.thread->parker.set());
      refuse_async(wakes, static_cast<AsyncWaiter&>(waiter),
                   make_error(ErrorKind::kClosed, "the engine was closed while the request waited"));
    });
  }
  wakes.wake();
}

bool Router::withdraw(AsyncWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  if (!FairQueue::contains(waiter)) return false;
  take_off(waiter);
  return true;
}

TimePoint Router::expire(TimePoint now) {
  Wakes wakes;
  TimePoint next = TimePoint::max();
  {
    const std::lock_guard lock(mutex_);
    if (now < first_deadline_) return first_deadline_;
    queue_.for_each([&](QueueEntry& entry) {
      Waiter& waiter = static_cast<Waiter&>(entry);
      if (waiter.thread != nullptr) return;
      if (!waiter.deadline.passed(now)) {
        next = std::min(next, waiter.deadline.at());
        return;
      }
      take_off(waiter);
      wakes.add(static_cast<AsyncWaiter&>(waiter));
    });
    first_deadline_ = next;
  }
  // They are ours now. What to tell them takes a look at every slot: not with the mutex held.
  for (AsyncWaiter* each = wakes.first; each != nullptr; each = each->next_) each->refused = timed_out(each->eligible);
  wakes.wake();
  return next;
}

// --- for people ---

SlotTraffic Router::traffic(std::size_t slot) const {
  const Traffic& traffic = *traffic_[slot];
  return {.in_flight = count_of(traffic.in_flight), .concurrency = traffic.limit, .overdue = traffic.overdue};
}

Duration Router::slow(std::size_t slot, WorkClass work) const { return traffic_[slot]->service_times.at(work).slow(); }

// Waiting helps only while some eligible slot is ready, or tries to become so and we wait for that.
std::optional<Error> Router::hopeless(SlotSet eligible, Wait wait) const {
  std::optional<Error> why;
  bool hope = false;
  for_each_slot(eligible, [&](std::size_t slot) {
    const SlotState state = slots_[slot]->state();
    if (slots_[slot]->health() == HealthState::kDraining) {
      why = make_error(ErrorKind::kUnavailable, "an operator drained the slot", Retry::kLater);
      why->slot = slots_[slot]->name();
      return;
    }
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
