// hsmux verify
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/operation_options.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

struct VerifyOptions : OperationOptions {
  std::string signature;
  bool digest = false;
};

constexpr std::size_t kSignatureBytesMax = 4096;

bool standard_input(const std::string& path) { return path.empty() || path == "-"; }

Result<ExitCode> verify(Program& program, const VerifyOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  if (standard_input(options.signature) && standard_input(options.in)) {
    return fail(ErrorKind::kInvalidArgument, "--in and --signature cannot both be standard input");
  }
  HSMUX_TRY(const SecureBytes signature, read_input(options.signature, kSignatureBytesMax));
  HSMUX_TRY(const SecureBytes message, read_input(options.in));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = algorithm}));
  const Progress progress("verifying");
  const Status status = engine->verify({.key = options.key,
                                        .algorithm = algorithm,
                                        .message = message.view(),
                                        .prehashed = options.digest,
                                        .signature = signature.view(),
                                        .options = program.request_options()});
  if (!status && status.error().kind != ErrorKind::kSignatureInvalid) return fail(status.error());
  const bool valid = status.has_value();
  HSMUX_CHECK(program.options.json ? Program::print_json({{"valid", valid}})
                                   : Program::print(valid ? "valid\n" : "invalid\n"));
  return valid ? ExitCode::kOk : ExitCode::kNo;
}

} // namespace

void add_verify(CLI::App& app, Program& program) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand("verify", "Verify a signature: prints valid or invalid (exit code 0 or 1)");
  add_key_options(*command, *options);
  command->add_option("--signature", options->signature, "The signature")->required()->type_name("FILE");
  command->add_flag("--digest", options->digest, "The input is the digest already (SHA-256: 32 bytes)");
  command->footer("Examples:\n"
                  "  hsmux verify --key orders --algorithm ecdsa-p256-sha256 --in order.json --signature order.sig\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return verify(program, *options); });
}

} // namespace hsmux
