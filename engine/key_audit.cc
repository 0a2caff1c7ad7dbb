#include "engine/key_audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/leftovers.h"
#include "mechanisms/key_name.h"
#include "mechanisms/replica_check.h"

namespace hsmux {
namespace {

struct Rule {
  bool (*broken)(const ReplicaAudit&);
  std::string_view text;
};

bool is(std::optional<bool> value, bool what) { return value == what; }

constexpr std::array kRules{
    Rule{[](const ReplicaAudit& r) { return is(r.attributes.sensitive, false); },
         "not SENSITIVE: whoever logs in can read it in clear"},
    Rule{[](const ReplicaAudit& r) {
           return is(r.attributes.extractable, true) && !is(r.attributes.wrap_with_trusted, true);
         },
         "EXTRACTABLE without WRAP_WITH_TRUSTED: whoever logs in can wrap it with a key of his own"},
    Rule{[](const ReplicaAudit& r) { return is(r.attributes.private_object, false); },
         "not PRIVATE: seen without a login"},
    Rule{[](const ReplicaAudit& r) { return r.purposes.decrypt && (r.purposes.unwrap || r.purposes.wrap); },
         "DECRYPT together with WRAP or UNWRAP: it opens what it wraps"},
    Rule{[](const ReplicaAudit& r) { return r.purposes.sign && (r.purposes.decrypt || r.purposes.derive); },
         "signs and decrypts: one key, one purpose"},
};

std::string fingerprint(const Bytes& spki) {
  std::array<std::uint8_t, 32> hashed{};
  return digest(Hash::kSha256, spki, hashed) ? to_hex(hashed) : "";
}

Result<std::optional<Bytes>> public_half_in(SlotGroup& group, std::size_t slot, const Bytes& id, Deadline deadline) {
  return group.with_session_again(slot, deadline, [&](Lease& lease) -> Result<std::optional<Bytes>> {
    HSMUX_TRY(const auto found, find_key_objects(*lease, ObjectClass::kPublicKey, {.label = {}, .id = id}));
    if (found.empty()) return std::optional<Bytes>();
    HSMUX_TRY(Bytes read, read_spki(*lease, found.front()));
    return std::optional<Bytes>(std::move(read));
  });
}

// All that is asked of one replica; `check` remembers those before it.
Status look_at(SlotGroup& group, std::size_t slot, const KeyObject& key, std::optional<ReplicaCheck>& check,
               ReplicaAudit& replica, Deadline deadline) {
  return group.with_session_again(slot, deadline, [&](Lease& lease) -> Status {
    HSMUX_TRY(const KeyHandle handle, group.slots[slot]->key_handle(lease, key.object_class, key.id, false));
    HSMUX_TRY(replica.attributes, read_key_attributes(*lease, handle.handle));
    HSMUX_TRY(const std::optional<KeyObject> object, read_key_object(*lease, handle.handle, key.object_class));
    if (!object) return fail(ErrorKind::kKeyNotFound, "it has just been deleted");
    replica.purposes = object->purposes;
    if (!check) return fail(ErrorKind::kUnsupported, "no algorithm of hsmux can be tried with it");
    return group.check_replica(slot, lease, *check, handle.handle);
  });
}

KeyAudit audit(SlotGroup& group, const FoundKey& found, Deadline deadline) {
  const KeyObject& key = found.object;
  KeyAudit report{.key = key_info(found, group), .public_key_sha256 = {}, .replicas = {}, .findings = {}};
  if (key.id.empty()) {
    report.findings.emplace_back("it has no CKA_ID, so hsmux cannot use it");
    return report;
  }
  if (found.twice_in_a_slot) report.findings.emplace_back("two objects of one slot share its id");
  std::optional<Bytes> spki;
  if (key.object_class == ObjectClass::kPrivateKey) {
    for_each_slot(found.slots, [&](std::size_t slot) {
      const Result<std::optional<Bytes>> read = public_half_in(group, slot, key.id, deadline);
      if (!read) {
        report.findings.push_back(fmt::format("its public half could not be read: {}", read.error().text()));
        return;
      }
      const std::optional<Bytes>& here = *read;
      if (!here) {
        report.findings.push_back(fmt::format("slot {} has no public half of it", group.slots[slot]->name()));
      } else if (!spki) {
        spki = here;
      } else if (*spki != *here) {
        report.findings.push_back(fmt::format("the public half in slot {} is another one than in the slots before it",
                                              group.slots[slot]->name()));
      }
    });
    if (spki) report.public_key_sha256 = fingerprint(*spki);
  }
  const AlgorithmSpec* spec = key.kind ? spec_for(*key.kind, key.purposes) : nullptr;
  std::optional<ReplicaCheck> check;
  if (spec != nullptr && (spki || key.object_class == ObjectClass::kSecretKey)) {
    check.emplace(*spec, key.bits, key.id, spki);
  }
  for_each_slot(found.slots, [&](std::size_t slot) {
    ReplicaAudit replica{
        .slot = group.slots[slot]->name(), .purposes = {}, .attributes = {}, .same = false, .problem = {}};
    const Status looked = look_at(group, slot, key, check, replica, deadline);
    replica.same = looked.has_value();
    if (!looked) replica.problem = looked.error().text();
    // A wrapping key cannot be tried, and need not be: what it unwraps is.
    if (!looked && (spec != nullptr || !(replica.purposes.wrap || replica.purposes.unwrap))) {
      report.findings.push_back(fmt::format("slot {}: {}", replica.slot, looked.error().message));
    }
    for (const std::string& finding : attribute_findings(replica)) {
      report.findings.push_back(fmt::format("slot {}: {}", replica.slot, finding));
    }
    report.replicas.push_back(std::move(replica));
  });
  return report;
}

std::string_view state_text(Leftover verdict) {
  switch (verdict) {
  case Leftover::kLeave: return "somebody may be at work on it";
  case Leftover::kFinish: return "left by a crash; the next generate, import or replicate finishes it";
  case Leftover::kRemove: return "left by a crash; the next generate, import or replicate removes it";
  }
  return "";
}

} // namespace

std::vector<std::string> attribute_findings(const ReplicaAudit& replica) {
  std::vector<std::string> found;
  for (const Rule& rule : kRules) {
    if (rule.broken(replica)) found.emplace_back(rule.text);
  }
  return found;
}

std::size_t findings_of(const AuditReport& report) {
  std::size_t count = report.unfinished.size() + report.slots_not_asked.size();
  for (const KeyAudit& key : report.keys) count += key.findings.size();
  return count;
}

Result<AuditReport> audit_keys(SlotGroup& group, KeyIndex& index, std::string_view name, Deadline deadline) {
  KeyQuery query;
  if (!name.empty()) {
    HSMUX_TRY(query, parse_key_name(name));
  }
  const SlotSet up = group.connected();
  FoundKeys found = find_keys(group, query, up, deadline, Router::Wait::kUntilBack);
  if (found.failure && found.keys.empty()) return fail(*found.failure);
  if (!name.empty() && found.keys.empty()) {
    return fail(ErrorKind::kKeyNotFound, fmt::format("no slot holds a key named '{}'", name));
  }
  std::ranges::sort(found.keys, {}, [](const FoundKey& key) { return std::tie(key.object.label, key.object.id); });
  AuditReport report;
  for (const FoundKey& key : found.keys) report.keys.push_back(audit(group, key, deadline));
  for (const LeftoverReport& left : clear_leftovers(group, index, deadline, false)) {
    if (left.id.empty()) {
      if (const Result<std::size_t> slot = group.find(left.slot)) found.unanswered |= slot_bit(*slot);
      continue;
    }
    report.unfinished.push_back({left.slot, left.id, std::string(state_text(left.verdict))});
  }
  report.slots_not_asked = group.names((group.router.all() & ~up) | found.unanswered);
  return report;
}

} // namespace hsmux
