#include "engine/key_management.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "engine/key_removal.h"
#include "mechanisms/key_name.h"

namespace hsmux {
namespace {

constexpr std::size_t kNewIdBytes = 16; // random: unique without asking any slot

Status check_label(std::string_view label) {
  if (label.empty() || label.size() > kKeyLabelBytesMax) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("a key's label has 1 to {} bytes", kKeyLabelBytesMax));
  }
  for (const unsigned char c : label) {
    if (c < 0x20 || c == 0x7f) return fail(ErrorKind::kInvalidArgument, "a key's label has no control characters");
  }
  if (label.starts_with("id:") || label.starts_with("pkcs11:")) {
    return fail(ErrorKind::kInvalidArgument, "a label that starts with 'id:' or 'pkcs11:' could not be named later");
  }
  if (label == kUnfinishedLabel) return fail(ErrorKind::kInvalidArgument, "this label marks keys that are not whole");
  return {};
}

Status check_bits(const AlgorithmSpec& spec, std::uint32_t bits) {
  if (key_bits_allowed(spec, bits)) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("{} has no keys of {} bits: {} to {} in steps of {}", spec.name,
                                                       bits, spec.key_bits_min, spec.key_bits_max, spec.key_bits_step));
}

Status check_kind_of_import(const AlgorithmSpec& spec, const PublicKeyFacts& facts) {
  const KeyFamily family = key_family(spec.key);
  const bool fits = (family == KeyFamily::kEc && facts.curve && *facts.curve == curve_of(spec.key)) ||
                    (family == KeyFamily::kEdwards && facts.kind == PublicKeyFacts::Kind::kEd25519) ||
                    (family == KeyFamily::kRsa && facts.kind == PublicKeyFacts::Kind::kRsa);
  if (!fits) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("the key is of another kind than {} needs ({})", spec.name, key_kind_name(spec.key)));
  }
  return family == KeyFamily::kRsa ? check_bits(spec, static_cast<std::uint32_t>(facts.bits)) : Status();
}

Status check_key_wrap(const SlotGroup& group, std::size_t slot, const Quirks& quirks) {
  const Slot& where = *group.slots[slot];
  HSMUX_TRY(const std::vector<MechanismOffer> offers,
            read_mechanisms(where.module(), where.token().slot_id, where.name()));
  return hsmux::check_key_wrap(quirks, offers);
}

} // namespace

Result<Replication::Plan> KeyManagement::choose(const std::optional<PlacementConfig>& asked) const {
  const PlacementConfig& placement = asked ? *asked : config_.placement;
  Replication::Plan chosen;
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
  if (chosen.needed == chosen.slots.size()) HSMUX_CHECK(check_up(chosen.slots));
  return chosen;
}

Status KeyManagement::check_up(std::span<const std::size_t> slots) const {
  for (const std::size_t slot : slots) {
    if (group_.slots[slot]->state() == SlotState::kReady) continue;
    const SlotStats stats = group_.slots[slot]->stats();
    return fail(ErrorKind::kUnavailable,
                fmt::format("slot {} is {} and every chosen slot must get the key; nothing was made{}{}",
                            group_.slots[slot]->name(), slot_state_name(stats.state), stats.last_error ? ": " : "",
                            stats.last_error ? stats.last_error->text() : ""),
                Retry::kLater);
  }
  return {};
}

const Quirks& KeyManagement::quirks_of_slot(std::size_t slot) const {
  return quirks_of(group_.slots[slot]->token(), group_.slots[slot]->module().path());
}

void KeyManagement::EndOfRun::operator()(KeyManagement* management) const {
  {
    const std::lock_guard lock(management->run_mutex_);
    management->running_ = false;
  }
  management->run_ended_.notify_one();
}

Result<KeyManagement::Run> KeyManagement::begin(Deadline deadline) {
  if (deadline.passed(MonotonicClock::now())) {
    return fail(ErrorKind::kTimeout, "the deadline had passed before anything was made", Retry::kLater);
  }
  {
    std::unique_lock lock(run_mutex_);
    if (!run_ended_.wait_until(lock, deadline.at(), [this] { return !running_; })) {
      return fail(ErrorKind::kTimeout, "another key is being placed in the slots; nothing was made", Retry::kLater);
    }
    running_ = true;
  }
  Run run(this);
  for (const LeftoverReport& found : clear_leftovers(group_, index_, deadline)) leftover_(found);
  return run;
}

// In the first of the slots that makes it, and nowhere else.
Result<SlotSet> KeyManagement::make_in_one(const Replication::Plan& chosen, const KeyRequest& key, Deadline deadline) {
  Error failure = make_error(ErrorKind::kUnavailable, "no slot is up", Retry::kLater);
  for (const std::size_t slot : chosen.slots) {
    if (group_.slots[slot]->state() != SlotState::kReady) continue; // only with a quorum
    KeyRequest here = key;
    here.quirks = &quirks_of_slot(slot);
    bool asked = false;
    const Result<MadeKey> made = group_.with_session(slot, deadline, [&](Lease& lease) {
      asked = true;
      return generate_in_token(*lease, here);
    });
    if (made) return slot_bit(slot);
    failure = made.error();
    // The answer may have been lost after the key was made: it is removed by the id that we chose.
    if (asked) failure.message += undo_key(group_, slot_bit(slot), key.id);
  }
  return fail(std::move(failure));
}

Result<std::unique_ptr<TokenSource>> KeyManagement::make_source(std::size_t slot, const KeyRequest& key,
                                                                Deadline deadline) {
  HSMUX_TRY(std::unique_ptr<HeldLease> lease, HeldLease::take(group_, slot, deadline));
  KeyRequest origin = key;
  origin.quirks = &quirks_of_slot(slot);
  HSMUX_CHECK(lease->noted(check_key_wrap(group_, slot, *origin.quirks)));
  return TokenSource::make(std::move(lease), origin, config_.transport_bits);
}

Result<SlotSet> KeyManagement::make_by_wrapping(const Replication::Plan& chosen, const KeyRequest& key,
                                                Deadline deadline) {
  Result<std::unique_ptr<TokenSource>> made = fail(ErrorKind::kUnavailable, "no slot is up", Retry::kLater);
  for (const std::size_t slot : chosen.slots) {
    if (group_.slots[slot]->state() != SlotState::kReady) continue;
    made = make_source(slot, key, deadline);
    if (made || chosen.needed == chosen.slots.size()) break; // with a quorum, another one may do it
  }
  HSMUX_TRY(const std::unique_ptr<TokenSource> source, std::move(made));
  ReplicaCheck check(*key.spec, key.bits, key.id, source->spki());
  return Replication(group_, key, deadline).run(*source, check, chosen);
}

Result<SlotSet> KeyManagement::place_from_host(const Replication::Plan& chosen, const KeyRequest& key,
                                               SoftwareKey material, Deadline deadline) {
  HostSource source(std::move(material));
  ReplicaCheck check(*key.spec, key.bits, key.id, source.spki());
  return Replication(group_, key, deadline).run(source, check, chosen);
}

// What the caller is told is what the tokens hold; replicas are compared once more, as every user of the key does.
Result<KeyInfo> KeyManagement::read_back(SlotSet made, ByteView id, Deadline deadline) {
  index_.clear();
  const Result<std::shared_ptr<const Key>> found = index_.find("id:" + to_hex(id), deadline);
  if (!found) {
    Error error = found.error();
    error.message = fmt::format("the key was made (id {}) but does not read back, and was removed again{}: {}",
                                to_hex(id), undo_key(group_, made, id), error.message);
    index_.clear();
    return fail(std::move(error));
  }
  return (*found)->info;
}

Result<KeyInfo> KeyManagement::generate(const GenerateRequest& request, Deadline deadline) {
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  const std::uint32_t bits = request.bits == 0 ? spec.key_bits_default : request.bits;
  HSMUX_CHECK(check_label(request.label));
  HSMUX_CHECK(check_bits(spec, bits));
  HSMUX_TRY(const Replication::Plan chosen, choose(request.placement));
  HSMUX_TRY(const auto run, begin(deadline));

  std::array<std::uint8_t, kNewIdBytes> id{};
  HSMUX_CHECK(random_bytes(id));
  const KeyPolicy policy = request.policy.value_or(config_.policy);
  const bool wraps = policy == KeyPolicy::kTrustedWrap;
  const KeyRequest key{
      .spec = &spec, .bits = bits, .id = id, .label = request.label, .extractable = wraps, .wrap_with_trusted = wraps};
  const auto in_software = [&]() -> Result<SlotSet> {
    HSMUX_TRY(SoftwareKey material, make_software_key(spec, bits));
    return place_from_host(chosen, key, std::move(material), deadline);
  };
  bool software = request.software_key;
  Result<SlotSet> made = SlotSet{0};
  if (software) {
    made = in_software();
  } else if (chosen.needed == 1 || policy == KeyPolicy::kVendor) {
    made = make_in_one(chosen, key, deadline);
  } else {
    made = make_by_wrapping(chosen, key, deadline);
    if (!made && made.error().kind == ErrorKind::kUnsupported) {
      software = config_.development_software_keys;
      if (software) {
        HSMUX_CHECK(random_bytes(id)); // what may remain of the first one is another key
        made = in_software();
      } else {
        made.error().message +=
            ": the same key cannot get into several slots by wrapping here. Place it in one slot and clone it with the "
            "vendor's tool (policy vendor), or, for development only, let it be made in software and imported into all "
            "of them (--software-key, development_software_keys)";
      }
    }
  }
  if (!made) return fail(std::move(made).error());
  HSMUX_TRY(KeyInfo info, read_back(*made, id, deadline));
  info.software_key = software;
  if (info.bits == 0) { // the token has forgotten what we know
    info.bits = bits;
    info.kind = key_kind_name(spec.key);
  }
  if (policy == KeyPolicy::kVendor && chosen.needed > 1) {
    log_(LogLevel::kWarning, fmt::format("key '{}' (id {}) is in slot {} alone: clone it into the others with the "
                                         "vendor's tool, then check that with an audit",
                                         info.label, info.id, fmt::join(info.slots, ", ")));
  }
  return info;
}

Result<KeyInfo> KeyManagement::import(const ImportRequest& request, Deadline deadline) {
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  HSMUX_CHECK(check_label(request.label));
  HSMUX_TRY(SoftwareKey material, software_key_from_pkcs8(request.pkcs8));
  HSMUX_TRY(const Bytes spki, software_key_spki(material));
  HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
  HSMUX_CHECK(check_kind_of_import(spec, facts));
  HSMUX_TRY(const Replication::Plan chosen, choose(request.placement));
  HSMUX_TRY(const auto run, begin(deadline));
  std::array<std::uint8_t, kNewIdBytes> id{};
  HSMUX_CHECK(random_bytes(id));
  const auto bits = static_cast<std::uint32_t>(facts.bits);
  const KeyRequest key{.spec = &spec, .bits = bits, .id = id, .label = request.label};
  HSMUX_TRY(const SlotSet made, place_from_host(chosen, key, std::move(material), deadline));
  return read_back(made, id, deadline);
}

// How a key that exists leaves its token, if it may.
Result<KeyManagement::Leaving> KeyManagement::source_of(std::unique_ptr<HeldLease> held, const Key& key,
                                                        KeyName trusted_key) {
  HeldLease& lease = *held;
  const Quirks& quirks = quirks_of_slot(lease.slot());
  Slot& slot = *group_.slots[lease.slot()];
  HSMUX_TRY(const KeyHandle handle, lease.noted(slot.key_handle(lease.lease(), key.object_class, key.id, false)));
  HSMUX_TRY(const KeyAttributes attributes, lease.noted(read_key_attributes(lease.session(), handle.handle)));
  if (!attributes.extractable.value_or(false)) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("key '{}' (id {}) does not permit to be wrapped (policy none or vendor): its replicas are "
                            "made when it is generated, or by the vendor's means{}{}; a key of the policy trusted-wrap "
                            "can be replicated later",
                            key.info.label, key.info.id, quirks.cloning.empty() ? "" : ": ", quirks.cloning));
  }
  HSMUX_CHECK(lease.noted(check_key_wrap(group_, lease.slot(), quirks)));
  if (!attributes.wrap_with_trusted.value_or(false)) {
    HSMUX_TRY(auto source, TokenSource::of(std::move(held), handle.handle, key.spki, quirks, config_.transport_bits));
    return Leaving{.source = std::move(source), .by_trusted_key = false};
  }
  const std::string_view name = trusted_key.empty() ? std::string_view(config_.trusted_key) : trusted_key;
  if (name.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("key '{}' may be wrapped by a trusted key only: name it (--trusted-key, keys.trusted_key)",
                            key.info.label));
  }
  HSMUX_TRY(const Bytes trusted_id, lease.noted(find_trusted_key(lease.session(), name)));
  HSMUX_TRY(auto source, TrustedSource::of(std::move(held), handle.handle, key.spki, trusted_id, quirks));
  return Leaving{.source = std::move(source), .by_trusted_key = true};
}

Result<KeyInfo> KeyManagement::replicate(const ReplicateRequest& request, Deadline deadline) {
  HSMUX_TRY(const Replication::Plan chosen, choose(request.placement));
  HSMUX_TRY(const auto run, begin(deadline));
  index_.clear(); // where the key is now, not where it was
  HSMUX_TRY(const std::shared_ptr<const Key> key, index_.find(request.key, deadline));
  Replication::Plan plan;
  for (const std::size_t slot : chosen.slots) {
    if ((key->slots & slot_bit(slot)) == 0) plan.slots.push_back(slot);
  }
  const std::size_t there = chosen.slots.size() - plan.slots.size();
  if (there >= chosen.needed) {
    return fail(ErrorKind::kConflict, fmt::format("key '{}' (id {}) is where it is to be already: in {}",
                                                  key->info.label, key->info.id, fmt::join(key->info.slots, ", ")));
  }
  plan.needed = chosen.needed - there;
  const AlgorithmSpec* spec = key->kind ? spec_for(*key->kind, key->info.purposes) : nullptr;
  const bool secret = key->object_class == ObjectClass::kSecretKey;
  if (spec == nullptr || (!secret && !key->spki)) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("key '{}' (id {}) cannot be replicated: {}", key->info.label, key->info.id,
                            spec == nullptr ? "it is for no algorithm of hsmux" : "its public half is nowhere"));
  }
  const SlotSet sources = key->slots & group_.connected();
  if (sources == 0) return fail(ErrorKind::kUnavailable, "no slot that has the key is up", Retry::kLater);
  const auto from = static_cast<std::size_t>(std::countr_zero(sources));
  ReplicaCheck check(*spec, key->info.bits, key->id, key->spki);
  HSMUX_TRY(std::unique_ptr<HeldLease> lease, HeldLease::take(group_, from, deadline));
  if (secret) { // encrypts the block that the copies are to decrypt
    Slot& slot = *group_.slots[from];
    HSMUX_TRY(const KeyHandle handle, lease->noted(slot.key_handle(lease->lease(), key->object_class, key->id, false)));
    HSMUX_CHECK(lease->noted(group_.check_replica(from, lease->lease(), check, handle.handle)));
  }
  HSMUX_TRY(const Leaving leaving, source_of(std::move(lease), *key, request.trusted_key));
  const KeyRequest copy{.spec = spec,
                        .bits = key->info.bits,
                        .id = key->id,
                        .label = key->info.label,
                        .extractable = leaving.by_trusted_key,
                        .wrap_with_trusted = leaving.by_trusted_key};
  HSMUX_TRY(const SlotSet made, Replication(group_, copy, deadline).run(*leaving.source, check, plan));
  leaving.source->release();
  return read_back(made, key->id, deadline);
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
    if (const Status removed = remove_key_from(group_, slot, key.object.id, deadline); !removed) {
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
