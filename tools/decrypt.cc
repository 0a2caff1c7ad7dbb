// hsmux decrypt
#include <CLI/CLI.hpp>

#include "tools/operation_options.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

struct DecryptOptions : OperationOptions {
  std::string bound_to;
};

Result<std::optional<Bytes>> bound_id(std::string_view id) {
  if (id.starts_with("id:")) id.remove_prefix(3);
  if (id.empty()) return std::nullopt;
  HSMUX_TRY(Bytes bytes, from_hex(id));
  return bytes;
}

Result<ExitCode> decrypt(Program& program, const DecryptOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  HSMUX_TRY(const std::optional<Bytes> bound_to, bound_id(options.bound_to));
  HSMUX_CHECK(check_output(program, options.out));
  HSMUX_TRY(const SecureBytes aad, read_aad(options, algorithm));
  HSMUX_TRY(const SecureBytes ciphertext, read_input(options.in));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = algorithm}));
  const Progress progress("decrypting");
  SecureBytes plaintext(Engine::output_bytes_max(algorithm, Operation::kDecrypt, ciphertext.size()));
  HSMUX_TRY(const std::size_t size, engine->decrypt({.key = options.key,
                                                     .algorithm = algorithm,
                                                     .ciphertext = ciphertext.view(),
                                                     .aad = aad.view(),
                                                     .bound_to = bound_to,
                                                     .options = program.request_options()},
                                                    plaintext.span()));
  plaintext.resize_down(size);
  return finish(program, options, plaintext.view());
}

} // namespace

void add_decrypt(CLI::App& app, Program& program) {
  auto options = std::make_shared<DecryptOptions>();
  options->out.secret = true;
  CLI::App* command = app.add_subcommand("decrypt", "Decrypt a file in the HSM; a new FILE has mode 0600");
  add_key_options(*command, *options);
  add_output_options(*command, options->out);
  add_aad_options(*command, *options);
  command->add_option("--bound-to", options->bound_to, "AES-GCM: the id that the ciphertext was made with, if another")
      ->type_name("ID");
  command->footer(
      "Examples:\n"
      "  hsmux decrypt --key vault --algorithm aes-256-gcm --in secret.bin --out secret.txt --aad-hex 0a0b\n"
      "  hsmux decrypt --key mail --algorithm rsa-oaep-sha256 < key.enc > key.bin\n"
      "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return decrypt(program, *options); });
}

} // namespace hsmux
