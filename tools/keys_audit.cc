// hsmux keys audit: are the replicas of each key the same, and do its attributes keep it where it belongs?
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "engine/key_audit.h"
#include "tools/keys.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

nlohmann::json flag_json(std::optional<bool> flag) { return flag ? nlohmann::json(*flag) : nlohmann::json(nullptr); }

nlohmann::json replica_json(const ReplicaAudit& replica) {
  nlohmann::json attributes = nlohmann::json::object();
  for (const KeyAttributeRow& row : key_attribute_rows()) {
    attributes[std::string(row.name)] = flag_json(replica.attributes.*row.field);
  }
  nlohmann::json json{{"slot", replica.slot},
                      {"same_key", replica.same},
                      {"purposes", purpose_names(replica.purposes)},
                      {"attributes", std::move(attributes)},
                      {"made_by", replica.attributes.made_by}};
  if (!replica.problem.empty()) json["problem"] = replica.problem;
  return json;
}

nlohmann::json report_json(const AuditReport& report) {
  nlohmann::json keys = nlohmann::json::array();
  for (const KeyAudit& key : report.keys) {
    nlohmann::json json = key_json(key.key);
    json.erase("sensitive");
    json.erase("extractable"); // said for each replica
    json["public_key_sha256"] = key.public_key_sha256;
    json["findings"] = key.findings;
    json["replicas"] = nlohmann::json::array();
    for (const ReplicaAudit& replica : key.replicas) json["replicas"].push_back(replica_json(replica));
    keys.push_back(std::move(json));
  }
  nlohmann::json unfinished = nlohmann::json::array();
  for (const UnfinishedKey& each : report.unfinished) {
    unfinished.push_back({{"slot", each.slot}, {"id", each.id}, {"state", each.state}});
  }
  return {
      {"keys", std::move(keys)}, {"unfinished", std::move(unfinished)}, {"slots_not_asked", report.slots_not_asked}};
}

// The attributes that are true, and those that the token does not tell.
std::string attribute_text(const KeyAttributes& attributes) {
  std::vector<std::string> words;
  for (const KeyAttributeRow& row : key_attribute_rows()) {
    const std::optional<bool> value = attributes.*row.field;
    if (!value) words.push_back(fmt::format("{}?", row.name));
    if (value && *value) words.emplace_back(row.name);
  }
  return fmt::format("{}", fmt::join(words, " "));
}

std::string report_text(const AuditReport& report) {
  std::string text;
  for (const KeyAudit& key : report.keys) {
    text += fmt::format("{}  id:{}  {}\n", printable(key.key.label), key.key.id, printable(key.key.kind));
    if (!key.public_key_sha256.empty()) text += fmt::format("  public key  SHA-256 {}\n", key.public_key_sha256);
    for (const ReplicaAudit& replica : key.replicas) {
      text += fmt::format("  {}  {}; for {}; {}\n", replica.slot, replica.same ? "same key" : "NOT PROVED",
                          fmt::join(purpose_names(replica.purposes), ", "), attribute_text(replica.attributes));
    }
    for (const std::string& finding : key.findings) text += fmt::format("  ! {}\n", printable(finding));
  }
  for (const UnfinishedKey& each : report.unfinished) {
    text += fmt::format("! slot {}: unfinished key id {}: {}\n", each.slot, each.id, each.state);
  }
  for (const std::string& slot : report.slots_not_asked)
    text += fmt::format("! slot {} is down: not looked at\n", slot);
  const std::size_t findings = findings_of(report);
  text += fmt::format("{} key{}, {} finding{}\n", report.keys.size(), report.keys.size() == 1 ? "" : "s", findings,
                      findings == 1 ? "" : "s");
  return text;
}

Result<ExitCode> audit(Program& program, const std::string& name) {
  // Slots that are down are a finding, not the end of the audit.
  HSMUX_TRY(const std::unique_ptr<Engine> engine,
            program.open_engine({.slots_at_start_min = 1, .only = kCheapestProbe}));
  const Progress progress("auditing keys");
  HSMUX_TRY(const AuditReport report, engine->audit_keys({.name = name, .options = program.request_options()}));
  HSMUX_CHECK(program.options.json ? Program::print_json(report_json(report)) : Program::print(report_text(report)));
  return findings_of(report) == 0 ? ExitCode::kOk : ExitCode::kNo;
}

} // namespace

void add_keys_audit(CLI::App& keys, Program& program) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = keys.add_subcommand(
      "audit",
      "Prove that replicas are the same key, and list what a security officer asks for (exit code 1: findings)");
  command->add_option("NAME", *name, "Label, id:HEX, or an RFC 7512 URI; absent: all keys");
  command->footer("Each replica is used once: it signs or decrypts a random message of hsmux's own.\n"
                  "Examples:\n  hsmux keys audit\n  hsmux keys audit orders --json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, name] { return audit(program, *name); });
}

} // namespace hsmux
