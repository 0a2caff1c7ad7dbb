// What limits the throughput that was found, by comparing the module called alone, one slot, and all slots. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hsmux::capacity {

enum class LimitKind : std::uint8_t {
  kUnknown,
  kToken,      // the engines of the HSMs
  kHostCpu,    // this machine's processors
  kModuleLock, // the vendor's library lets through one call at a time
  kNetwork,    // time on the way to the HSM, with all sessions waiting for it
  kSessions,   // the token opens no more sessions, or no more were tried
  kEngine,     // hsmux itself: the module alone does more
};
std::string_view limit_name(LimitKind kind); // "token", "host CPU", "module lock", ...

struct LimitInput {
  double raw_one = 0;           // the module alone, one slot, one thread: operations a second
  double raw_many = 0;          // the same, as many threads as sessions
  std::vector<double> one_slot; // through hsmux, each slot by itself
  double all_slots = 0;
  double cpu_share = 0;     // of this machine, while all slots were saturated: 0 to 1
  double own_cpu_share = 0; // the part of it that this process used
  double cores = 1;
  bool still_rising = false;                       // with the sessions
  std::uint32_t sessions = 0, sessions_wanted = 0; // per slot: open, and asked for
  double round_trip_s = 0;                         // of a call that asks the HSM for next to nothing
  double calls = 2;                                // of such calls in an operation: Init and the operation
  double service_s = 0;                            // an operation alone
};

struct Limit {
  LimitKind kind = LimitKind::kUnknown;
  std::string why; // a sentence with the figures that say so
};
Limit limit_of(const LimitInput& input);

inline constexpr double kCpuBusyShare = 0.85;   // from here on the host's CPU is the limit ...
inline constexpr double kCpuOwnShareMin = 0.5;  // ... if it is this process that has so much of what is used
inline constexpr double kLockScaleMax = 1.15;   // a lock lets many threads do so much more than one, at most
inline constexpr double kSlotsScaleMin = 0.85;  // of the sum of the single slots
inline constexpr double kEngineShareMin = 0.90; // of the module alone

} // namespace hsmux::capacity
