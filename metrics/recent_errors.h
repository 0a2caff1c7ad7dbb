// The last things that went wrong, for people: each once, with how often and when last. Bounded; never waits. Any
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "metrics/events.h"

namespace hsmux::metrics {

struct RecentError {
  std::string what;                                   // "operation", "login", ...
  std::string slot, call, algorithm, outcome, reason; // empty where there is none
  unsigned long rv = 0;                               // of `call`; 0: no code
  std::uint64_t count = 0;                            // how often since it is in the list
  std::chrono::system_clock::time_point last{};
};

class RecentErrors {
public:
  static constexpr std::size_t kMax = 32;

  // Notes what tells of something wrong. Where another thread is at it just now, this event is left out.
  void add(const Event& event);
  // The latest first.
  [[nodiscard]] std::vector<RecentError> list() const;

private:
  mutable std::mutex mutex_; // guards errors_
  std::list<RecentError> errors_;
};

} // namespace hsmux::metrics
