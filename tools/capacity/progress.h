// Live progress of a load: one line that is rewritten on a terminal, plain lines every few seconds elsewhere, both on
// standard error. One thread.
#pragma once

#include <string>
#include <vector>

#include "slots/deadline.h"
#include "tools/capacity/goal.h"
#include "tools/capacity/load.h"
#include "tools/terminal.h"

namespace hsmux::capacity {

class LoadDisplay {
public:
  explicit LoadDisplay(std::vector<std::string> slots) : slots_(std::move(slots)) {}
  void show(const LoadProgress& progress);
  void clear() { line_.clear(); }

private:
  std::vector<std::string> slots_;
  StatusLine line_;
  TimePoint next_plain_{};
};

} // namespace hsmux::capacity
