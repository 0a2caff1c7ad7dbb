// What the choice of slot looks at, and the choice itself. Pure functions and one estimate; no threads, no clock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "slots/deadline.h"

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
  // A slot that was slow gets no requests, and so no new sample: an estimate that is this many times older than itself
  // is worth nothing any more, and one request finds out.
  static constexpr int kAgeMax = 16;
  [[nodiscard]] bool outdated(TimePoint now) const;

private:
  std::atomic<Duration::rep> estimate_{0};
  std::atomic<Duration::rep> added_at_{0}; // since the clock's epoch
};

// One slot as a request sees it.
struct SlotLoad {
  Duration backlog{};      // the estimates of all that is in flight there
  Duration service_time{}; // the estimate for this request
  double weight = 1.0;
  bool unknown = false; // nothing in flight, and no estimate, or an outdated one
};
// Expected cost of the request there: (backlog + its own time) ÷ weight; 0 for an unknown slot.
double load_of(const SlotLoad& load);

// Two different slots of `eligible` picked by `random`, each as likely as any other; the same one twice where there is
// only one. `eligible` is not empty.
struct Candidates {
  std::size_t first, second;
};
Candidates two_of(SlotSet eligible, std::uint64_t random);

} // namespace hsmux
