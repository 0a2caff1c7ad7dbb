// hsmux sign
#include <CLI/CLI.hpp>

#include "tools/operation_options.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

struct SignOptions : OperationOptions {
  bool digest = false;
};

Result<ExitCode> sign(Program& program, const SignOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  HSMUX_CHECK(check_output(program, options.out));
  HSMUX_TRY(const SecureBytes message, read_input(options.in));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = algorithm}));
  const Progress progress("signing");
  HSMUX_TRY(const Bytes signature, engine->sign({.key = options.key,
                                                 .algorithm = algorithm,
                                                 .message = message.view(),
                                                 .prehashed = options.digest,
                                                 .options = program.request_options()}));
  return finish(program, options, signature);
}

} // namespace

void add_sign(CLI::App& app, Program& program) {
  auto options = std::make_shared<SignOptions>();
  CLI::App* command = app.add_subcommand("sign", "Sign a file (ECDSA signatures are DER)");
  add_key_options(*command, *options);
  add_output_options(*command, options->out);
  command->add_flag("--digest", options->digest, "The input is the digest already (SHA-256: 32 bytes)");
  command->footer("Examples:\n"
                  "  hsmux sign --key orders --algorithm ecdsa-p256-sha256 --in order.json --out order.sig\n"
                  "  openssl dgst -sha256 -binary order.json |\n"
                  "    hsmux sign --key orders --algorithm ecdsa-p256-sha256 --digest > order.sig\n"
                  "OpenSSL verifies it: openssl dgst -sha256 -verify orders.pem -signature order.sig order.json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return sign(program, *options); });
}

} // namespace hsmux
