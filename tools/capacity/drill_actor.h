// Who makes a drill's fault and ends it: a simulator's control socket, a program of the operator's, or the operator.
// One thread.
#pragma once

#include <string>
#include <string_view>

#include "slots/result.h"

namespace hsmux::capacity {

enum class DrillKind : std::uint8_t { kPull, kKillSessions, kSlow };
std::string_view drill_name(DrillKind kind); // "pull", "kill-sessions", "slow"

struct Drill {
  DrillKind kind{};
  std::string slot;  // as configured
  std::string token; // its label

  // "pull=hsm-b". Errors: kInvalidArgument with the names of drills.
  static Result<Drill> parse(std::string_view text);
};

struct DrillMeans {
  std::string sim_socket;   // first choice; %p is this process's number
  std::string script;       // PROGRAM, called as PROGRAM begin|end pull|kill-sessions|slow SLOT
  std::int64_t slow_us = 0; // on a simulator: how much longer each operation of a slow slot takes
  // With neither, the operator is asked, on a terminal.
};

// Errors: kIo, kInvalidArgument (nobody can be asked), kClosed (interrupted).
Status play_drill(const Drill& drill, const DrillMeans& means, bool begin);

} // namespace hsmux::capacity
