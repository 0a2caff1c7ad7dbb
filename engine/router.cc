#include "engine/router.h"

#include <fmt/format.h>

#include <random>

namespace hsmux {
namespace {

std::uint64_t random_bits() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

// The number of the n-th slot of the set.
std::size_t nth(SlotSet set, std::size_t n) {
  for (; n > 0; --n) set &= set - 1;
  return static_cast<std::size_t>(std::countr_zero(set));
}

} // namespace

double load_of(const SlotLoad& load) {
  if (load.in_flight == 0 && load.age / kEstimateAgeMax > load.service_time) return 0;
  return (static_cast<double>(load.in_flight) + 1) * static_cast<double>(load.service_time.count()) / load.weight;
}

std::size_t choose_slot(SlotSet eligible, const std::array<SlotLoad, kSlotsMax>& loads, std::uint64_t random) {
  const auto count = static_cast<std::size_t>(std::popcount(eligible));
  const std::size_t first_rank = (random & 0xffffffff) % count;
  const std::size_t first = nth(eligible, first_rank);
  if (count == 1) return first;
  // The second candidate is never the first one.
  const std::size_t second = nth(eligible, (first_rank + 1 + (random >> 32) % (count - 1)) % count);
  return load_of(loads[second]) < load_of(loads[first]) ? second : first;
}

std::optional<RoutedLease> Router::try_slot(std::size_t slot) {
  std::optional<Lease> lease = slots_[slot]->try_acquire();
  if (!lease) return std::nullopt;
  loads_[slot].in_flight.fetch_add(1, std::memory_order_relaxed);
  return RoutedLease{slot, std::move(*lease), MonotonicClock::now()};
}

std::optional<RoutedLease> Router::try_now(SlotSet eligible, TimePoint now) {
  if (std::has_single_bit(eligible)) return try_slot(static_cast<std::size_t>(std::countr_zero(eligible)));
  std::array<SlotLoad, kSlotsMax> loads;
  for_each_slot(eligible, [&](std::size_t slot) {
    loads[slot] = {loads_[slot].in_flight.load(std::memory_order_relaxed),
                   Duration(loads_[slot].service_time.load(std::memory_order_relaxed)), slots_[slot]->options().weight,
                   now.time_since_epoch() - Duration(loads_[slot].measured_at.load(std::memory_order_relaxed))};
  });
  const std::uint64_t random = random_bits();
  while (eligible != 0) {
    const std::size_t slot = choose_slot(eligible, loads, random);
    if (auto lease = try_slot(slot)) return lease;
    eligible &= ~slot_bit(slot);
  }
  return std::nullopt;
}

bool Router::must_queue(SlotSet eligible, TimePoint now) {
  if (waiting_.load() == 0) return false;
  const std::lock_guard lock(mutex_);
  for (const Waiter* waiter : waiters_) {
    if ((waiter->eligible & eligible) != 0) return now - waiter->since > kBarging;
  }
  return false;
}

Result<RoutedLease> Router::lease(SlotSet eligible, Deadline deadline, Wait wait) {
  const TimePoint now = MonotonicClock::now();
  if (closed_) return fail(ErrorKind::kClosed, "the engine is closed");
  if (eligible == 0) return fail(ErrorKind::kInternal, "a request without any eligible slot reached the router");
  if (deadline.passed(now)) {
    return fail(ErrorKind::kTimeout, "the deadline had passed before the request could start", Retry::kLater);
  }
  if (!must_queue(eligible, now)) {
    if (auto lease = try_now(eligible, now)) return std::move(*lease);
  }
  if (auto error = hopeless(eligible, wait)) return fail(std::move(*error));
  return queue(eligible, deadline, wait, now);
}

Result<RoutedLease> Router::queue(SlotSet eligible, Deadline deadline, Wait wait, TimePoint now) {
  Waiter self{.eligible = eligible, .since = now};
  std::unique_lock lock(mutex_);
  if (waiters_.size() >= kWaitersMax) {
    return fail(ErrorKind::kOverloaded, fmt::format("{} requests wait already", kWaitersMax), Retry::kLater);
  }
  const auto place = waiters_.insert(waiters_.end(), &self);
  // From here on a freed session sees us; one freed just before is found by serving ourselves now.
  waiting_.fetch_add(1);
  for_each_slot(eligible, [&](std::size_t slot) { serve(slot); });

  // Woken when granted, when the engine closes, and when a slot is lost.
  while (!self.granted && !closed_ && !hopeless(eligible, wait)) {
    if (self.changed.wait_until(lock, deadline.at()) == std::cv_status::timeout) break;
  }
  if (self.granted) return std::move(*self.granted); // serve() took us off the queue
  waiters_.erase(place);
  waiting_.fetch_sub(1);
  lock.unlock();
  if (closed_) return fail(ErrorKind::kClosed, "the engine was closed while the request waited");
  if (auto error = hopeless(eligible, wait)) return fail(std::move(*error));
  return fail(timed_out(eligible));
}

void Router::serve(std::size_t slot) {
  for (auto place = waiters_.begin(); place != waiters_.end();) {
    Waiter& waiter = **place;
    if ((waiter.eligible & slot_bit(slot)) == 0) {
      ++place;
      continue;
    }
    std::optional<RoutedLease> lease = try_slot(slot);
    if (!lease) return; // the failed try also tells the pool that one more session is wanted
    waiter.granted.emplace(std::move(*lease));
    place = waiters_.erase(place);
    waiting_.fetch_sub(1);
    waiter.changed.notify_one();
  }
}

void Router::capacity_freed(std::size_t slot) {
  if (waiting_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  if (slot >= slots_.size()) return; // still being added
  serve(slot);
  if (slots_[slot]->ready()) return;
  for (Waiter* waiter : waiters_) waiter->changed.notify_one();
}

void Router::finish(RoutedLease lease, CallStatus status, bool operations) {
  Load& load = loads_[lease.slot];
  if (operations) {
    const TimePoint now = MonotonicClock::now();
    const Duration::rep sample = std::max<Duration::rep>((now - lease.since).count(), 1);
    const Duration::rep old = load.service_time.load(std::memory_order_relaxed);
    const Duration::rep measured_at =
        load.measured_at.exchange(now.time_since_epoch().count(), std::memory_order_relaxed);
    const bool too_old = (lease.since.time_since_epoch().count() - measured_at) / kEstimateAgeMax > old;
    load.service_time.store(too_old ? sample : old + (sample - old) / 8, std::memory_order_relaxed);
  }
  load.in_flight.fetch_sub(1, std::memory_order_relaxed);
  slots_[lease.slot]->finish(std::move(lease.lease), status);
}

void Router::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (Waiter* waiter : waiters_) waiter->changed.notify_one();
}

std::uint32_t Router::leased() const {
  std::uint32_t sum = 0;
  for (const Load& load : loads_) sum += load.in_flight.load();
  return sum;
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
