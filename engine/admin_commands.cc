#include "engine/admin_commands.h"

#include <nlohmann/json.hpp>

#include "engine/engine_core.h"

namespace hsmux {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string refused(const Error& error) {
  return dump({{"ok", false}, {"error", {{"kind", error_kind_name(error.kind)}, {"message", error.message}}}});
}

Json slot_json(const SlotReport& slot) {
  const SlotCondition condition = condition_of(slot.name, slot.stats);
  const SessionPoolStats& sessions = slot.stats.sessions;
  return {{"name", slot.name},
          {"health", health_state_name(condition.state)},
          {"state", slot_state_name(condition.connection)},
          {"usable", condition.usable},
          {"reason", condition.reason},
          {"epoch", slot.stats.epoch},
          {"weight", slot.weight},
          {"sessions",
           {{"idle", sessions.idle},
            {"leased", sessions.leased},
            {"target_max", sessions.target_max},
            {"opened", sessions.opened},
            {"discarded", sessions.discarded},
            {"quarantined", sessions.quarantined}}},
          {"in_flight", slot.in_flight},
          {"concurrency", slot.concurrency},
          {"overdue", slot.overdue},
          {"wrong_results", slot.stats.wrong_results},
          {"last_discarded", slot.stats.last_flight}};
}

Json status_json(const Engine& engine) {
  const EngineHealth health = engine.health();
  Json slots = Json::array();
  for (const SlotReport& slot : engine.slots_now()) slots.push_back(slot_json(slot));
  return {{"ok", true},
          {"health", health_level_name(health.level)},
          {"reasons", health.reasons},
          {"slots", std::move(slots)}};
}

Json stats_json(const Engine& engine) {
  const WorkStats work = engine.work();
  Json json = status_json(engine);
  json["work"] = {{"submitted", work.submitted},
                  {"waiting", work.waiting},
                  {"threads", work.threads},
                  {"idle", work.idle},
                  {"quarantined", work.quarantined}};
  return json;
}

} // namespace

std::string answer_admin(Engine& engine, std::string_view line) {
  const Json request = Json::parse(line, nullptr, false);
  const auto text = [&](const char* key) {
    const auto member = request.is_object() ? request.find(key) : request.end();
    return member != request.end() && member->is_string() ? member->get<std::string>() : std::string();
  };
  const std::string command = text("command"), slot = text("slot");
  if (command == "status") return dump(status_json(engine));
  if (command == "stats") return dump(stats_json(engine));
  if (command != "drain" && command != "undrain" && command != "unlatch" && command != "reload") {
    return refused(
        make_error(ErrorKind::kInvalidArgument, "unknown command: status, stats, drain, undrain, unlatch, reload"));
  }
  const Status done = command == "reload"    ? engine.reload()
                      : command == "unlatch" ? engine.unlatch(slot)
                                             : engine.drain(slot, command == "drain");
  return done ? dump({{"ok", true}}) : refused(done.error());
}

} // namespace hsmux
