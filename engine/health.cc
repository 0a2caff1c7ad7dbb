#include "engine/health.h"

#include <algorithm>

#include <fmt/format.h>

namespace hsmux {

std::string_view health_level_name(HealthLevel level) {
  switch (level) {
  case HealthLevel::kOk: return "ok";
  case HealthLevel::kDegraded: return "degraded";
  case HealthLevel::kFailed: return "failed";
  case HealthLevel::kFatal: return "fatal";
  }
  return "fatal";
}

SlotCondition condition_of(const std::string& name, const SlotStats& stats) {
  SlotCondition slot{.name = name, .connection = stats.state, .state = stats.health, .reason = {}};
  const bool wanted = stats.health != HealthState::kDraining && stats.health != HealthState::kLatched;
  const bool stuck = stats.sessions.quarantined >= SessionPool::kQuarantinedMax;
  slot.usable = stats.state == SlotState::kReady && wanted && !stuck;
  slot.needs_restart = stuck || (stats.last_error && stats.last_error->kind == ErrorKind::kForked);
  if (stats.health != HealthState::kHealthy) {
    slot.reason =
        fmt::format("slot {} is {}: {}", name, health_state_name(stats.health), health_cause_text(stats.cause));
    if (stats.last_error && stats.health != HealthState::kDraining && stats.health != HealthState::kProbing) {
      slot.reason += fmt::format(" (last error: {})", stats.last_error->text());
    }
  }
  if (stuck) {
    slot.reason += fmt::format("{}{} calls are stuck in its module: only a new process gets rid of them",
                               slot.reason.empty() ? fmt::format("slot {}: ", name) : "; ", stats.sessions.quarantined);
  }
  return slot;
}

EngineHealth judge(std::vector<SlotCondition> slots) {
  EngineHealth health{.level = HealthLevel::kOk, .reasons = {}, .slots = std::move(slots)};
  bool usable = false, restart = false;
  for (const SlotCondition& slot : health.slots) {
    usable = usable || slot.usable;
    restart = restart || slot.needs_restart;
    // One that is back and gets few requests at first is no reason to alarm anybody.
    const bool fine = slot.usable && (slot.state == HealthState::kHealthy || slot.state == HealthState::kProbing);
    if (!fine) health.reasons.push_back(slot.reason);
  }
  if (usable && health.reasons.empty()) return health;
  health.level = usable ? HealthLevel::kDegraded : restart ? HealthLevel::kFatal : HealthLevel::kFailed;
  return health;
}

EngineHealth unusable(HealthLevel level, std::string reason) {
  return {.level = level, .reasons = {std::move(reason)}, .slots = {}};
}

} // namespace hsmux
