#include "tests/simhsm/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace hsmux::sim {

void Schedule::set_engines(std::size_t engines) {
  std::ranges::sort(free_at_); // a sorted range is a heap too; the latest are cut off
  free_at_.resize(std::max<std::size_t>(engines, 1), latest_arrival_);
  std::ranges::make_heap(free_at_, std::greater<>());
}

Booking Schedule::book(Nanoseconds arrival, Nanoseconds service, const Throttle& throttle) {
  arrival = latest_arrival_ = std::max(arrival, latest_arrival_);
  const std::optional<Nanoseconds> admitted = admit(arrival, throttle);
  if (!admitted) return {.start = arrival, .end = arrival, .refused = true};

  std::ranges::pop_heap(free_at_, std::greater<>());
  const Nanoseconds start = std::max(*admitted, free_at_.back());
  free_at_.back() = start + service;
  std::ranges::push_heap(free_at_, std::greater<>());
  ++booked_;
  busy_ += service;
  return {.start = start, .end = start + service, .refused = false};
}

std::optional<Nanoseconds> Schedule::admit(Nanoseconds arrival, const Throttle& throttle) {
  if (throttle.per_second <= 0) return arrival;
  const double burst = std::max(throttle.burst, 1.);
  // Below zero, tokens_ are those that waiting calls have drawn in advance.
  const Nanoseconds before = filled_at_.value_or(arrival);
  if (!filled_at_) tokens_ = burst;
  const double seconds = std::chrono::duration<double>(arrival - before).count();
  double tokens = std::min(burst, tokens_ + seconds * throttle.per_second);
  if (tokens < 1 && throttle.answer) return std::nullopt;
  tokens_ = tokens - 1;
  filled_at_ = arrival;
  if (tokens_ >= 0) return arrival;
  constexpr double kMost = 1e18; // thirty years
  return arrival + Nanoseconds(std::llround(std::min(kMost, -tokens_ / throttle.per_second * 1e9)));
}

} // namespace hsmux::sim
