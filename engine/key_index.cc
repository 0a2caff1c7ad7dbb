#include "engine/key_index.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "mechanisms/key_name.h"
#include "slots/key_handles.h"

namespace hsmux {
namespace {

Error unusable(const Key& key, std::string why) {
  return make_error(ErrorKind::kKeyUnusable, fmt::format("key '{}' (id {}): {}", key.info.label, key.info.id, why));
}

void merge(std::vector<FoundKey>& keys, KeyObject object, std::size_t slot) {
  const auto same = std::ranges::find_if(keys, [&](const FoundKey& known) {
    return known.object.id == object.id && known.object.object_class == object.object_class && !object.id.empty();
  });
  if (same == keys.end()) {
    keys.push_back({std::move(object), slot_bit(slot)});
    return;
  }
  if ((same->slots & slot_bit(slot)) != 0) same->twice_in_a_slot = true;
  same->slots |= slot_bit(slot);
}

std::string candidates(const std::vector<FoundKey>& keys, const SlotGroup& group) {
  std::vector<std::string> lines;
  for (const FoundKey& key : keys) {
    lines.push_back(fmt::format("id:{} ({}, in {})", to_hex(key.object.id), key.object.kind_text,
                                fmt::join(group.names(key.slots), " ")));
    if (lines.size() == 10) break;
  }
  if (keys.size() > lines.size()) lines.push_back(fmt::format("and {} more", keys.size() - lines.size()));
  return fmt::format("{}", fmt::join(lines, ", "));
}

} // namespace

GcmUsage::Verdict GcmUsage::use() {
  const std::uint64_t before = used_.fetch_add(1, std::memory_order_relaxed);
  if (before >= kRefuseAt) {
    used_.fetch_sub(1, std::memory_order_relaxed); // stays at the limit, however often it is asked
    return Verdict::kExhausted;
  }
  return before == kWarnAt ? Verdict::kWarn : Verdict::kFine;
}

FoundKeys find_keys(SlotGroup& group, const KeyQuery& query, SlotSet slots, Deadline deadline, Router::Wait wait) {
  FoundKeys found;
  for_each_slot(slots, [&](std::size_t slot) {
    for (const ObjectClass object_class : {ObjectClass::kPrivateKey, ObjectClass::kSecretKey}) {
      const auto search = [&] {
        return group.with_session_again(
            slot, deadline, [&](Lease& lease) { return find_key_objects(*lease, object_class, query); }, wait);
      };
      Result<std::vector<KeyObject>> objects = group.slots[slot]->search_keys(search);
      if (!objects) {
        found.unanswered |= slot_bit(slot);
        found.failure = std::move(objects).error();
        return;
      }
      for (KeyObject& object : *objects) merge(found.keys, std::move(object), slot);
    }
  });
  return found;
}

KeyInfo key_info(const FoundKey& found, const SlotGroup& group) {
  return {.id = to_hex(found.object.id),
          .label = found.object.label,
          .kind = found.object.kind_text,
          .bits = found.object.bits,
          .purposes = found.object.purposes,
          .sensitive = found.object.sensitive,
          .extractable = found.object.extractable,
          .slots = group.names(found.slots)};
}

std::shared_ptr<GcmUsage> KeyIndex::usage_of(const Bytes& id) {
  decltype(usages_)::accessor entry;
  usages_.insert(entry, std::string(id.begin(), id.end()));
  if (!entry->second) entry->second = std::make_shared<GcmUsage>();
  return entry->second;
}

std::shared_ptr<const Key> KeyIndex::known(KeyName name) {
  const Generation now = generation();
  decltype(entries_)::const_accessor entry;
  if (!entries_.find(entry, name) || entry->second.generation != now) return nullptr;
  return entry->second.key;
}

Result<std::shared_ptr<const Key>> KeyIndex::find(KeyName name, Deadline deadline) {
  const Generation generation = this->generation();
  std::shared_ptr<const Key> before;
  {
    decltype(entries_)::const_accessor entry;
    if (entries_.find(entry, name)) {
      if (entry->second.generation == generation) return entry->second.key;
      before = entry->second.key;
    }
  }
  Result<std::shared_ptr<const Key>> found = look_up(name, before.get(), deadline);
  if (!found) {
    // What was known stays usable while slots are away: the request waits for them, where it has the time.
    const bool away = found.error().kind == ErrorKind::kUnavailable || found.error().kind == ErrorKind::kTimeout;
    if (before && away && !deadline.passed(MonotonicClock::now())) return before;
    entries_.erase(name);
    if (before && found.error().kind == ErrorKind::kKeyNotFound) {
      for_each_slot(before->slots, [this](std::size_t slot) { group_.slots[slot]->key_vanished(); });
    }
    return found;
  }
  remember(std::string(name), (*found)->complete ? generation : kStale, *found);
  return found;
}

void KeyIndex::remember(const std::string& name, Generation generation, std::shared_ptr<const Key> key) {
  {
    decltype(entries_)::accessor entry;
    const bool fresh = entries_.insert(entry, name);
    entry->second = {generation, std::move(key)};
    if (!fresh) return;
  }
  const std::lock_guard lock(order_mutex_);
  order_.push_back(name);
  if (order_.size() <= kEntriesMax) return;
  entries_.erase(order_.front());
  order_.pop_front();
}

Result<std::shared_ptr<const Key>> KeyIndex::look_up(KeyName name, const Key* before, Deadline deadline) {
  HSMUX_TRY(const KeyQuery query, parse_key_name(name));
  for (std::uint32_t round = 1;; ++round) {
    SlotSet silent = 0;
    Result<std::shared_ptr<const Key>> found = look_up_once(name, query, before, deadline, silent);
    if (found || found.error().kind != ErrorKind::kUnavailable || silent == 0 || round == kAttemptsMax) return found;
    // The key may be where we could not look: as soon as one of those slots is back, once more.
    Result<RoutedLease> back = group_.router.lease({.eligible = silent, .deadline = deadline});
    if (!back) {
      const bool told = back.error().kind == ErrorKind::kClosed || silent == group_.router.all();
      if (told) return fail(std::move(back).error());
      found.error().message += "; " + back.error().message;
      return found;
    }
    group_.router.finish(std::move(*back), {}, false);
  }
}

Result<std::shared_ptr<const Key>> KeyIndex::look_up_once(KeyName name, const KeyQuery& query, const Key* before,
                                                          Deadline deadline, SlotSet& silent) {
  const SlotSet ready = group_.ready();
  const FoundKeys found = find_keys(group_, query, ready, deadline, Router::Wait::kWhileReady);
  const std::vector<FoundKey>& keys = found.keys;
  silent = (group_.router.all() & ~ready) | found.unanswered;
  if (keys.empty()) {
    if (found.failure) return fail(*found.failure);
    if (silent != 0) {
      return fail(ErrorKind::kUnavailable,
                  fmt::format("key '{}' is not in the slots that are up ({}); it may be in {}, which is down", name,
                              fmt::join(group_.names(ready), ", "), fmt::join(group_.names(silent), ", ")),
                  Retry::kLater);
    }
    return fail(ErrorKind::kKeyNotFound, fmt::format("no slot holds a key named '{}' (looked in {})", name,
                                                     fmt::join(group_.names(ready), ", ")));
  }
  if (keys.size() > 1) {
    return fail(ErrorKind::kKeyAmbiguous,
                fmt::format("'{}' fits {} keys; name one by id: {}", name, keys.size(), candidates(keys, group_)));
  }

  const Result<std::shared_ptr<Key>> described = describe(name, keys.front(), deadline);
  if (!described) {
    silent |= keys.front().slots;
    return fail(described.error());
  }
  const std::shared_ptr<Key>& key = *described;
  silent |= keys.front().slots & ~key->slots;
  key->complete = (silent & group_.connected()) == 0;
  // A slot that is away keeps the replica that it had: requests may wait for it.
  if (before != nullptr && before->id == key->id) key->slots |= before->slots & silent;
  return std::shared_ptr<const Key>(key);
}

Result<std::shared_ptr<Key>> KeyIndex::describe(KeyName name, const FoundKey& found, Deadline deadline) {
  auto key = std::make_shared<Key>();
  key->info = key_info(found, group_);
  key->id = found.object.id;
  key->object_class = found.object.object_class;
  key->kind = found.object.kind;
  key->always_authenticate = found.object.always_authenticate;
  key->slots = found.slots;
  key->flow = std::hash<std::string_view>{}({reinterpret_cast<const char*>(key->id.data()), key->id.size()});
  if (key->id.empty() || key->id.size() > kKeyIdBytesMax) {
    return fail(unusable(
        *key, fmt::format("hsmux needs a CKA_ID of 1 to {} bytes; set one with the vendor's tool", kKeyIdBytesMax)));
  }
  if (found.twice_in_a_slot) {
    return fail(ErrorKind::kKeyAmbiguous,
                fmt::format("'{}': two objects of one slot share the id {}", name, key->info.id));
  }
  key->gcm_usage = usage_of(key->id);

  // Replicas are used only once they were compared: a slot that cannot be asked now is left out.
  const bool secret = key->object_class == ObjectClass::kSecretKey;
  const AlgorithmSpec* spec = key->kind ? spec_for(*key->kind, key->info.purposes) : nullptr;
  if (secret && (std::has_single_bit(found.slots) || spec == nullptr)) return key;
  // Of secret keys.
  ReplicaCheck check(spec != nullptr ? *spec : spec_of(Algorithm::kAes256Gcm), key->info.bits, key->id, std::nullopt);
  Status outcome;
  for_each_slot(found.slots, [&](std::size_t slot) {
    Status compared = secret ? compare_secret(*key, slot, check, deadline) : add_public_half(*key, slot, deadline);
    if (compared) return;
    if (compared.error().retryable()) key->slots &= ~slot_bit(slot);
    if (outcome || !compared.error().retryable()) outcome = std::move(compared);
  });
  if (!outcome && (key->slots == 0 || !outcome.error().retryable())) return fail(std::move(outcome).error());
  return key;
}

Status KeyIndex::add_public_half(Key& key, std::size_t slot, Deadline deadline) {
  HSMUX_TRY(std::optional<Bytes> spki,
            group_.with_session_again(
                slot, deadline,
                [&](Lease& lease) -> Result<std::optional<Bytes>> {
                  HSMUX_TRY(const std::vector<KeyObject> objects,
                            find_key_objects(*lease, ObjectClass::kPublicKey, {.label = {}, .id = key.id}));
                  if (objects.empty() || !objects.front().kind) return std::optional<Bytes>();
                  HSMUX_TRY(Bytes read, read_spki(*lease, objects.front()));
                  return std::optional<Bytes>(std::move(read));
                },
                Router::Wait::kWhileReady));
  if (!spki) return {};
  if (!key.spki) {
    key.spki = std::move(spki);
  } else if (*key.spki != *spki) {
    return fail(unusable(key, fmt::format("its replicas differ: the public key in slot {} is another one than in the "
                                          "slots before it; one id must be one key everywhere",
                                          group_.slots[slot]->name())));
  }
  return {};
}

Status KeyIndex::compare_secret(const Key& key, std::size_t slot, ReplicaCheck& check, Deadline deadline) {
  return group_.with_session_again(
      slot, deadline,
      [&](Lease& lease) -> Status {
        HSMUX_TRY(const RecipeChoice* choice, group_.recipes[slot].get(check.spec(), *group_.slots[slot], lease));
        if (choice->recipe == nullptr) return {};                 // the slot will not be asked to use the key either
        group_.slots[slot]->forget_key(key.object_class, key.id); // a look-up trusts nothing remembered
        HSMUX_TRY(const KeyHandle found, group_.slots[slot]->key_handle(lease, key.object_class, key.id, false));
        Status same = check.check(*choice, group_.recipes[slot].quirks(), *lease, found.handle);
        if (same || same.error().kind != ErrorKind::kKeyUnusable) return same;
        return fail(
            unusable(key, fmt::format("its replicas differ: slot {} does not decrypt what another slot encrypts; "
                                      "one id must be one key everywhere",
                                      group_.slots[slot]->name())));
      },
      Router::Wait::kWhileReady);
}

} // namespace hsmux
