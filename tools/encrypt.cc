// hsmux encrypt
#include <CLI/CLI.hpp>

#include "tools/operation_options.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

Result<ExitCode> encrypt(Program& program, const OperationOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  HSMUX_CHECK(check_output(program, options.out));
  HSMUX_TRY(const SecureBytes aad, read_aad(options, algorithm));
  HSMUX_TRY(const SecureBytes plaintext, read_input(options.in));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = algorithm}));
  const Progress progress("encrypting");
  HSMUX_TRY(const Bytes ciphertext, engine->encrypt({.key = options.key,
                                                     .algorithm = algorithm,
                                                     .plaintext = plaintext.view(),
                                                     .aad = aad.view(),
                                                     .options = program.request_options()}));
  return finish(program, options, ciphertext);
}

} // namespace

void add_encrypt(CLI::App& app, Program& program) {
  auto options = std::make_shared<OperationOptions>();
  CLI::App* command =
      app.add_subcommand("encrypt", "Encrypt a small file (RSA-OAEP: on this host; AES-GCM: in the HSM)");
  add_key_options(*command, *options);
  add_output_options(*command, options->out);
  add_aad_options(*command, *options);
  command->footer(
      "Examples:\n"
      "  hsmux encrypt --key vault --algorithm aes-256-gcm --in secret.txt --out secret.bin --aad-hex 0a0b\n"
      "  hsmux encrypt --key mail --algorithm rsa-oaep-sha256 < key.bin > key.enc\n"
      "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return encrypt(program, *options); });
}

} // namespace hsmux
