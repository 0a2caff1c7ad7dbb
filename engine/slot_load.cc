#include "engine/slot_load.h"

#include <algorithm>

namespace hsmux {
namespace {

// The number of the n-th slot of the set.
std::size_t nth(SlotSet set, std::size_t n) {
  for (; n > 0; --n) set &= set - 1;
  return static_cast<std::size_t>(std::countr_zero(set));
}

} // namespace

void ServiceTime::add(Duration sample, TimePoint now) {
  const Duration::rep old = estimate_.load(std::memory_order_relaxed);
  const Duration::rep taken = std::max<Duration::rep>(sample.count(), 1);
  const bool start_anew = old == 0 || outdated(now - sample); // as of when the sample began
  const Duration::rep updated = start_anew ? taken : old + (std::min(taken, 4 * old) - old) / 8;
  estimate_.store(std::max<Duration::rep>(updated, 1), std::memory_order_relaxed);
  const Duration::rep base = base_.load(std::memory_order_relaxed);
  const Duration::rep nearer =
      taken < base ? std::max(taken, base - base * 9 / 80 - 1) : std::min(taken, base + base / 80 + 1);
  base_.store(start_anew ? taken : nearer, std::memory_order_relaxed);
  const Duration::rep slow = slow_.load(std::memory_order_relaxed);
  const Duration::rep moved = taken > slow ? slow + slow / 8 + 1 : slow - slow / 800;
  slow_.store(slow == 0 ? 2 * taken : moved, std::memory_order_relaxed);
  added_at_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
}

bool ServiceTime::outdated(TimePoint now) const {
  const Duration age = now.time_since_epoch() - Duration(added_at_.load(std::memory_order_relaxed));
  return age / kAgeMax > estimate() || age > kOldest;
}

void ServiceTime::forget() {
  added_at_.store(0, std::memory_order_relaxed);
  estimate_.store(0, std::memory_order_relaxed);
}

void Parallelism::add(Duration backlog, Duration sample, Duration alone) {
  const double seen =
      static_cast<double>(backlog.count()) / static_cast<double>(std::max<Duration::rep>(sample.count(), 1));
  const double old = estimate();
  const bool waited = sample > alone + alone / 4;
  if (seen <= old && !waited) return;
  const double updated = seen > old ? old + (std::min(seen, 2 * old) - old) / 8 : old + (seen - old) / 32;
  estimate_.store(std::max(updated, 1.0), std::memory_order_relaxed);
}

double load_of(const SlotLoad& load) {
  if (load.unknown) return 0;
  const double own = static_cast<double>(load.service_time.count());
  const double queue = static_cast<double>((load.backlog + load.alone).count()) / load.parallelism;
  return (std::max(own, queue) + queue / 128) / load.weight;
}

Candidates two_of(SlotSet eligible, std::uint64_t random) {
  const auto count = static_cast<std::size_t>(std::popcount(eligible));
  const std::size_t first = (random & 0xffffffff) % count;
  if (count == 1) return {nth(eligible, 0), nth(eligible, 0)};
  const std::size_t second = (first + 1 + (random >> 32) % (count - 1)) % count;
  return {nth(eligible, first), nth(eligible, second)};
}

} // namespace hsmux
