// hsmux status, stats, drain, undrain, unlatch, reload: what is asked of an engine inside another process, over the
// socket that its configuration names in [admin].
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/line_socket.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

using Json = nlohmann::json;

Result<Json> ask_engine(const Program& program, const Json& request) {
  if (program.options.connect.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                "--connect PATH is needed: the socket that the engine's configuration names in [admin]");
  }
  const std::chrono::milliseconds timeout(program.options.timeout_ms.value_or(10'000));
  HSMUX_TRY(const std::string answer, ask_socket(program.options.connect, request.dump(), timeout));
  const Json json = Json::parse(answer, nullptr, false);
  const auto stranger = [&] {
    return fail(ErrorKind::kIo, program.options.connect + ": what answers there is no engine of this version");
  };
  if (!json.is_object() || !json.contains("ok") || !json["ok"].is_boolean()) return stranger();
  if (json["ok"].get<bool>()) return json;
  const Json error = json.value("error", Json::object());
  if (!error.is_object() || !error.value("message", Json()).is_string()) return stranger();
  const bool mistaken = error.value("kind", Json()) == error_kind_name(ErrorKind::kInvalidArgument);
  return fail(mistaken ? ErrorKind::kInvalidArgument : ErrorKind::kUnavailable, error["message"].get<std::string>());
}

std::string engine_status_text(const Json& status) {
  std::string text = printable(status.at("health").get<std::string>()) + "\n";
  std::vector<std::vector<std::string>> rows;
  for (const Json& slot : status.at("slots")) {
    const Json& sessions = slot.at("sessions");
    rows.push_back({printable(slot.at("name").get<std::string>()), printable(slot.at("health").get<std::string>()),
                    fmt::format("{}/{}", sessions.at("leased").get<std::uint64_t>(),
                                sessions.at("idle").get<std::uint64_t>() + sessions.at("leased").get<std::uint64_t>()),
                    std::to_string(slot.at("in_flight").get<std::uint64_t>()),
                    std::to_string(slot.at("overdue").get<std::uint64_t>()),
                    printable(slot.at("reason").get<std::string>())});
  }
  text += table({"SLOT", "HEALTH", "SESSIONS", "IN FLIGHT", "OVERDUE", "WHY"}, rows);
  if (!status.contains("work")) return text;
  const Json& work = status.at("work");
  return text + fmt::format("{} submitted, {} waiting; {} threads, {} of them idle, {} stuck in a module\n",
                            work.at("submitted").get<std::uint64_t>(), work.at("waiting").get<std::uint64_t>(),
                            work.at("threads").get<std::uint64_t>(), work.at("idle").get<std::uint64_t>(),
                            work.at("quarantined").get<std::uint64_t>());
}

Result<ExitCode> show_engine(const Program& program, const std::string& command) {
  HSMUX_TRY(Json answer, ask_engine(program, {{"command", command}}));
  try { // members of other types come from something that is no engine
    const std::string health = answer.at("health").get<std::string>();
    answer.erase("ok");
    HSMUX_CHECK(program.options.json ? Program::print_json(answer) : Program::print(engine_status_text(answer)));
    return health == "ok" || health == "degraded" ? ExitCode::kOk : ExitCode::kHsm;
  } catch (const Json::exception&) {
    return fail(ErrorKind::kIo, program.options.connect + ": what answers there is no engine of this version");
  }
}

Result<ExitCode> order_engine(const Program& program, const std::string& command, const std::string& slot) {
  Json request{{"command", command}};
  if (!slot.empty()) request["slot"] = slot;
  HSMUX_TRY(const Json answer, ask_engine(program, request));
  if (program.options.json) HSMUX_CHECK(Program::print_json(answer));
  return ExitCode::kOk;
}

} // namespace

void add_admin(CLI::App& app, Program& program) {
  struct Order {
    const char *name, *text;
    bool of_a_slot;
  };
  for (const char* name : {"status", "stats"}) {
    CLI::App* command = app.add_subcommand(name, std::string(name) == "status"
                                                     ? "With --connect: how a running engine and its slots are"
                                                     : "With --connect: the same with its threads and what waits");
    command->footer(
        fmt::format("Examples:\n  hsmux --connect /run/app/hsmux.sock {}\nGlobal options: see hsmux --help.", name));
    program.on(*command, [&program, name = std::string(name)] { return show_engine(program, name); });
  }
  for (const Order& each :
       {Order{"drain", "With --connect: no more requests for a slot", true},
        Order{"undrain", "With --connect: requests for the slot again", true},
        Order{"unlatch", "With --connect: the PIN of the slot is right now, try once more", true},
        Order{"reload", "With --connect: look keys up anew, try slots that are down at once", false}}) {
    CLI::App* command = app.add_subcommand(each.name, each.text);
    const auto slot = std::make_shared<std::string>();
    // Not --slot: that is a slot of a configuration, and this command has none.
    if (each.of_a_slot) command->add_option("SLOT", *slot, "The slot's name in the engine's configuration")->required();
    command->footer(
        fmt::format("Examples:\n  hsmux --connect /run/app/hsmux.sock {}{}\nGlobal options: see hsmux --help.",
                    each.name, each.of_a_slot ? " hsm-a" : ""));
    program.on(*command,
               [&program, name = std::string(each.name), slot] { return order_engine(program, name, *slot); });
  }
}

} // namespace hsmux
