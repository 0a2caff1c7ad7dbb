// A place for one thread to wait: a futex word of its own and a timed wait on the monotonic clock, so that waking one
// waiter wakes no other.
#pragma once

#include <atomic>
#include <cstdint>

#include "slots/deadline.h"

namespace hsmux {

class Parker {
public:
  using Word = std::atomic<std::uint32_t>;

  // Sleeps until set() or `until`; true when set. Resets the word: the next wait waits for the next set().
  bool wait_until(TimePoint until);

  // Ends the wait as soon as wake() is called with what this returns. The parker may be gone by then: wake() does not
  // look at it, and threads that wait at the same address for something else only look around once.
  const Word* set() {
    word_.store(1);
    return &word_;
  }
  static void wake(const Word* word);

  // The same with a word of somebody else's: sleeps while it is `value`, until wake_all() or `until`; may return early.
  static void wait_while(const Word& word, std::uint32_t value, TimePoint until);
  // As wake(), nothing but the address is looked at.
  static void wake_all(const Word* word);

private:
  Word word_{0};
};

} // namespace hsmux
