// What the choice of slot looks at, and the choice itself. Pure functions and one estimate; no threads, no clock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "slots/deadline.h"
#include "slots/slot_health.h"

namespace hsmux {

// A set of slots by their number in the configuration.
using SlotSet = std::uint64_t;
inline constexpr std::size_t kSlotsMax = 64;
constexpr SlotSet slot_bit(std::size_t slot) { return SlotSet{1} << slot; }
template <class Visit> void for_each_slot(SlotSet set, Visit visit) {
  for (; set != 0; set &= set - 1) visit(static_cast<std::size_t>(std::countr_zero(set)));
}

// How long one slot takes for one kind of work, as seen lately. Any thread; updates that meet may be lost, which does
// no harm.
class ServiceTime {
public:
  // An exponential average in which one sample weighs an eighth. A sample counts as at most four times the estimate:
  // a hiccup is not a trend, and ten slow answers are.
  void add(Duration sample, TimePoint now);
  [[nodiscard]] Duration estimate() const { return Duration(estimate_.load(std::memory_order_relaxed)); }
  // What it takes when nothing else is before it: about one of ten samples was faster. 0 before the first sample.
  [[nodiscard]] Duration base() const { return Duration(base_.load(std::memory_order_relaxed)); }
  // About 99 of 100 samples were faster: goes up by an eighth for each that was slower, and down by an eighth of a
  // hundredth for each other one. 0 before the first sample.
  [[nodiscard]] Duration slow() const { return Duration(slow_.load(std::memory_order_relaxed)); }
  // A slot that was slow gets no requests, and so no new sample: an estimate that is this many times older than itself
  // is worth nothing any more, and one request finds out.
  static constexpr int kAgeMax = 16;
  static constexpr Duration kOldest = std::chrono::seconds(2); // nor is one that is older than this
  [[nodiscard]] bool outdated(TimePoint now) const;
  // The slot was away: what was seen before says nothing.
  void forget();

private:
  std::atomic<Duration::rep> estimate_{0}, base_{0}, slow_{0};
  std::atomic<Duration::rep> added_at_{0}; // since the clock's epoch
};

// How much a slot does at once: what was in flight when an operation began, in time that it takes alone, ÷ how long it
// took. At least 1. A slot is never seen to do more at once than it can, but often less, since it is given less: only
// an operation that had to wait says how little it is. Without it a fast slot that works on five requests at once would
// look slower than an idle slow one. Any thread; updates that meet may be lost.
class Parallelism {
public:
  // `backlog`: of all in flight when it began, its own time included; `alone`: what it takes when nothing is before it.
  void add(Duration backlog, Duration sample, Duration alone);
  [[nodiscard]] double estimate() const { return estimate_.load(std::memory_order_relaxed); }

private:
  std::atomic<double> estimate_{1};
};

// One slot as a request sees it.
struct SlotLoad {
  Duration backlog{};      // of all that is in flight there, what it takes alone
  Duration service_time{}; // the estimate for this request
  Duration alone{};        // what it takes when nothing else is before it
  double parallelism = 1.0;
  double weight = 1.0;
  bool unknown = false; // nothing in flight, and no estimate, or an outdated one
};
// When the request would be done there: after its own time, or later where what is in flight takes longer; ÷ weight. Of
// two that would be done at the same time, the one with less in flight. 0 for an unknown slot.
double load_of(const SlotLoad& load);

// Which of `eligible` may be chosen, by their health: one that is back and has room goes first, since nothing but
// requests tells how it is; then those that are healthy; where none of these is ready, the others that are ready: the
// last that can serve is never left out. Drained and latched ones never. `view(slot)` gives a HealthView.
struct HealthView {
  bool ready = false;
  HealthState state = HealthState::kHealthy;
  bool room = true; // while it is probing: for one more request
};
template <class View> SlotSet preferred_by_health(SlotSet eligible, View view) {
  SlotSet back = 0, well = 0, others = 0;
  for_each_slot(eligible, [&](std::size_t slot) {
    const HealthView seen = view(slot);
    if (!seen.ready) return;
    switch (seen.state) {
    case HealthState::kHealthy: well |= slot_bit(slot); break;
    case HealthState::kProbing: (seen.room ? back : others) |= slot_bit(slot); break;
    case HealthState::kSuspect:
    case HealthState::kEjected: others |= slot_bit(slot); break;
    case HealthState::kDraining:
    case HealthState::kLatched: break;
    }
  });
  if (back != 0) return back;
  return well != 0 ? well : others;
}

// Two different slots of `eligible` picked by `random`, each as likely as any other; the same one twice where there is
// only one. `eligible` is not empty.
struct Candidates {
  std::size_t first, second;
};
Candidates two_of(SlotSet eligible, std::uint64_t random);

} // namespace hsmux
