// The C entry points for health and slots.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/c_abi.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

namespace {

// Same numbers on both sides.
#define SAME(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs))
SAME(HealthLevel::kOk, HSMUX_HEALTH_OK);
SAME(HealthLevel::kDegraded, HSMUX_HEALTH_DEGRADED);
SAME(HealthLevel::kFailed, HSMUX_HEALTH_FAILED);
SAME(HealthLevel::kFatal, HSMUX_HEALTH_FATAL);
SAME(HealthState::kHealthy, HSMUX_SLOT_HEALTHY);
SAME(HealthState::kSuspect, HSMUX_SLOT_SUSPECT);
SAME(HealthState::kEjected, HSMUX_SLOT_EJECTED);
SAME(HealthState::kProbing, HSMUX_SLOT_PROBING);
SAME(HealthState::kDraining, HSMUX_SLOT_DRAINING);
SAME(HealthState::kLatched, HSMUX_SLOT_LATCHED);
#undef SAME

hsmux_slot_report plain(const SlotReport& slot) {
  const SlotCondition condition = condition_of(slot.name, slot.stats);
  hsmux_slot_report report;
  HSMUX_INIT(&report);
  c_abi::copy(slot.name, report.name);
  report.state = static_cast<int32_t>(condition.state);
  report.connected = slot.stats.state == SlotState::kReady ? 1 : 0;
  report.usable = condition.usable ? 1 : 0;
  report.needs_restart = condition.needs_restart ? 1 : 0;
  report.epoch = slot.stats.epoch;
  report.weight = slot.weight;
  report.sessions_idle = slot.stats.sessions.idle;
  report.sessions_leased = slot.stats.sessions.leased;
  report.sessions_quarantined = slot.stats.sessions.quarantined;
  report.sessions_target_max = slot.stats.sessions.target_max;
  report.sessions_configured_max = slot.sessions_configured_max;
  report.sessions_opened = slot.stats.sessions.opened;
  report.sessions_discarded = slot.stats.sessions.discarded;
  report.session_copies = slot.stats.session_copies;
  report.in_flight = slot.in_flight;
  report.concurrency = slot.concurrency;
  report.overdue = slot.overdue;
  report.wrong_results = slot.stats.wrong_results;
  c_abi::copy(condition.reason, report.reason);
  c_abi::copy(slot.token.label, report.token_label);
  c_abi::copy(slot.token.model, report.token_model);
  c_abi::copy(slot.token.firmware, report.token_firmware);
  c_abi::copy(slot.token.serial, report.token_serial);
  c_abi::copy(slot.module_path, report.module_path);
  std::vector<std::string_view> able;
  for (const AlgorithmOnSlot& each : slot.algorithms) {
    if (!each.recipe.empty()) able.push_back(each.algorithm);
  }
  c_abi::copy(fmt::format("{}", fmt::join(able, ",")), report.algorithms);
  return report;
}

} // namespace

extern "C" {

const char* hsmux_health_level_name(hsmux_health_level level) {
  return health_level_name(static_cast<HealthLevel>(level)).data(); // string literals: they end with NUL
}

const char* hsmux_slot_state_name(hsmux_slot_state state) {
  return health_state_name(static_cast<HealthState>(state)).data();
}

hsmux_status hsmux_health(hsmux_engine* engine, hsmux_health_report* report, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (report == nullptr || report->struct_size < sizeof(std::size_t)) return fail(c_abi::bad_struct());
    const EngineHealth health = target.health();
    hsmux_health_report filled;
    HSMUX_INIT(&filled);
    filled.level = static_cast<int32_t>(health.level);
    filled.slots = static_cast<uint32_t>(health.slots.size());
    filled.slots_usable = static_cast<uint32_t>(std::ranges::count_if(health.slots, &SlotCondition::usable));
    c_abi::copy(fmt::format("{}", fmt::join(health.reasons, "\n")), filled.reasons);
    c_abi::give(filled, report);
    return {};
  });
}

hsmux_status hsmux_slots(hsmux_engine* engine, hsmux_slot_visitor visit, void* context, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (visit == nullptr) return fail(ErrorKind::kInvalidArgument, "visit is NULL");
    for (const SlotReport& slot : target.slots_now()) {
      const hsmux_slot_report report = plain(slot);
      visit(context, &report);
    }
    return {};
  });
}

hsmux_status hsmux_slot_unlatch(hsmux_engine* engine, const char* slot, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(slot, "slot"));
    return target.unlatch(name);
  });
}

hsmux_status hsmux_slot_drain(hsmux_engine* engine, const char* slot, int32_t on, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(slot, "slot"));
    return target.drain(name, on != 0);
  });
}

} // extern "C"
