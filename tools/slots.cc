// hsmux slots
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "mechanisms/quirks.h"
#include "slots/mechanism_name.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

constexpr unsigned long kUnknown = ~0UL; // CK_UNAVAILABLE_INFORMATION

std::string limit_text(unsigned long sessions_max) {
  if (sessions_max == 0) return "unlimited";
  return sessions_max == kUnknown ? "unknown" : std::to_string(sessions_max);
}

nlohmann::json mechanisms_json(const SlotReport& slot) {
  nlohmann::json all = nlohmann::json::array();
  for (const MechanismOffer& offer : slot.mechanisms) {
    all.push_back({{"name", mechanism_name(offer.type)},
                   {"type", offer.type},
                   {"key_size_min", offer.key_size_min},
                   {"key_size_max", offer.key_size_max},
                   {"flags", offer.flags}});
  }
  return all;
}

nlohmann::json quirks_json(const SlotReport& slot) {
  const Quirks& row = quirks_of(slot.token, slot.module_path);
  return {{"gcm_iv", row.gcm_iv == GcmIv::kHost ? "host" : "token"},
          {"gcm_iv_bits", row.gcm_iv_bits == GcmIvBits::kZero ? "zero" : "set"},
          {"edwards_point", row.edwards_point == EdwardsPoint::kRaw ? "raw" : "octet-string"},
          {"edwards_params", row.edwards_params == EdwardsParams::kOid ? "oid" : "name"},
          {"key_wrap", row.key_wrap == 0 ? nlohmann::json(nullptr) : nlohmann::json(mechanism_name(row.key_wrap))},
          {"evidence", row.evidence}};
}

nlohmann::json slot_json(const SlotReport& slot, bool mechanisms) {
  nlohmann::json algorithms = nlohmann::json::array();
  for (const AlgorithmOnSlot& row : slot.algorithms) {
    algorithms.push_back({{"algorithm", row.algorithm},
                          {"recipe", row.recipe.empty() ? nlohmann::json() : nlohmann::json(row.recipe)},
                          {"reason", row.reason}});
  }
  const SessionPoolStats& sessions = slot.stats.sessions;
  nlohmann::json json{
      {"name", slot.name},
      {"state", slot_state_name(slot.stats.state)},
      {"health", health_state_name(slot.stats.health)},
      {"health_reason", health_cause_text(slot.stats.cause)},
      {"epoch", slot.stats.epoch},
      {"weight", slot.weight},
      {"module",
       {{"path", slot.module_path}, {"description", slot.module_description}, {"locks", locks_name(slot.locks)}}},
      {"token",
       {{"label", slot.token.label},
        {"manufacturer", slot.token.manufacturer},
        {"model", slot.token.model},
        {"serial", slot.token.serial},
        {"firmware", slot.token.firmware},
        {"slot_id", slot.token.slot_id},
        {"flags", token_flag_names(slot.token.flags)},
        {"sessions_max", limit_text(slot.token.sessions_max)}}},
      {"quirks", slot.quirks},
      {"quirks_row", quirks_json(slot)},
      {"sessions",
       {{"idle", sessions.idle},
        {"leased", sessions.leased},
        {"target_max", sessions.target_max},
        {"configured_max", slot.sessions_configured_max},
        {"opened", sessions.opened},
        {"discarded", sessions.discarded},
        {"quarantined", sessions.quarantined}}},
      {"session_copies", slot.stats.session_copies},
      {"requests",
       {{"in_flight", slot.in_flight},
        {"concurrency", slot.concurrency},
        {"overdue", slot.overdue},
        {"wrong_results", slot.stats.wrong_results}}},
      {"algorithms", std::move(algorithms)}};
  if (!slot.stats.last_flight.empty()) json["last_discarded"] = slot.stats.last_flight;
  if (slot.stats.last_error) json["last_error"] = error_json(*slot.stats.last_error);
  if (mechanisms) json["mechanisms"] = mechanisms_json(slot);
  return json;
}

std::string indented(const std::string& text) {
  std::string result;
  for (const std::string& line : CLI::detail::split(text, '\n')) {
    if (!line.empty()) result += "  " + line + "\n";
  }
  return result;
}

std::string slot_text(const SlotReport& slot, bool mechanisms) {
  const TokenIdentity& token = slot.token;
  const SessionPoolStats& sessions = slot.stats.sessions;
  std::string text =
      fmt::format("{}: {}, {}\n", slot.name, slot_state_name(slot.stats.state), health_state_name(slot.stats.health));
  if (slot.stats.cause != HealthCause::kNone) {
    text += fmt::format("  health      {}\n", health_cause_text(slot.stats.cause));
  }
  if (slot.stats.last_error) text += fmt::format("  last error  {}\n", printable(slot.stats.last_error->text()));
  if (!slot.stats.last_flight.empty()) text += fmt::format("  discarded   {}\n", slot.stats.last_flight);
  text += fmt::format("  module      {} ({}), locks by {}\n", printable(slot.module_path),
                      printable(slot.module_description), slot.locks == Locks::kEngine ? "hsmux" : "the system");
  text += fmt::format("  token       '{}', serial {}, {} {}, firmware {}\n", printable(token.label),
                      printable(token.serial), printable(token.manufacturer), printable(token.model),
                      printable(token.firmware));
  text += fmt::format("  flags       {}\n", fmt::join(token_flag_names(token.flags), ", "));
  text += fmt::format("  sessions    {} idle, {} leased, limit {} (the token's own: {})\n", sessions.idle,
                      sessions.leased, sessions.target_max, limit_text(token.sessions_max));
  if (slot.stats.session_copies > 0) text += fmt::format("  copies      of {} keys\n", slot.stats.session_copies);
  text += fmt::format("  requests    {} in flight, at most {} at once\n", slot.in_flight, slot.concurrency);
  if (slot.overdue > 0) {
    text +=
        fmt::format("  overdue     {} requests, {} sessions still in the module\n", slot.overdue, sessions.quarantined);
  }
  text += fmt::format("  quirks      {}: {}\n", slot.quirks, describe(quirks_of(token, slot.module_path)));
  std::vector<std::vector<std::string>> rows;
  for (const AlgorithmOnSlot& row : slot.algorithms) {
    rows.push_back({std::string(row.algorithm), row.recipe.empty() ? "none" : std::string(row.recipe), row.reason});
  }
  if (!rows.empty()) text += indented(table({"ALGORITHM", "RECIPE", "WHY"}, rows));
  if (!mechanisms) return text;
  rows.clear();
  for (const MechanismOffer& offer : slot.mechanisms) {
    rows.push_back({mechanism_name(offer.type), fmt::format("{}-{}", offer.key_size_min, offer.key_size_max),
                    fmt::format("{:#x}", offer.flags)});
  }
  return text + indented(table({"MECHANISM", "KEY SIZES", "FLAGS"}, rows));
}

Result<ExitCode> slots(Program& program, bool mechanisms) {
  // One slot that is up is enough to see what is wrong with the others.
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.slots_at_start_min = 1}));
  const Progress progress("trying the algorithms");
  nlohmann::json all = nlohmann::json::array();
  std::string text;
  for (const SlotReport& slot : engine->slots(true)) {
    if (program.options.json) {
      all.push_back(slot_json(slot, mechanisms));
    } else {
      text += (text.empty() ? "" : "\n") + slot_text(slot, mechanisms);
    }
  }
  HSMUX_CHECK(program.options.json ? Program::print_json({{"slots", std::move(all)}}) : Program::print(text));
  return ExitCode::kOk;
}

} // namespace

void add_slots(CLI::App& app, Program& program) {
  auto mechanisms = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("slots", "Every slot: token, state, sessions, and how it does each algorithm");
  command->add_flag("--mechanisms", *mechanisms, "All mechanisms that the tokens offer, too");
  command->footer("Examples:\n"
                  "  hsmux slots\n"
                  "  hsmux slots --slot hsm-a --mechanisms --json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, mechanisms] { return slots(program, *mechanisms); });
}

} // namespace hsmux
