// hsmux health
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/health_json.h"
#include "tools/terminal.h"

namespace hsmux {

nlohmann::json health_json(const EngineHealth& health) {
  nlohmann::json slots = nlohmann::json::array();
  for (const SlotCondition& slot : health.slots) {
    slots.push_back({{"name", slot.name},
                     {"health", health_state_name(slot.state)},
                     {"state", slot_state_name(slot.connection)},
                     {"usable", slot.usable},
                     {"needs_restart", slot.needs_restart},
                     {"reason", slot.reason}});
  }
  return {{"health", health_level_name(health.level)}, {"reasons", health.reasons}, {"slots", std::move(slots)}};
}

std::string health_text(const EngineHealth& health) {
  std::string text = fmt::format("{}\n", health_level_name(health.level));
  for (const std::string& reason : health.reasons) text += fmt::format("  {}\n", printable(reason));
  return text;
}

namespace {

Result<ExitCode> show_health(Program& program) {
  // One slot that is up is enough to see how the others are.
  HSMUX_TRY(const std::unique_ptr<Engine> engine,
            program.open_engine({.slots_at_start_min = 1, .only = kCheapestProbe}));
  const EngineHealth health = engine->health();
  HSMUX_CHECK(program.options.json ? Program::print_json(health_json(health)) : Program::print(health_text(health)));
  return health.level <= HealthLevel::kDegraded ? ExitCode::kOk : ExitCode::kHsm;
}

} // namespace

void add_health(CLI::App& app, Program& program) {
  CLI::App* command =
      app.add_subcommand("health", "ok, degraded, failed or fatal, and why; exit code 0 while requests can be served");
  command->footer("Examples:\n"
                  "  hsmux health\n"
                  "  hsmux health --json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program] { return show_health(program); });
}

} // namespace hsmux
