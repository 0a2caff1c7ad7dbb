// The running hsmux program: its global options, its way to the engine, and its rules for standard output and standard
// error. One object in main(); its functions are called on the main thread, except those that say otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "tools/exit_code.h"
#include "tools/log.h"

namespace CLI {
class App;
}

namespace hsmux {

struct GlobalOptions {
  std::string config_path; // --config, else $HSMUX_CONFIG
  std::string connect;     // --connect: the admin socket of an engine in another process
  bool json = false;
  std::optional<std::uint32_t> timeout_ms;       // of each request, and of connecting
  std::string slot;                              // only this slot: the others are not even connected
  std::optional<std::size_t> slots_at_start_min; // how many slots must be ready; absent: what the command says
  bool allow_pin_count_low = false;
  LogLevel log_level = LogLevel::kWarning;
};

struct OpenOptions {
  EventSink events = {};              // called on any thread
  std::size_t slots_at_start_min = 0; // 0 = all; --slots-at-start goes first
  bool slots_may_be_down = false;     // for who watches: go on when none is ready; --slots-at-start goes first
  // The one algorithm that is wanted: others need not be probed at start, which may make an HSM generate RSA keys.
  std::optional<Algorithm> only = std::nullopt;
};

// For commands that use no algorithm: an engine probes at least one at start, and this one needs no costly key.
inline constexpr Algorithm kCheapestProbe = Algorithm::kEcdsaP256Sha256;

// What a subcommand does: its exit code, or the error that the program reports.
using Action = std::function<Result<ExitCode>()>;

// Standard output carries what was asked for and nothing else; everything else goes to standard error.
class Program {
public:
  GlobalOptions options;

  // Adds the global options and the exit codes to `app`, so that all may stand before or after a subcommand.
  void add_options(CLI::App& app);
  // `action` is what runs when `command` was chosen, after all of the command line was understood.
  void on(CLI::App& command, Action action);
  // Runs the chosen action and reports its error. The exit status of the process.
  ExitCode run();

  // The configuration with the global options applied. Errors: kInvalidConfig (also: none was given), kIo,
  // kInvalidArgument (--slot names none).
  [[nodiscard]] Result<Config> read_configuration() const;
  // Shows progress when it takes long; an interruption ends it. Errors: as read_configuration and Engine::open.
  [[nodiscard]] Result<std::unique_ptr<Engine>> open_engine(const OpenOptions& open = {});
  // The same with a configuration that was read before, and changed.
  [[nodiscard]] Result<std::unique_ptr<Engine>> open_engine(Config config, const OpenOptions& open);
  // --timeout, counted from now. (--slot needs no mention: the engine knows only that slot.)
  [[nodiscard]] RequestOptions request_options() const;

  // SIGINT or SIGTERM came. Work that takes long looks at this (any thread) and ends; run() then exits with
  // kInterrupted if the action returned an error. A second signal ends the process at once.
  static bool interrupted();
  static void watch_signals();

  // Standard output. Errors: kIo (closed pipe, full disk).
  [[nodiscard]] static Status print(std::string_view text);
  // One JSON value on one line.
  [[nodiscard]] static Status print_json(const nlohmann::json& value);
  // A sentence for people on standard error, "hsmux: ..."; with --json {"note": "..."}.
  void note(std::string_view text) const;
  // {"error":{...}} with --json, else one line; on standard error.
  void report(const Error& error) const;
  // Usage errors, which have no Error of their own before the options are known.
  static void report(const Error& error, bool json);

  // Writes to the program's log; may outlive this object.
  [[nodiscard]] LogSink log_sink() const {
    return [log = log_](LogLevel level, const std::string& message) { log->write(level, message); };
  }
  // Log lines below `level` are not shown, whatever --log-level says.
  void hush(LogLevel level) { log_->raise(level); }

private:
  Action action_;
  std::shared_ptr<Log> log_ = std::make_shared<Log>(); // shared with engines that were left behind
  bool left_behind_ = false;                           // a thread still runs: no destructor of static objects may
};

// {"kind","call","rv","rv_name","slot","retryable","message"}; call, rv and slot only where there are some.
nlohmann::json error_json(const Error& error);

} // namespace hsmux
