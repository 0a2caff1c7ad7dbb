// hsmux keys: list, show, exists, public-key, generate, delete; the rest in keys_place.cc and keys_audit.cc
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>

#include "mechanisms/spki.h"
#include "tools/file_io.h"
#include "tools/keys.h"
#include "tools/terminal.h"

namespace hsmux {

std::vector<std::string> purpose_names(const KeyPurposes& purposes) {
  std::vector<std::string> names;
  if (purposes.sign) names.emplace_back("sign");
  if (purposes.decrypt) names.emplace_back("decrypt");
  if (purposes.encrypt) names.emplace_back("encrypt");
  if (purposes.wrap) names.emplace_back("wrap");
  if (purposes.unwrap) names.emplace_back("unwrap");
  if (purposes.derive) names.emplace_back("derive");
  return names;
}

nlohmann::json key_json(const KeyInfo& key) {
  return {{"label", key.label},
          {"id", key.id},
          {"kind", key.kind},
          {"bits", key.bits},
          {"purposes", purpose_names(key.purposes)},
          {"sensitive", key.sensitive},
          {"extractable", key.extractable},
          {"slots", key.slots}};
}

Result<std::optional<PlacementConfig>> placement_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  PlacementConfig placement;
  constexpr std::string_view kQuorum = "quorum:";
  if (text == "all") return placement;
  if (text.starts_with(kQuorum)) {
    placement.kind = Placement::kQuorum;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kQuorum.size(), end, placement.quorum);
    if (error == std::errc() && stop == end && placement.quorum > 0) return placement;
    return fail(ErrorKind::kInvalidArgument, "--slots quorum N: N is how many slots must get the key, 1 or more");
  }
  placement.kind = Placement::kSlots;
  placement.slots = CLI::detail::split(text, ',');
  return placement;
}

Status refuse_taken_name(Engine& engine, const Program& program, const std::string& name) {
  HSMUX_TRY(const std::vector<KeyInfo> there, engine.list_keys(name, program.request_options()));
  if (there.empty()) return {};
  return fail(ErrorKind::kConflict,
              fmt::format("a key named '{}' exists already (id {}, in slot {}); two of one name are only told apart by "
                          "id: --allow-duplicate makes another",
                          name, there[0].id, fmt::join(there[0].slots, ", ")));
}

namespace {

struct GenerateOptions {
  std::string name, algorithm, slots, policy;
  std::uint32_t bits = 0;
  bool software_key = false, allow_duplicate = false;
};

struct PublicKeyOptions {
  std::string name;
  bool der = false;
  Output out;
};

struct DeleteOptions {
  std::string name;
  bool yes = false;
};

std::string yes_no(bool value) { return value ? "yes" : "no"; }

std::string key_text(const KeyInfo& key) {
  return fmt::format("label        {}\nid           {}\nkind         {}, {} bits\npurposes     {}\nsensitive    {}\n"
                     "extractable  {}\nslots        {}\n",
                     printable(key.label), key.id, printable(key.kind), key.bits,
                     fmt::join(purpose_names(key.purposes), ", "), yes_no(key.sensitive), yes_no(key.extractable),
                     fmt::join(key.slots, ", "));
}

Result<ExitCode> list(Program& program) {
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("listing keys");
  HSMUX_TRY(const std::vector<KeyInfo> keys, engine->list_keys({}, program.request_options()));
  if (program.options.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const KeyInfo& key : keys) all.push_back(key_json(key));
    HSMUX_CHECK(Program::print_json({{"keys", std::move(all)}}));
    return ExitCode::kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const KeyInfo& key : keys) {
    rows.push_back({key.label, key.id, key.kind, std::to_string(key.bits),
                    fmt::format("{}", fmt::join(purpose_names(key.purposes), ",")),
                    fmt::format("{}", fmt::join(key.slots, ","))});
  }
  HSMUX_CHECK(Program::print(table({"LABEL", "ID", "KIND", "BITS", "PURPOSES", "SLOTS"}, rows)));
  return ExitCode::kOk;
}

Result<ExitCode> show(Program& program, const std::string& name) {
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("looking for the key");
  HSMUX_TRY(const KeyInfo key, engine->find_key(name, program.request_options()));
  HSMUX_CHECK(program.options.json ? Program::print_json(key_json(key)) : Program::print(key_text(key)));
  return ExitCode::kOk;
}

Result<ExitCode> exists(Program& program, const std::string& name) {
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("looking for the key");
  HSMUX_TRY(const bool found, engine->exists(name, program.request_options()));
  HSMUX_CHECK(program.options.json ? Program::print_json({{"exists", found}}) : Program::print(yes_no(found) + "\n"));
  return found ? ExitCode::kOk : ExitCode::kNo;
}

Result<ExitCode> public_key(Program& program, const PublicKeyOptions& options) {
  HSMUX_CHECK(options.out.check());
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  const Progress progress("reading the public key");
  HSMUX_TRY(const Bytes spki, engine->public_key(options.name, program.request_options()));
  HSMUX_TRY(const std::string pem, spki_to_pem(spki));
  if (!options.out.to_stdout() || !program.options.json) {
    HSMUX_CHECK(options.out.write(options.der ? ByteView(spki) : bytes_of(pem)));
  }
  if (program.options.json) {
    nlohmann::json report{{"name", options.name}, {"pem", pem}};
    if (!options.out.to_stdout()) report["out"] = options.out.path;
    HSMUX_CHECK(Program::print_json(report));
  }
  return ExitCode::kOk;
}

Result<std::optional<KeyPolicy>> policy_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  for (const auto& [name, policy] : kKeyPolicies) {
    if (text == name) return policy;
  }
  return fail(ErrorKind::kInvalidArgument, "--policy is none, trusted-wrap or vendor");
}

Result<ExitCode> generate(Program& program, const GenerateOptions& options) {
  HSMUX_TRY(const Algorithm algorithm, algorithm_named(options.algorithm));
  HSMUX_TRY(const std::optional<KeyPolicy> policy, policy_of(options.policy));
  HSMUX_TRY(const std::optional<PlacementConfig> placement, placement_of(options.slots));
  if (!program.options.slot.empty()) {
    return fail(ErrorKind::kInvalidArgument, "where a new key goes is said by --slots, not by --slot");
  }
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  if (!options.allow_duplicate) HSMUX_CHECK(refuse_taken_name(*engine, program, options.name));
  const Progress progress("generating the key");
  program.hush(LogLevel::kError); // the note below says it better
  HSMUX_TRY(const KeyInfo key, engine->generate({.label = options.name,
                                                 .algorithm = algorithm,
                                                 .bits = options.bits,
                                                 .placement = placement,
                                                 .policy = policy,
                                                 .software_key = options.software_key,
                                                 .options = program.request_options()}));
  const bool vendor = policy == KeyPolicy::kVendor || (!policy && engine->config().keys.policy == KeyPolicy::kVendor);
  if (vendor) {
    program.note(
        fmt::format("made in slot {} alone, as the policy vendor says: clone it with the vendor's tool, then run "
                    "hsmux keys audit",
                    fmt::join(key.slots, ", ")));
  }
  if (key.software_key) {
    program.note(fmt::format("made in software and imported into {} slot{}: for development only", key.slots.size(),
                             key.slots.size() == 1 ? "" : "s"));
  }
  if (!program.options.json) {
    HSMUX_CHECK(Program::print(fmt::format("id:{}\n", key.id)));
    return ExitCode::kOk;
  }
  nlohmann::json report = key_json(key);
  report["software_key"] = key.software_key;
  HSMUX_CHECK(Program::print_json(report));
  return ExitCode::kOk;
}

bool confirmed(const std::string& question) {
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "yes");
}

Result<ExitCode> remove(Program& program, const DeleteOptions& options) {
  if (!options.yes && !stdin_is_terminal()) {
    return fail(ErrorKind::kInvalidArgument, "deleting a key cannot be undone: give --yes (nobody can be asked here)");
  }
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.only = kCheapestProbe}));
  if (!options.yes) {
    HSMUX_TRY(const std::vector<KeyInfo> keys, engine->list_keys(options.name, program.request_options()));
    for (const KeyInfo& key : keys)
      program.note(fmt::format("{} (id {}) in {}", key.label, key.id, fmt::join(key.slots, ", ")));
    if (!keys.empty() && !confirmed("Delete it for ever?")) {
      return fail(ErrorKind::kInvalidArgument, "nothing was deleted");
    }
  }
  const Progress progress("deleting the key");
  HSMUX_TRY(const KeyInfo key, engine->delete_key(options.name, program.request_options()));
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json({{"deleted", key_json(key)}}));
  } else {
    HSMUX_CHECK(Program::print(
        fmt::format("deleted {} (id {}) from {}\n", printable(key.label), key.id, fmt::join(key.slots, ", "))));
  }
  return ExitCode::kOk;
}

constexpr const char* kGlobal = "Global options: see hsmux --help.";

void add_name(CLI::App& command, std::string& name) {
  command.add_option("NAME", name, "Label, id:HEX, or an RFC 7512 URI")->required();
}

void add_readers(CLI::App& keys, Program& program) {
  CLI::App* command = keys.add_subcommand("list", "All keys of all slots, or of --slot");
  command->footer(std::string("Examples:\n  hsmux keys list\n  hsmux keys list --slot hsm-a --json\n") + kGlobal);
  program.on(*command, [&program] { return list(program); });

  auto name = std::make_shared<std::string>();
  command = keys.add_subcommand("show", "One key; an error when there is none, or when its replicas differ");
  add_name(*command, *name);
  command->footer(std::string("Examples:\n  hsmux keys show orders\n  hsmux keys show id:0a1b --json\n") + kGlobal);
  program.on(*command, [&program, name] { return show(program, *name); });

  name = std::make_shared<std::string>();
  command = keys.add_subcommand("exists", "Prints yes or no (exit code 0 or 1)");
  add_name(*command, *name);
  command->footer(std::string("Examples:\n  hsmux keys exists orders || echo missing\n") + kGlobal);
  program.on(*command, [&program, name] { return exists(program, *name); });

  auto options = std::make_shared<PublicKeyOptions>();
  command = keys.add_subcommand("public-key", "The public half of a key, as SubjectPublicKeyInfo");
  add_name(*command, options->name);
  command->add_option("--out", options->out.path, "Result; - or absent: standard output")->type_name("FILE");
  command->add_flag("--der", options->der, "DER instead of PEM");
  command->add_flag("--force", options->out.force, "Overwrite FILE; send DER to a terminal");
  command->footer(std::string("Examples:\n  hsmux keys public-key orders --out orders.pem\n") + kGlobal);
  program.on(*command, [&program, options] { return public_key(program, *options); });
}

void add_writers(CLI::App& keys, Program& program) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = keys.add_subcommand("generate", "Make a key; prints id:HEX, which names it for ever");
  command->add_option("NAME", options->name, "The label")->required();
  command->add_option("--algorithm", options->algorithm, "What it is for, as `hsmux slots` lists them")
      ->required()
      ->type_name("A");
  command->add_option("--slots", options->slots, "all, quorum N, or SLOT,SLOT; absent: as configured")
      ->type_name("PLACEMENT");
  command
      ->add_option("--policy", options->policy,
                   "What may become of it later: none, trusted-wrap (may be wrapped by a key that the security officer "
                   "trusts), vendor (made in one slot, cloned by the vendor's means); absent: as configured")
      ->type_name("P");
  command->add_option("--bits", options->bits, "RSA: 2048, 3072 or 4096")->type_name("N");
  command->add_flag("--software-key", options->software_key,
                    "Development only: make the key on this host and import it, where tokens do not wrap such keys");
  command->add_flag("--allow-duplicate", options->allow_duplicate, "Also when a key of this name exists already");
  command->footer(std::string("Examples:\n"
                              "  hsmux keys generate orders --algorithm ecdsa-p256-sha256 --slots all\n"
                              "  hsmux keys generate mail --algorithm rsa-oaep-sha256 --bits 3072 --slots hsm-a\n"
                              "  hsmux keys generate vault --algorithm aes-256-gcm --slots quorum 2\n") +
                  kGlobal);
  program.on(*command, [&program, options] { return generate(program, *options); });

  auto removal = std::make_shared<DeleteOptions>();
  command = keys.add_subcommand("delete", "Delete a key from every slot (with --slot: from that slot alone)");
  add_name(*command, removal->name);
  command->add_flag("--yes", removal->yes, "Do not ask");
  command->footer(std::string("Examples:\n  hsmux keys delete orders --yes\n  hsmux keys delete id:0a1b\n") + kGlobal);
  program.on(*command, [&program, removal] { return remove(program, *removal); });
}

} // namespace

void add_keys(CLI::App& app, Program& program) {
  CLI::App* keys =
      app.add_subcommand("keys", "Keys in the slots: list, show, generate, replicate, import, audit, delete, ...");
  keys->require_subcommand(1);
  keys->footer("Examples:\n  hsmux keys list\n  hsmux keys generate --help\n  hsmux keys audit\nGlobal options: see "
               "hsmux --help.");
  add_readers(*keys, program);
  add_writers(*keys, program);
  add_keys_place(*keys, program);
  add_keys_audit(*keys, program);
}

} // namespace hsmux
