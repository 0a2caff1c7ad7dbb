// An absolute point on the monotonic clock that a request carries through every layer. A value; thread-safe.
#pragma once

#include <chrono>

namespace hsmux {

using MonotonicClock = std::chrono::steady_clock;
using TimePoint = MonotonicClock::time_point;
using Duration = MonotonicClock::duration;

class Deadline {
public:
  explicit constexpr Deadline(TimePoint at) : at_(at) {}
  static Deadline after(Duration time, TimePoint now = MonotonicClock::now()) {
    return Deadline(time >= TimePoint::max() - now ? TimePoint::max() : now + time);
  }

  [[nodiscard]] constexpr TimePoint at() const { return at_; }
  [[nodiscard]] constexpr bool passed(TimePoint now) const { return now >= at_; }
  [[nodiscard]] constexpr TimePoint later_by(Duration time) const {
    return at_ > TimePoint::max() - time ? TimePoint::max() : at_ + time;
  }
  [[nodiscard]] constexpr Duration left(TimePoint now) const { return passed(now) ? Duration::zero() : at_ - now; }

private:
  TimePoint at_;
};

} // namespace hsmux
