// How the engine is, for a load balancer, an operator or a node's own health check: a pure judgement of what its slots
// say. docs/health.md tells what each answer asks for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slots/slot.h"

namespace hsmux {

enum class HealthLevel : std::uint8_t {
  kOk,       // every slot takes requests
  kDegraded, // requests are served; some slot does not take any, or takes few
  kFailed,   // no slot can serve; it may come back by itself, or when an operator acts (PIN, drained)
  kFatal,    // no slot can serve, and only a restart of the process cures that
};
std::string_view health_level_name(HealthLevel level); // "ok"

struct SlotCondition {
  std::string name;
  SlotState connection = SlotState::kConnecting;
  HealthState state = HealthState::kEjected;
  bool usable = false;        // takes requests, if need be as the last one
  bool needs_restart = false; // nothing but a new process helps it
  std::string reason;         // why it is not healthy: one line without secrets; empty when it is
};

struct EngineHealth {
  HealthLevel level = HealthLevel::kFailed;
  std::vector<std::string> reasons; // why it is not ok: one line each
  std::vector<SlotCondition> slots; // in the order of the configuration
};

// What one slot's state means.
SlotCondition condition_of(const std::string& name, const SlotStats& stats);
EngineHealth judge(std::vector<SlotCondition> slots);
// Of an engine that cannot be used at all.
EngineHealth unusable(HealthLevel level, std::string reason);

} // namespace hsmux
