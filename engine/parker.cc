#include "engine/parker.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace hsmux {
namespace {

static_assert(sizeof(Parker::Word) == 4 && Parker::Word::is_always_lock_free);

long futex(const Parker::Word* word, int operation, std::uint32_t value, const timespec* until) {
  return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

} // namespace

bool Parker::wait_until(TimePoint until) {
  while (word_.exchange(0) == 0) {
    wait_while(word_, 0, until);
    if (MonotonicClock::now() >= until) return word_.exchange(0) != 0;
  }
  return true;
}

void Parker::wait_while(const Word& word, std::uint32_t value, TimePoint until) {
  const Duration since_boot = until.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
  const timespec at{.tv_sec = seconds.count(), .tv_nsec = (since_boot - seconds).count()};
  // Absolute, and by the clock that steady_clock reads (CLOCK_MONOTONIC).
  futex(&word, FUTEX_WAIT_BITSET, value, until == TimePoint::max() ? nullptr : &at);
}

void Parker::wake(const Word* word) { futex(word, FUTEX_WAKE, 1, nullptr); }
void Parker::wake_all(const Word* word) { futex(word, FUTEX_WAKE, INT_MAX, nullptr); }

} // namespace hsmux
