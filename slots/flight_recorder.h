// The last calls of one session: what they were, what they answered, how long they took. Read when the session is
// thrown away, to see what led there. Never arguments or results. One thread at a time, as the session.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "slots/call.h"
#include "slots/deadline.h"

namespace hsmux {

class FlightRecorder {
public:
  static constexpr std::size_t kCalls = 8;

  void note(Call call, unsigned long rv, Duration took) {
    calls_.at(count_ % kCalls) = {call, rv, took};
    ++count_;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; } // ever
  // Oldest first: "C_SignInit CKR_OK 12 us, C_Sign CKR_DEVICE_ERROR 3210 us; 812 calls in 73 s". `opened`: when the
  // session was.
  [[nodiscard]] std::string text(TimePoint opened, TimePoint now) const;

private:
  struct Record {
    Call call{};
    unsigned long rv = 0;
    Duration took{};
  };
  std::array<Record, kCalls> calls_{};
  std::uint64_t count_ = 0;
};

} // namespace hsmux
