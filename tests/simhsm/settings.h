// What a simulated HSM is like: mode, times, limits, faults; read from TOML (docs/simhsm.md tells the keys). Plain
// values; the reader is a pure function.
#pragma once

#include <expected>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/simhsm/fault.h"
#include "tests/simhsm/schedule.h"
#include "tests/simhsm/violations.h"

namespace hsmux::sim {

// A token that is ready at the start. Its PIN guards nothing: the simulator's keys are nobody's.
struct SimulatedToken {
  std::string label, user_pin = "1234", so_pin = "12345678";
};

// How long calls take. The first row that fits counts.
struct TimeRow {
  Match match;
  std::optional<CK_MECHANISM_TYPE> mechanism; // of the operation that the call belongs to; none = all
  Distribution service;
  std::optional<Nanoseconds> since{}; // when it began to count, for drifting; of the simulator's clock, set by it
};

// The HSM behind a slot. The first row that fits counts.
struct HsmRow {
  SlotSelector slot;
  std::size_t engines = 1;
  Nanoseconds round_trip{0};
  std::set<Function> local; // answered by the module itself, without a round trip
  Throttle throttle;
};

// What C_GetTokenInfo says in ulMaxSessionCount.
struct ReportedSessions {
  enum class Kind : std::uint8_t {
    kModule, // what the wrapped module says
    kTrue,   // the limit
    kInfinite,
    kUnknown,
    kNumber
  };
  Kind kind = Kind::kModule;
  unsigned long number = 0;
};

struct Limits {
  unsigned long sessions_max = 0; // 0 = none
  bool sessions_per_library = false;
  ReportedSessions sessions_reported;
  Nanoseconds session_idle{0}; // sessions that were not used so long are closed; 0 = never
  std::size_t objects_max = 0; // per token, own mode only; 0 = none
};

struct Settings {
  // Fixed at the start.
  bool own = false;   // else a real module is wrapped
  std::string module; // of wrap; empty: SoftHSM2
  std::vector<SimulatedToken> tokens;
  bool spare_slot = true;   // of own: a slot with an uninitialised token is always there, as in SoftHSM
  std::string control_path; // of the control socket; empty: none
  std::string log_path;     // of the played faults; empty: none

  // May change while it runs.
  std::uint64_t seed = 1;
  bool canned = false;   // of own: see docs/simhsm.md
  bool makes_iv = false; // of own: the same
  bool reuse_handles = false;
  std::set<Violation> strict; // these end the process
  Limits limits;
  std::vector<HsmRow> hsms;
  std::vector<TimeRow> times;
  std::vector<Fault> faults;

  unsigned shape = 0; // grows with each change of `hsms` or `times`
};

// Reads `text` on top of `base`: a key that is given replaces the one of `base`, [[fault]] rows are added. With
// `running`, keys that are fixed at the start are refused. Errors: "NAME:LINE: key: what is wrong and what is allowed".
std::expected<Settings, std::string> read_settings(const std::string& text, const std::string& name, Settings base,
                                                   bool running);

} // namespace hsmux::sim
