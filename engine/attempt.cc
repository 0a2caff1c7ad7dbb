#include "engine/attempt.h"

#include <algorithm>

namespace hsmux {

Duration attempt_limit(Duration slow, std::optional<Duration> fixed, Deadline deadline, TimePoint now) {
  constexpr Duration kMin = std::chrono::milliseconds(50);
  const Duration half = deadline.left(now) / 2;
  if (fixed) return std::min(*fixed, half);
  return std::min(slow > half / 10 ? half : std::max(10 * slow, kMin), half);
}

SlotSet avoid_next(SlotSet eligible, SlotSet avoided, SlotSet failed) {
  const SlotSet tried = avoided | failed;
  return (eligible & ~tried) != 0 ? tried : failed;
}

Step next_step(const Error& error, const Attempts& attempts, bool repeatable, Deadline deadline, TimePoint now) {
  if (!repeatable || deadline.passed(now) || attempts.made >= kAttemptsMax) return Step::kGiveUp;
  // Only what the module said of an attempt is worth another one; waiting in vain is final.
  const bool stale_handle = error.kind == ErrorKind::kKeyNotFound && error.rv != 0;
  // Tokens answer all kinds of things to an object that goes while they look at it.
  if (attempts.by_copy && (stale_handle || error.retry == Retry::kNever)) return Step::kWithKey;
  if (stale_handle) return attempts.found_again ? Step::kGiveUp : Step::kFindAgain;
  return error.retry == Retry::kElsewhere ? Step::kElsewhere : Step::kGiveUp;
}

} // namespace hsmux
