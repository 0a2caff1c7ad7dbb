// The program's log: lines on standard error, through spdlog. Thread-safe; the engine's log sink writes here.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace hsmux {

class Log {
public:
  Log();

  // With `json`, {"log":{"level","message"}} instead of "hsmux: warning: ...".
  void configure(LogLevel level_min, bool json);
  void raise(LogLevel level_min); // never lowers
  void write(LogLevel level, const std::string& message);

  // From hold() on lines are kept; release() shows them, without those that say `known`: what the program is about to
  // report as its error is not said twice.
  void hold();
  void release(const std::string& known = {});

private:
  void show(LogLevel level, const std::string& message) const;

  std::mutex mutex_; // guards what follows
  LogLevel level_min_ = LogLevel::kWarning;
  bool json_ = false, holding_ = false;
  std::vector<std::pair<LogLevel, std::string>> held_; // at most kHeldMax
};

} // namespace hsmux
