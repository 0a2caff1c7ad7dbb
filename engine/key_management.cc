#include "engine/key_management.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "mechanisms/key_name.h"

namespace hsmux {
namespace {

// The request's own deadline may be over when what it made is to be removed.
Deadline undo_deadline() { return Deadline::after(std::chrono::seconds(10)); }

constexpr std::size_t kNewIdBytes = 16; // random: unique without asking any slot

Status check_request(const GenerateRequest& request, const AlgorithmSpec& spec, std::uint32_t bits) {
  if (request.label.empty() || request.label.size() > kKeyLabelBytesMax) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("a key's label has 1 to {} bytes", kKeyLabelBytesMax));
  }
  for (const unsigned char c : request.label) {
    if (c < 0x20 || c == 0x7f) return fail(ErrorKind::kInvalidArgument, "a key's label has no control characters");
  }
  if (request.label.starts_with("id:") || request.label.starts_with("pkcs11:")) {
    return fail(ErrorKind::kInvalidArgument, "a label that starts with 'id:' or 'pkcs11:' could not be named later");
  }
  if (!key_bits_allowed(spec, bits)) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{} has no keys of {} bits: {} to {} in steps of {}", spec.name, bits, spec.key_bits_min,
                            spec.key_bits_max, spec.key_bits_step));
  }
  return {};
}

} // namespace

Result<KeyManagement::Chosen> KeyManagement::choose(const GenerateRequest& request) const {
  const PlacementConfig& placement = request.placement ? *request.placement : config_.placement;
  Chosen chosen;
  for (std::size_t slot = 0; slot < group_.slots.size(); ++slot) chosen.slots.push_back(slot);
  chosen.needed = chosen.slots.size();
  switch (placement.kind) {
  case Placement::kAll: break;
  case Placement::kQuorum:
    if (placement.quorum == 0 || placement.quorum > chosen.slots.size()) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("quorum {} is not possible with {} slots", placement.quorum, chosen.slots.size()));
    }
    chosen.needed = placement.quorum;
    break;
  case Placement::kSlots:
    chosen.slots.clear();
    for (const std::string& name : placement.slots) {
      HSMUX_TRY(const std::size_t slot, group_.find(name));
      if (std::ranges::find(chosen.slots, slot) == chosen.slots.end()) chosen.slots.push_back(slot);
    }
    if (chosen.slots.empty()) return fail(ErrorKind::kInvalidArgument, "no slot was named for the key");
    chosen.needed = chosen.slots.size();
    break;
  }
  if (chosen.needed == chosen.slots.size()) {
    for (const std::size_t slot : chosen.slots) {
      if (group_.slots[slot]->state() == SlotState::kReady) continue;
      const SlotStats stats = group_.slots[slot]->stats();
      return fail(ErrorKind::kUnavailable,
                  fmt::format("slot {} is {} and every chosen slot must get the key; nothing was made{}{}",
                              group_.slots[slot]->name(), slot_state_name(stats.state), stats.last_error ? ": " : "",
                              stats.last_error ? stats.last_error->text() : ""),
                  Retry::kLater);
    }
  }
  return chosen;
}

Result<SlotSet> KeyManagement::make_everywhere(const Chosen& chosen, const KeyRequest& key, bool software,
                                               Deadline deadline) {
  std::optional<SoftwareKey> material;
  if (software) {
    HSMUX_TRY(material, make_software_key(*key.spec, key.bits));
  }
  SlotSet made = 0;
  std::size_t count = 0;
  std::optional<Error> failure;
  for (const std::size_t slot : chosen.slots) {
    if (count == chosen.needed) break;
    if (group_.slots[slot]->state() != SlotState::kReady) continue; // only with a quorum
    KeyRequest here = key;
    here.quirks = &quirks_of(group_.slots[slot]->token(), group_.slots[slot]->module().path());
    bool asked = false;
    const Result<MadeKey> result = group_.with_session(slot, deadline, [&](Lease& lease) {
      asked = true;
      return material ? import_into_token(*lease, here, *material) : generate_in_token(*lease, here);
    });
    if (result) {
      made |= slot_bit(slot);
      ++count;
      continue;
    }
    failure = result.error();
    // The answer may have been lost after the key was made: it is removed by the id that we chose.
    if (asked) (void)destroy_in(slot, key.id, undo_deadline());
    if (chosen.needed == chosen.slots.size()) break;
  }
  if (count == chosen.needed) return made;

  const std::string remains = undo(made, key.id);
  Error error = failure ? *failure : make_error(ErrorKind::kUnavailable, "too few slots are up", Retry::kLater);
  error.message += fmt::format(" (the key was made in {} of the {} slots it needs and removed again{})", count,
                               chosen.needed, remains);
  return fail(std::move(error));
}

std::string KeyManagement::undo(SlotSet made, ByteView id) {
  std::string remains;
  for_each_slot(made, [&](std::size_t slot) {
    if (const Status removed = destroy_in(slot, id, undo_deadline()); !removed) {
      remains += fmt::format("; id {} REMAINS in slot {} ({})", to_hex(id), group_.slots[slot]->name(),
                             removed.error().text());
    }
  });
  return remains;
}

Result<KeyInfo> KeyManagement::generate(const GenerateRequest& request, Deadline deadline) {
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  const std::uint32_t bits = request.bits == 0 ? spec.key_bits_default : request.bits;
  HSMUX_CHECK(check_request(request, spec, bits));
  HSMUX_TRY(const Chosen chosen, choose(request));

  const bool software = request.software_key || (chosen.needed > 1 && config_.development_software_keys);
  if (chosen.needed > 1 && !software) {
    return fail(
        ErrorKind::kUnsupported,
        "the same key in several slots needs replication, which this version does not have yet: place it in one "
        "slot and clone it with the vendor's tool; for development only, a key made in software "
        "(development_software_keys, --software-key) can be imported into all of them");
  }
  std::array<std::uint8_t, kNewIdBytes> id{};
  HSMUX_CHECK(random_bytes(id));
  const KeyRequest key{.spec = &spec, .bits = bits, .id = id, .label = request.label};
  HSMUX_TRY(const SlotSet made, make_everywhere(chosen, key, software, deadline));
  index_.clear();

  // Read back: what the caller is told is what the tokens hold, and replicas are compared.
  const Result<std::shared_ptr<const Key>> found = index_.find("id:" + to_hex(id), deadline);
  if (!found) {
    Error error = found.error();
    error.message = fmt::format("the key was made (id {}) but does not read back, and was removed again{}: {}",
                                to_hex(id), undo(made, id), error.message);
    index_.clear();
    return fail(std::move(error));
  }
  KeyInfo info = (*found)->info;
  info.slots = group_.names(made);
  info.software_key = software;
  return info;
}

Result<std::vector<KeyInfo>> KeyManagement::list(std::string_view name, std::string_view slot, Deadline deadline) {
  KeyQuery query;
  if (!name.empty()) {
    HSMUX_TRY(query, parse_key_name(name));
  }
  SlotSet slots = group_.connected();
  if (!slot.empty()) {
    HSMUX_TRY(const std::size_t only, group_.find(slot));
    slots = slot_bit(only);
  }
  const FoundKeys found = find_keys(group_, query, slots, deadline, Router::Wait::kUntilBack);
  if (found.unanswered != 0) return fail(*found.failure);
  std::vector<KeyInfo> infos;
  for (const FoundKey& key : found.keys) infos.push_back(key_info(key, group_));
  std::ranges::sort(infos, {}, [](const KeyInfo& info) { return std::tie(info.label, info.id); });
  return infos;
}

Status KeyManagement::destroy_in(std::size_t slot, ByteView id, Deadline deadline) {
  for (const ObjectClass object_class : {ObjectClass::kPrivateKey, ObjectClass::kSecretKey, ObjectClass::kPublicKey}) {
    HSMUX_CHECK(group_.with_session_again(slot, deadline, [&](Lease& lease) -> Status {
      HSMUX_TRY(const std::vector<ObjectHandle> handles, lease->find(key_template_by_id(object_class, id)));
      for (const ObjectHandle handle : handles) HSMUX_CHECK(lease->destroy(handle));
      return {};
    }));
    group_.slots[slot]->forget_key(object_class, id);
  }
  return {};
}

Result<KeyInfo> KeyManagement::remove(KeyName name, Deadline deadline) {
  const SlotSet away = group_.router.all() & ~group_.connected();
  if (away != 0) {
    return fail(ErrorKind::kUnavailable,
                fmt::format("slot {} is down and may hold a replica that would remain; nothing was deleted",
                            fmt::join(group_.names(away), ", ")),
                Retry::kLater);
  }
  // Not through the index: a key whose replicas differ must be deletable, by its id.
  HSMUX_TRY(const KeyQuery query, parse_key_name(name));
  const FoundKeys found = find_keys(group_, query, group_.router.all(), deadline, Router::Wait::kUntilBack);
  if (found.unanswered != 0) {
    Error error = *found.failure;
    error.message += " (the slot may hold a replica that would remain; nothing was deleted)";
    return fail(std::move(error));
  }
  const std::vector<FoundKey>& keys = found.keys;
  if (keys.empty()) return fail(ErrorKind::kKeyNotFound, fmt::format("no slot holds a key named '{}'", name));
  if (keys.size() > 1) {
    std::vector<std::string> ids;
    for (const FoundKey& key : keys) ids.push_back("id:" + to_hex(key.object.id));
    return fail(ErrorKind::kKeyAmbiguous, fmt::format("'{}' fits {} keys; nothing was deleted; name one by id: {}",
                                                      name, keys.size(), fmt::join(ids, ", ")));
  }
  const FoundKey& key = keys.front();
  if (key.object.id.empty())
    return fail(ErrorKind::kKeyUnusable, "the key has no CKA_ID; delete it with the vendor's tool");

  std::vector<std::string> remaining;
  std::optional<Error> failure;
  for (std::size_t slot = 0; slot < group_.slots.size(); ++slot) {
    if ((key.slots & slot_bit(slot)) == 0) continue;
    if (const Status removed = destroy_in(slot, key.object.id, deadline); !removed) {
      failure = removed.error();
      remaining.push_back(group_.slots[slot]->name());
    }
  }
  index_.clear();
  if (failure) {
    failure->message += fmt::format(" (the key remains in slot {})", fmt::join(remaining, ", "));
    return fail(std::move(*failure));
  }
  return key_info(key, group_);
}

} // namespace hsmux
