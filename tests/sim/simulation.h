// The engine's decisions about failing slots on a virtual clock: the state machine of a slot's health, the choice by
// health, the next step after an error, attempt limits and the retry budget are the engine's own; slots, sessions and
// requests are a model of a few numbers. One seed is one history. No threads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "engine/attempt.h"
#include "engine/retry_budget.h"
#include "engine/slot_load.h"
#include "slots/disposition.h"
#include "slots/slot_health.h"

namespace hsmux::sim {

enum class FaultKind : std::uint8_t {
  kOneSession,  // is lost
  kAllSessions, // of a slot
  kLogin,
  kRemoved,
  kHangs,
  kSlow,
  kDeviceError,
  kVendorCode,
  kBusy,
  kFewerSessions,
  kWrongResult,
  kStaleHandle,
  kFinalised,
  kBadCiphertext, // a client's
  kDrained,
  kPinRefused,
};
inline constexpr std::size_t kFaultKinds = 16;
std::string_view fault_kind_name(FaultKind kind);

struct Outcome {
  std::array<std::uint64_t, kFaultKinds> played{}; // calls that met the fault, or times that it was done
  std::uint64_t requests = 0, succeeded = 0, failed = 0;
  std::optional<std::string> broken; // the first invariant that did not hold, and when
};

struct Plan {
  std::uint64_t seed = 1;
  std::size_t slots = 2;
  bool spare_slot = false; // slot 0 never fails: then no request may fail, but for its own data
};

Outcome run(const Plan& plan);

} // namespace hsmux::sim
