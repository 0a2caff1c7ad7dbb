// What to do after an attempt failed: a pure decision.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/slot_load.h"
#include "slots/deadline.h"
#include "slots/error.h"

namespace hsmux {

struct Attempts {
  std::uint32_t made = 0;   // including the one that failed
  bool found_again = false; // the key's handle was looked up anew once already, on the slot of the one that failed
  bool by_copy = false;     // the one that failed worked on a session copy of the key
};

enum class Step : std::uint8_t {
  kGiveUp,
  kFindAgain, // the handle is stale: once more on the same slot with a new one
  kWithKey,   // a session copy may have gone with its session: once more with the key itself
  kElsewhere, // another slot where there is one, else another session
};

inline constexpr std::uint32_t kAttemptsMax = 16;

// `repeatable`: doing it twice does no harm (sign, decrypt, encrypt with a fresh IV); keys are never made twice.
// How long an attempt may take before the request goes on elsewhere: ten times what is slow for the slot (0 = not known
// yet) and at least 50 ms, but at most half of the time left. `fixed` instead of the former where it is given.
Duration attempt_limit(Duration slow, std::optional<Duration> fixed, Deadline deadline, TimePoint now);

// The slots to avoid after one on `failed`: each is tried once before any is tried again.
SlotSet avoid_next(SlotSet eligible, SlotSet avoided, SlotSet failed);

Step next_step(const Error& error, const Attempts& attempts, bool repeatable, Deadline deadline, TimePoint now);

} // namespace hsmux
