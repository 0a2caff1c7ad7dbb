#include "engine/attempt.h"

namespace hsmux {

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
