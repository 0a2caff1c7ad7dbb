// hsmux sim
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/file_io.h"
#include "tools/line_socket.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kTimeout{10'000};
constexpr std::size_t kSettingsBytesMax = 512UL << 10;
constexpr const char* kSimGlobal = "Global options: see hsmux --help.";

struct SimOptions {
  std::string socket;                  // --socket, else $HSMUX_SIM_SOCKET
  std::string file, action, slot, pin; // of the subcommands that have them
  std::optional<double> time_s;
  std::optional<std::uint64_t> slot_id;
};

Result<Json> ask(const Program& program, const SimOptions& options, const Json& request) {
  if (options.socket.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                "which simulator? Give --socket PATH or set HSMUX_SIM_SOCKET: the `control` of its settings");
  }
  const std::chrono::milliseconds timeout{program.options.timeout_ms.value_or(kTimeout.count())};
  HSMUX_TRY(const std::string line,
            ask_socket(options.socket, request.dump(-1, ' ', false, Json::error_handler_t::replace), timeout));
  Json answer = Json::parse(line, nullptr, false);
  if (!answer.is_object()) return fail(ErrorKind::kIo, options.socket + ": what answers there is no simulator");
  if (answer.value("ok", false)) return answer;
  return fail(ErrorKind::kInvalidArgument, printable(answer.value("error", "refused without a reason")));
}

std::string status_text(const Json& status) {
  std::string text = fmt::format("{:.1f} s, {} calls, {} violations{}\n", status.value("seconds", 0.),
                                 status.value("total", 0), status.value("violations", 0),
                                 status.value("last_violation", "").empty()
                                     ? ""
                                     : ", the last one: " + printable(status.value("last_violation", "")));
  std::vector<std::vector<std::string>> rows;
  for (const Json& slot : status.value("slots", Json::array())) {
    rows.push_back({std::to_string(slot.value("id", 0UL)), printable(slot.value("label", "")),
                    slot.value("present", false) ? "present" : "removed", slot.value("pin", ""),
                    std::to_string(slot.value("epoch", 0UL)), std::to_string(slot.value("sessions", 0UL)),
                    std::to_string(slot.value("engines", 0UL)), std::to_string(slot.value("operations", 0UL)),
                    std::to_string(slot.value("calls", 0L)), std::to_string(slot.value("logins", 0L))});
  }
  if (!rows.empty()) {
    text +=
        table({"SLOT", "LABEL", "TOKEN", "PIN", "EPOCH", "SESSIONS", "ENGINES", "OPERATIONS", "CALLS", "LOGINS"}, rows);
  }
  const Json played = status.value("faults_played", Json::object());
  for (const auto& [action, times] : played.items()) {
    text += fmt::format("played: {} {} times\n", printable(action), times.get<unsigned long>());
  }
  return text;
}

// Members of other types come from something that is no simulator.
Result<std::string> status_text(const SimOptions& options, const Json& status) {
  try {
    return status_text(status);
  } catch (const Json::exception&) {
    return fail(ErrorKind::kIo, options.socket + ": what answers there is no simulator of this version");
  }
}

Result<ExitCode> status(const Program& program, const SimOptions& options) {
  HSMUX_TRY(const Json answer, ask(program, options, {{"command", "status"}}));
  const Json shown = answer.value("status", Json::object());
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json(shown));
    return ExitCode::kOk;
  }
  HSMUX_TRY(const std::string text, status_text(options, shown));
  HSMUX_CHECK(Program::print(text));
  return ExitCode::kOk;
}

// A request whose answer says no more than that it was done.
Result<ExitCode> order(const Program& program, const SimOptions& options, const Json& request) {
  HSMUX_TRY(const Json answer, ask(program, options, request));
  if (program.options.json) HSMUX_CHECK(Program::print_json(answer));
  return ExitCode::kOk;
}

Result<ExitCode> apply(const Program& program, const SimOptions& options) {
  HSMUX_TRY(const SecureBytes text, read_input(options.file, kSettingsBytesMax));
  const ByteView view = text.view();
  return order(program, options, {{"command", "apply"}, {"settings", std::string(view.begin(), view.end())}});
}

Result<ExitCode> play(const Program& program, const SimOptions& options) {
  Json request{{"command", "play"}, {"action", options.action}};
  const bool number = !options.slot.empty() && options.slot.find_first_not_of("0123456789") == std::string::npos;
  // Digits are an id; a label of digits is told by quotes: "'7'".
  if (options.slot.size() > 2 && options.slot.front() == '\'' && options.slot.back() == '\'') {
    request["slot"] = options.slot.substr(1, options.slot.size() - 2);
  } else if (number && options.slot.size() < 19) {
    request["slot"] = std::stoull(options.slot);
  } else if (!options.slot.empty()) {
    request["slot"] = options.slot;
  }
  if (options.time_s) request["time_us"] = static_cast<std::uint64_t>(*options.time_s * 1e6);
  if (!options.pin.empty()) request["pin"] = options.pin;
  if (options.slot_id) request["slot_id"] = *options.slot_id;
  return order(program, options, request);
}

using SharedOptions = std::shared_ptr<SimOptions>;

void add_settings(CLI::App& sim, Program& program, const SharedOptions& options) {
  CLI::App* command = sim.add_subcommand("status", "Slots, counts, violations and faults played");
  command->footer(std::string("Examples:\n  hsmux sim status\n  hsmux sim status --json | jq .counts\n") + kSimGlobal);
  program.on(*command, [&program, options] { return status(program, *options); });

  command = sim.add_subcommand("apply", "Change times, limits and other settings, and add faults");
  command->add_option("FILE", options->file, "Settings as of docs/simhsm.md; - or absent: standard input");
  command->footer(std::string("Examples:\n"
                              "  hsmux sim apply slow.toml\n"
                              "  printf '[[time]]\\nfunction = \"C_Sign\"\\nus = 50000\\n' | hsmux sim apply\n"
                              "  printf '[[fault]]\\naction = \"answer\"\\nrv = \"CKR_DEVICE_ERROR\"\\n' | hsmux sim "
                              "apply\n") +
                  kSimGlobal);
  program.on(*command, [&program, options] { return apply(program, *options); });
}

void add_play(CLI::App& sim, Program& program, const SharedOptions& options) {
  CLI::App* command = sim.add_subcommand("play", "Do something to a slot, now");
  command
      ->add_option("ACTION", options->action,
                   "remove-token, insert-token, lose-sessions, logout or pin-state (with --pin)")
      ->required();
  // Not --slot: that is a slot of the configuration, and this command has none.
  command->add_option("TOKEN", options->slot, "The token's label or the slot's id; absent: every slot");
  command->add_option("--time", options->time_s, "remove-token: it comes back after so long")
      ->check(CLI::Range(0.001, 3600.))
      ->type_name("SECONDS");
  command->add_option("--pin", options->pin,
                      "true, count-low, final-try, locked, expired, not-initialised or to-be-changed");
  command->add_option("--slot-id", options->slot_id, "insert-token: under another slot id")->type_name("N");
  command->footer(std::string("Examples:\n"
                              "  hsmux sim play remove-token sim-0 --time 5\n"
                              "  hsmux sim play lose-sessions\n"
                              "  hsmux sim play pin-state sim-1 --pin final-try\n") +
                  kSimGlobal);
  program.on(*command, [&program, options] { return play(program, *options); });
}

void add_orders(CLI::App& sim, Program& program, const SharedOptions& options) {
  struct Order {
    const char* name;
    const char* text;
  };
  for (const Order& each : {Order{"clear-faults", "Forget all faults that were not played yet"},
                            Order{"release", "Let hanging calls go on, and forget the faults that hang them"},
                            Order{"reset-counts", "Counts and violations back to zero"},
                            Order{"reset", "Everything as it was when the module was loaded; sessions stay open"}}) {
    CLI::App* command = sim.add_subcommand(each.name, each.text);
    command->footer(fmt::format("Examples:\n  hsmux sim {}\n{}", each.name, kSimGlobal));
    program.on(*command, [&program, options, name = std::string(each.name)] {
      return order(program, *options, {{"command", name}});
    });
  }
}

} // namespace

void add_sim(CLI::App& app, Program& program) {
  const auto options = std::make_shared<SimOptions>();
  CLI::App* sim = app.add_subcommand("sim", "Control a running simhsm, the simulated HSM");
  sim->add_option("--socket", options->socket, "The `control` of its settings; else $HSMUX_SIM_SOCKET")
      ->envname("HSMUX_SIM_SOCKET")
      ->type_name("PATH");
  sim->require_subcommand(1);
  sim->footer(std::string("Examples:\n  hsmux sim --socket ./sim.sock status\n  hsmux sim play --help\n") + kSimGlobal);
  add_settings(*sim, program, options);
  add_play(*sim, program, options);
  add_orders(*sim, program, options);
}

} // namespace hsmux
