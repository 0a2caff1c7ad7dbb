// Limits on what real HSMs count or choke on: logins a minute and sessions opened a second. Pure, with an injected
// clock.
#pragma once

#include <algorithm>
#include <cstdint>

#include "slots/deadline.h"

namespace hsmux::capacity {

class Pace {
public:
  Pace(std::uint32_t logins_per_minute, std::uint32_t opens_per_second)
      : login_gap_(std::chrono::duration_cast<Duration>(std::chrono::minutes(1)) / std::max(logins_per_minute, 1U)),
        open_gap_(std::chrono::duration_cast<Duration>(std::chrono::seconds(1)) / std::max(opens_per_second, 1U)) {}

  // When so many logins (of different tokens) and sessions may begin; counts them as done then.
  TimePoint take(TimePoint now, std::uint32_t logins, std::uint32_t opens) {
    const TimePoint at = std::max({now, logins_at_, opens_at_});
    logins_at_ = at + login_gap_ * logins;
    opens_at_ = at + open_gap_ * opens;
    return at;
  }

private:
  Duration login_gap_, open_gap_;
  TimePoint logins_at_{}, opens_at_{};
};

} // namespace hsmux::capacity
