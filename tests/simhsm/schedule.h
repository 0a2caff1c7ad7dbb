// When an HSM with so many parallel engines works on which call: a booking on virtual time, first in, first out.
// Nothing waits here; the caller does, until the end of its booking. Because an engine's next start is computed from
// its last end, a thread that wakes up late never lowers the capacity. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tests/simhsm/distribution.h"

namespace hsmux::sim {

// A limit on calls over time that an HSM or its contract puts (a token bucket).
struct Throttle {
  double per_second = 0; // 0 = none
  double burst = 1;
  std::optional<unsigned long> answer; // CK_RV for calls above the limit; without, they wait
};

struct Booking {
  Nanoseconds start{0};
  Nanoseconds end{0};
  bool refused = false; // by the throttle: nothing was booked
};

class Schedule {
public:
  // Engines become more or fewer at once: those that go take their unfinished bookings with them.
  void set_engines(std::size_t engines);

  // All is free, as at the beginning; so service times are drawn from their first number again.
  void restart() {
    const std::size_t engines = free_at_.size();
    *this = Schedule();
    set_engines(engines);
  }

  // A call that arrives at `arrival` (of one clock) and needs `service` of an engine. Arrivals that go back in time
  // count as of the latest one: that is the order in which the calls came in.
  Booking book(Nanoseconds arrival, Nanoseconds service, const Throttle& throttle);

  [[nodiscard]] std::uint64_t booked() const { return booked_; }
  [[nodiscard]] Nanoseconds busy() const { return busy_; } // all engines together
  [[nodiscard]] std::size_t engines() const { return free_at_.size(); }

private:
  // When the throttle lets a call in; none: it refuses.
  std::optional<Nanoseconds> admit(Nanoseconds arrival, const Throttle& throttle);

  std::vector<Nanoseconds> free_at_{Nanoseconds{0}}; // a heap, the earliest first
  Nanoseconds latest_arrival_{0};
  double tokens_ = 0;
  std::optional<Nanoseconds> filled_at_; // of tokens_
  std::uint64_t booked_ = 0;
  Nanoseconds busy_{0};
};

} // namespace hsmux::sim
