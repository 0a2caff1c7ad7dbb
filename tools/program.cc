#include "tools/program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "slots/disposition.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

std::atomic<bool> interruption{false};
static_assert(std::atomic<bool>::is_always_lock_free, "written by a signal handler");

// SA_RESETHAND gives the second signal its default effect.
void on_signal(int) {
  interruption = true;
  constexpr std::string_view kText = "\nhsmux: ending; once more to end at once\n";
  const int saved = errno;
  if (isatty(STDERR_FILENO) != 0) (void)!write(STDERR_FILENO, kText.data(), kText.size());
  errno = saved;
}

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); // tokens need not speak UTF-8
}

void print_error_line(const std::string& line) {
  std::fputs((line + "\n").c_str(), stderr); // nobody is left to tell when this fails
}

std::string exit_code_help() {
  std::string text = "Exit codes:\n";
  for (const ExitMeaning& row : exit_meanings()) {
    text += fmt::format("  {:>3}  {}\n", static_cast<int>(row.code), row.text);
  }
  return text;
}

// Where the configuration leaves the algorithm out, it stays out.
void narrow_to(Config& config, Algorithm algorithm) {
  const std::string name(spec_of(algorithm).name);
  if (config.algorithms.empty() || std::ranges::find(config.algorithms, name) != config.algorithms.end()) {
    config.algorithms = {name};
  }
}

bool asks_for_a_pin(const Config& config) {
  return std::ranges::any_of(config.slots, [](const SlotConfig& slot) {
    return slot.pin && std::holds_alternative<PinFromPrompt>(*slot.pin);
  });
}

Status narrow_to(Config& config, const std::string& slot) {
  std::vector<std::string> names;
  for (const SlotConfig& configured : config.slots) names.push_back(configured.name);
  std::erase_if(config.slots, [&](const SlotConfig& configured) { return configured.name != slot; });
  if (config.slots.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("--slot: no slot is named '{}'; configured are {}", slot, fmt::join(names, ", ")));
  }
  std::erase_if(config.modules, [&](const ModuleConfig& module) { return module.name != config.slots[0].module; });
  config.keys.placement = {};
  return {};
}

} // namespace

void Program::add_options(CLI::App& app) {
  const std::map<std::string, LogLevel> levels{{"debug", LogLevel::kDebug},
                                               {"info", LogLevel::kInfo},
                                               {"warning", LogLevel::kWarning},
                                               {"error", LogLevel::kError}};
  app.add_option("--config", options.config_path, "The configuration file (docs/configuration.md)")
      ->envname("HSMUX_CONFIG")
      ->type_name("FILE");
  app.add_option("--connect", options.connect, "The admin socket of an engine inside another process")
      ->type_name("PATH");
  app.add_flag("--json", options.json, "Machine-readable: results on standard output, errors on standard error");
  app.add_option("--timeout", options.timeout_ms, "Milliseconds for each request, and for connecting")
      ->check(CLI::Range(1U, 3'600'000U))
      ->type_name("MS");
  app.add_option("--slot", options.slot, "Use only this slot; the others are not connected")->type_name("NAME");
  app.add_option("--slots-at-start", options.slots_at_start_min,
                 "How many slots must be ready to go on (default: all; `slots`: 1)")
      ->check(CLI::Range(1U, 64U))
      ->type_name("N");
  app.add_flag("--allow-pin-count-low", options.allow_pin_count_low,
               "Log in although the token warns that wrong PINs were tried; a wrong PIN now may lock it");
  app.add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->transform(CLI::CheckedTransformer(levels).description(""))
      ->default_str("warning")
      ->type_name("LEVEL");
  app.footer(
      "Examples:\n"
      "  hsmux init-softhsm ./tokens --slots 2\n"
      "  hsmux --config ./tokens/hsmux.toml keys generate orders --algorithm ecdsa-p256-sha256 --slots all\n"
      "  hsmux --config ./tokens/hsmux.toml sign --key orders --algorithm ecdsa-p256-sha256 --in f --out f.sig\n"
      "Global options may stand before or after the subcommand; HSMUX_CONFIG names the configuration as --config\n"
      "does. PINs are never given on the command line: the configuration says where they are.\n\n" +
      exit_code_help());
}

void Program::on(CLI::App& command, Action action) {
  command.callback([this, action = std::move(action)] { action_ = action; });
}

ExitCode Program::run() {
  log_->configure(options.log_level, options.json);
  Result<ExitCode> result = action_ ? action_() : fail(ErrorKind::kInternal, "the subcommand does nothing");
  if (result && std::fflush(stdout) != 0) {
    result = fail(ErrorKind::kIo, fmt::format("standard output cannot be written: {}", std::strerror(errno)));
  }
  ExitCode code = result ? *result : exit_code(result.error().kind);
  if (!result && interrupted()) {
    code = ExitCode::kInterrupted;
    note("interrupted");
  } else if (!result) {
    report(result.error());
  }
  if (left_behind_) std::_Exit(static_cast<int>(code));
  return code;
}

Result<Config> Program::read_configuration() const {
  if (options.config_path.empty()) {
    return fail(ErrorKind::kInvalidConfig,
                "no configuration: give --config FILE or set HSMUX_CONFIG; `hsmux init-softhsm "
                "DIR --slots 2` makes one for trying out");
  }
  HSMUX_TRY(Config config, read_config(options.config_path));
  if (!options.slot.empty()) HSMUX_CHECK(narrow_to(config, options.slot));
  if (options.allow_pin_count_low) {
    for (SlotConfig& slot : config.slots) slot.allow_pin_count_low = true;
  }
  return config;
}

Result<std::unique_ptr<Engine>> Program::open_engine(const OpenOptions& open) {
  HSMUX_TRY(Config config, read_configuration());
  return open_engine(std::move(config), open);
}

Result<std::unique_ptr<Engine>> Program::open_engine(Config config, const OpenOptions& open) {
  if (open.only) narrow_to(config, *open.only);
  config.admin = {}; // the socket belongs to the process that serves; a command is over soon
  EngineOptions engine_options;
  engine_options.events = open.events;
  engine_options.log = log_sink();
  engine_options.set_module_environment = true;
  engine_options.slots_may_be_down = open.slots_may_be_down && !options.slots_at_start_min;
  engine_options.restart_modules = true;
  engine_options.slots_at_start_min = options.slots_at_start_min.value_or(open.slots_at_start_min);
  if (options.timeout_ms) engine_options.connect_timeout = std::chrono::milliseconds(*options.timeout_ms);

  std::optional<Progress> progress;
  if (!asks_for_a_pin(config)) progress.emplace("connecting the slots");
  log_->hold();
  // On a thread of its own, so that Ctrl-C works while a module waits for its network.
  using Opened = Result<std::unique_ptr<Engine>>;
  std::promise<Opened> promise;
  std::future<Opened> future = promise.get_future();
  std::thread opener([config = std::move(config), engine_options, promise = std::move(promise)]() mutable {
    promise.set_value(Engine::open(std::move(config), std::move(engine_options)));
  });
  while (future.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
    if (!interrupted()) continue;
    opener.detach();
    left_behind_ = true;
    return fail(ErrorKind::kUnavailable, "interrupted while connecting");
  }
  opener.join(); // a result is not yet the thread's end: its thread-local destructors must not run beside exit()'s
  Opened engine = future.get();
  progress.reset();
  log_->release(engine ? std::string() : engine.error().text());
  return engine;
}

RequestOptions Program::request_options() const {
  RequestOptions request;
  if (options.timeout_ms) request.deadline = Deadline::after(std::chrono::milliseconds(*options.timeout_ms));
  return request;
}

bool Program::interrupted() { return interruption.load(); }

void Program::watch_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN); // a closed pipe is an error of write(), with its own exit code
}

Status Program::print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return fail(ErrorKind::kIo, fmt::format("standard output cannot be written: {}", std::strerror(errno)));
}

Status Program::print_json(const nlohmann::json& value) { return print(dump(value) + "\n"); }

void Program::note(std::string_view text) const {
  print_error_line(options.json ? dump({{"note", text}}) : fmt::format("hsmux: {}", printable(text)));
}

void Program::report(const Error& error) const { report(error, options.json); }

void Program::report(const Error& error, bool json) {
  print_error_line(json ? dump({{"error", error_json(error)}}) : fmt::format("hsmux: {}", printable(error.text())));
}

nlohmann::json error_json(const Error& error) {
  nlohmann::json json{
      {"kind", error_kind_name(error.kind)}, {"retryable", error.retryable()}, {"message", error.message}};
  if (error.call != Call::kNone) json["call"] = call_name(error.call);
  if (error.rv != 0) {
    json["rv"] = error.rv;
    json["rv_name"] = rv_name(error.rv);
  }
  if (!error.slot.empty()) json["slot"] = error.slot;
  return json;
}

} // namespace hsmux
