// hsmux random
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/operation_options.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

constexpr std::size_t kRandomBytesMax = 1UL << 20;
constexpr std::size_t kPieceBytes = 4096; // what every token gives at once

struct RandomOptions {
  std::size_t bytes = 32;
  bool hex = false;
  Output out{.path = {}, .force = false, .secret = true};
};

Result<ExitCode> random(Program& program, const RandomOptions& options) {
  HSMUX_CHECK(options.out.check());
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("asking for random bytes");
  SecureBytes bytes(options.bytes);
  for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
    if (Program::interrupted()) return fail(ErrorKind::kUnavailable, "interrupted");
    const std::size_t size = std::min(kPieceBytes, bytes.size() - at);
    HSMUX_CHECK(engine->random(bytes.span().subspan(at, size), program.request_options()));
  }
  if (program.options.json && options.out.to_stdout()) {
    HSMUX_CHECK(Program::print_json({{"hex", to_hex(bytes.view())}}));
  } else if (options.hex) {
    HSMUX_CHECK(options.out.write(bytes_of(to_hex(bytes.view()) + "\n")));
  } else {
    HSMUX_CHECK(options.out.write(bytes.view()));
  }
  return ExitCode::kOk;
}

} // namespace

void add_random(CLI::App& app, Program& program) {
  auto options = std::make_shared<RandomOptions>();
  CLI::App* command = app.add_subcommand("random", "Random bytes from an HSM");
  command->add_option("--bytes", options->bytes, "How many (default 32, at most 1 MiB)")
      ->check(CLI::Range(std::size_t{1}, kRandomBytesMax))
      ->type_name("N");
  command->add_flag("--hex", options->hex, "As hex with a line break");
  add_output_options(*command, options->out);
  command->footer("Examples:\n"
                  "  hsmux random --bytes 32 --hex\n"
                  "  hsmux random --bytes 4096 --slot hsm-a --out seed.bin\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return random(program, *options); });
}

} // namespace hsmux
