// hsmux init-softhsm
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/softhsm_folder.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

struct TokensToMake {
  std::string folder, module;
  std::size_t slots = 2;
  bool temporary = false;
};

Result<ExitCode> init_softhsm(Program& program, const TokensToMake& options) {
  if (options.folder.empty() != options.temporary) {
    return fail(ErrorKind::kInvalidArgument, "give either DIR or --temporary");
  }
  HSMUX_TRY(const std::string module, find_softhsm(options.module));
  HSMUX_TRY(const std::unique_ptr<SofthsmFolder> folder,
            options.temporary ? SofthsmFolder::make_temporary() : SofthsmFolder::make(options.folder));
  {
    const Progress progress("making tokens");
    HSMUX_CHECK(folder->fill(module, options.slots));
  }
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json({{"folder", folder->path()},
                                     {"config", folder->config_path()},
                                     {"module", module},
                                     {"slots", folder->slots()}}));
  } else if (options.temporary) {
    HSMUX_CHECK(Program::print(folder->path() + "\n")); // for scripts: DIR=$(hsmux init-softhsm --temporary)
  } else {
    HSMUX_CHECK(Program::print(
        fmt::format("{} SoftHSM2 token{} made in {}: {} to {}\n"
                    "configuration: {}\n"
                    "PINs: {}/pins\n"
                    "next:\n"
                    "  hsmux --config {} keys generate orders --algorithm ecdsa-p256-sha256 --slots all\n",
                    options.slots, options.slots == 1 ? "" : "s", folder->path(), folder->slots().front(),
                    folder->slots().back(), folder->config_path(), folder->path(), folder->config_path())));
  }
  folder->keep();
  return ExitCode::kOk;
}

} // namespace

void add_init_softhsm(CLI::App& app, Program& program) {
  auto options = std::make_shared<TokensToMake>();
  CLI::App* command =
      app.add_subcommand("init-softhsm", "Make SoftHSM2 tokens with random PINs and a configuration, for trying out");
  command->add_option("DIR", options->folder, "A new or empty folder");
  command->add_option("--slots", options->slots, "How many tokens, 1 to 64 (default 2)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{64}))
      ->type_name("N");
  command->add_option("--module", options->module, "libsofthsm2.so (default: $SOFTHSM2_MODULE, else the usual places)")
      ->type_name("PATH");
  command->add_flag("--temporary", options->temporary,
                    "Make DIR with a name of its own in $XDG_RUNTIME_DIR or /tmp, and print it");
  command->footer(
      "Examples:\n"
      "  hsmux init-softhsm ./tokens --slots 2\n"
      "  DIR=$(hsmux init-softhsm --temporary) && hsmux --config \"$DIR/hsmux.toml\" slots\n"
      "The configuration is DIR/hsmux.toml. For development and tests: keys in it are only as safe as DIR.\n"
      "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return init_softhsm(program, *options); });
}

} // namespace hsmux
