// hsmux keys replicate, import: keys that exist into more slots
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "mechanisms/software_key.h"
#include "tools/file_io.h"
#include "tools/keys.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

constexpr std::size_t kKeyFileBytesMax = 65'536;

struct ReplicateOptions {
  std::string name, slots, trusted_key;
};

struct ImportOptions {
  std::string name, algorithm, slots, in;
  bool allow_duplicate = false;
};

Result<ExitCode> say(const Program& program, const KeyInfo& key) {
  HSMUX_CHECK(program.options.json ? Program::print_json(key_json(key))
                                   : Program::print(fmt::format("id:{} in {}\n", key.id, fmt::join(key.slots, ", "))));
  return ExitCode::kOk;
}

Result<ExitCode> replicate(Program& program, const ReplicateOptions& options) {
  HSMUX_TRY(const std::optional<PlacementConfig> placement, placement_of(options.slots));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("replicating the key");
  HSMUX_TRY(const KeyInfo key, engine->replicate({.key = options.name,
                                                  .placement = placement,
                                                  .trusted_key = options.trusted_key,
                                                  .options = program.request_options()}));
  return say(program, key);
}

Result<ExitCode> import_key(Program& program, const ImportOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  HSMUX_TRY(const std::optional<PlacementConfig> placement, placement_of(options.slots));
  HSMUX_TRY(const SecureBytes file, read_input(options.in, kKeyFileBytesMax));
  HSMUX_TRY(const SecureBytes pkcs8, pkcs8_der(file.view()));
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  if (!options.allow_duplicate) HSMUX_CHECK(refuse_taken_name(*engine, program, options.name));
  const Progress progress("importing the key");
  HSMUX_TRY(const KeyInfo key, engine->import_key({.label = options.name,
                                                   .algorithm = algorithm,
                                                   .pkcs8 = pkcs8.view(),
                                                   .placement = placement,
                                                   .options = program.request_options()}));
  program.note("the key was outside of the HSMs: it is as safe as every copy of that file");
  return say(program, key);
}

constexpr const char* kGlobalHint = "Global options: see hsmux --help.";

} // namespace

void add_keys_place(CLI::App& keys, Program& program) {
  auto options = std::make_shared<ReplicateOptions>();
  CLI::App* command = keys.add_subcommand("replicate", "Copy a key into more slots, by wrapping; it is never in clear");
  command->add_option("NAME", options->name, "Label, id:HEX, or an RFC 7512 URI")->required();
  command
      ->add_option("--slots", options->slots, "Where it is to be: all, quorum N, or SLOT,SLOT; absent: as configured")
      ->type_name("PLACEMENT");
  command
      ->add_option("--trusted-key", options->trusted_key,
                   "The wrapping key, trusted by the security officer, for keys of the policy trusted-wrap")
      ->type_name("NAME");
  command->footer(std::string("Examples:\n"
                              "  hsmux keys replicate orders --slots all --trusted-key backbone\n"
                              "  hsmux keys replicate id:0a1b --slots hsm-c\n"
                              "Keys of the policies none and vendor do not leave their slots: docs/keys.md.\n") +
                  kGlobalHint);
  program.on(*command, [&program, options] { return replicate(program, *options); });

  auto import_options = std::make_shared<ImportOptions>();
  command = keys.add_subcommand("import", "Bring a private key of this host into slots (development, migration)");
  command->add_option("NAME", import_options->name, "The label")->required();
  command->add_option("--algorithm", import_options->algorithm, "What it is for, as `hsmux slots` lists them")
      ->required()
      ->type_name("A");
  command->add_option("--in", import_options->in, "PKCS#8, PEM or DER, not encrypted; - or absent: standard input")
      ->type_name("FILE");
  command->add_option("--slots", import_options->slots, "all, quorum N, or SLOT,SLOT; absent: as configured")
      ->type_name("PLACEMENT");
  command->add_flag("--allow-duplicate", import_options->allow_duplicate,
                    "Also when a key of this name exists already");
  command->footer(std::string("Examples:\n"
                              "  hsmux keys import orders --algorithm ecdsa-p256-sha256 --in orders.pk8 --slots all\n"
                              "  openssl pkcs8 -topk8 -nocrypt -in old.pem |\n"
                              "    hsmux keys import mail --algorithm rsa-oaep-sha256 --slots hsm-a\n") +
                  kGlobalHint);
  program.on(*command, [&program, import_options] { return import_key(program, *import_options); });
}

} // namespace hsmux
