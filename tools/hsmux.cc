// The hsmux program: one command line for set-up, keys, cryptography and measurements. docs/command-line.md tells its
// use.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "tools/command.h"

namespace hsmux {
namespace {

// "--slots quorum 2" is one value for the parser: an option that takes one or two would swallow the key's name.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> all(argv + 1, argv + argc);
  for (std::size_t i = 0; i + 2 < all.size(); ++i) {
    if (all[i] != "--slots" || all[i + 1] != "quorum") continue;
    all[i + 1] += ":" + all[i + 2];
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(i) + 2);
  }
  return all;
}

void add_commands(CLI::App& app, Program& program) {
  app.fallthrough(); // global options also after a subcommand; before add_subcommand, which hands it down
  app.require_subcommand(1);
  app.set_version_flag("--version", "hsmux " HSMUX_VERSION);
  program.add_options(app);
  add_init_softhsm(app, program);
  add_slots(app, program);
  add_health(app, program);
  add_admin(app, program);
  add_keys(app, program);
  add_sign(app, program);
  add_verify(app, program);
  add_encrypt(app, program);
  add_decrypt(app, program);
  add_random(app, program);
  add_selftest(app, program);
  add_demo(app, program);
  add_bench(app, program);
  add_monitor(app, program);
  add_capacity(app, program);
  add_sim(app, program);
}

ExitCode run(int argc, char** argv) {
  Program::watch_signals();
  Program program;
  CLI::App app("hsmux: a PKCS#11 session-pool engine for HSMs", "hsmux");
  std::vector<std::string> args = arguments(argc, argv);
  try {
    add_commands(app, program);
    std::ranges::reverse(args); // as CLI11 wants them
    app.parse(args);
  } catch (const CLI::Success& answer) { // --help, --version
    app.exit(answer);
    return ExitCode::kOk;
  } catch (const CLI::Error& error) {
    const bool json = std::find(argv + 1, argv + argc, std::string_view("--json")) != argv + argc;
    const std::vector<std::string> unknown = app.remaining(true);
    const bool no_such_command = error.get_name() == "RequiredError" && !unknown.empty();
    const std::string what =
        no_such_command ? "there is no subcommand '" + unknown.front() + "'" : std::string(error.what());
    Program::report(make_error(ErrorKind::kInvalidArgument, what + " (see --help)"), json);
    return ExitCode::kUsage;
  }
  return program.run();
}

} // namespace
} // namespace hsmux

int main(int argc, char** argv) {
  if (argc < 1) return static_cast<int>(hsmux::ExitCode::kUsage);
  return static_cast<int>(hsmux::run(argc, argv));
}
