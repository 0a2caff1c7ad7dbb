#include "tools/capacity/drill_actor.h"

#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tools/line_socket.h"
#include "tools/program.h"
#include "tools/terminal.h"

namespace hsmux::capacity {
namespace {

struct DrillRow {
  DrillKind kind;
  std::string_view name;
  std::string_view begin_text, end_text; // what the operator does
};
constexpr std::array kDrills{
    DrillRow{DrillKind::kPull, "pull", "take it off the network or switch it off", "put it back"},
    DrillRow{DrillKind::kKillSessions, "kill-sessions", "end all sessions of this client at the HSM", "nothing more"},
    DrillRow{DrillKind::kSlow, "slow", "make it slow (another load, or a slow network)", "end that"},
};

const DrillRow& row_of(DrillKind kind) { return *std::ranges::find(kDrills, kind, &DrillRow::kind); }

Status tell_simulator(const std::string& socket, const nlohmann::json& request) {
  HSMUX_TRY(const std::string text, ask_socket(socket, request.dump(), std::chrono::seconds(10)));
  const nlohmann::json answer = nlohmann::json::parse(text, nullptr, false);
  if (answer.is_object() && answer.value("ok", false)) return {};
  return fail(ErrorKind::kIo, "the simulator refused: " + text);
}

Status play_on_simulator(const Drill& drill, const DrillMeans& means, bool begin) {
  std::string socket = means.sim_socket;
  if (const std::size_t place = socket.find("%p"); place != std::string::npos) {
    socket.replace(place, 2, std::to_string(getpid()));
  }
  switch (drill.kind) {
  case DrillKind::kPull:
    return tell_simulator(
        socket, {{"command", "play"}, {"action", begin ? "remove-token" : "insert-token"}, {"slot", drill.token}});
  case DrillKind::kKillSessions:
    if (!begin) return {};
    return tell_simulator(socket, {{"command", "play"}, {"action", "lose-sessions"}, {"slot", drill.token}});
  case DrillKind::kSlow: break;
  }
  if (!begin) return tell_simulator(socket, {{"command", "clear-faults"}});
  std::string settings;
  for (const std::string_view function : {"C_Sign", "C_Decrypt", "C_Encrypt", "C_DeriveKey"}) {
    settings += fmt::format("[[fault]]\nslot = '{}'\nfunction = '{}'\nevery = 1\naction = 'delay'\ntime_us = {}\n",
                            drill.token, function, means.slow_us);
  }
  return tell_simulator(socket, {{"command", "apply"}, {"settings", settings}});
}

Status call_program(const std::string& program, const Drill& drill, bool begin) {
  std::string path = program, phase = begin ? "begin" : "end", kind(drill_name(drill.kind)), slot = drill.slot;
  std::array<char*, 5> arguments{path.data(), phase.data(), kind.data(), slot.data(), nullptr};
  pid_t child = -1;
  if (const int failed = posix_spawnp(&child, path.c_str(), nullptr, nullptr, arguments.data(), environ); failed != 0) {
    return fail(ErrorKind::kIo, fmt::format("--drill-script {}: {}", program, std::strerror(failed)));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorKind::kIo, fmt::format("--drill-script {} {} {} {} failed", program, phase, kind, slot));
}

Status ask_operator(const Drill& drill, bool begin) {
  if (!stdin_is_terminal()) {
    return fail(ErrorKind::kInvalidArgument,
                "nobody can be asked to do the drill: standard input is no terminal; give --drill-script PROGRAM, or "
                "--sim-socket PATH for simhsm");
  }
  const DrillRow& row = row_of(drill.kind);
  fmt::print(stderr, "\nSlot {}: {}; then press Enter\n", drill.slot, begin ? row.begin_text : row.end_text);
  while (true) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted during a drill");
    if (poll(&input, 1, 100) <= 0) continue;
    std::array<char, 256> line{};
    const ssize_t count = read(STDIN_FILENO, line.data(), line.size());
    if (count == 0) return fail(ErrorKind::kIo, "standard input ended during a drill");
    if (count > 0 && std::memchr(line.data(), '\n', static_cast<std::size_t>(count)) != nullptr) return {};
  }
}

} // namespace

std::string_view drill_name(DrillKind kind) { return row_of(kind).name; }

Result<Drill> Drill::parse(std::string_view text) {
  const std::size_t sign = text.find('=');
  const auto* row = std::ranges::find(kDrills, text.substr(0, sign), &DrillRow::name);
  if (row == kDrills.end() || sign == std::string_view::npos || sign + 1 == text.size()) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("--drill {}: pull=SLOT, kill-sessions=SLOT or slow=SLOT, with a configured slot", text));
  }
  return Drill{.kind = row->kind, .slot = std::string(text.substr(sign + 1)), .token = {}};
}

Status play_drill(const Drill& drill, const DrillMeans& means, bool begin) {
  if (!means.sim_socket.empty()) return play_on_simulator(drill, means, begin);
  if (!means.script.empty()) return call_program(means.script, drill, begin);
  return ask_operator(drill, begin);
}

} // namespace hsmux::capacity
