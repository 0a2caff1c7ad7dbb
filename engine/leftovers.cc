#include "engine/leftovers.h"

#include <algorithm>

#include "engine/key_removal.h"
#include "engine/process_identity.h"
#include "mechanisms/replica_check.h"

namespace hsmux {
namespace {

struct Found {
  Bytes cka_id;
  UnfinishedMark mark;
  std::optional<KeyObject> key; // private or secret
  std::optional<ObjectHandle> public_half;
};

std::vector<Found> by_mark(std::vector<KeyObject> objects) {
  std::vector<Found> all;
  for (KeyObject& object : objects) {
    std::optional<UnfinishedMark> mark = parse_unfinished_id(object.id);
    if (!mark) continue; // somebody's own label
    auto same = std::ranges::find(all, object.id, &Found::cka_id);
    if (same == all.end()) same = all.insert(all.end(), Found{object.id, std::move(*mark), {}, {}});
    if (object.object_class == ObjectClass::kPublicKey) {
      same->public_half = object.handle;
    } else {
      same->key = std::move(object);
    }
  }
  return all;
}

bool expired(const UnfinishedMark& mark) { return std::chrono::system_clock::now() > mark.expires + kClockSkew; }

// The key as other slots that are up have it; nullptr: none has. Asked afresh, and without waiting for those that are
// not.
Result<std::shared_ptr<const Key>> elsewhere(SlotGroup& group, KeyIndex& index, const UnfinishedMark& mark,
                                             std::size_t slot, Deadline deadline) {
  const FoundKeys others = find_keys(group, {.label = {}, .id = mark.id}, group.ready() & ~slot_bit(slot), deadline,
                                     Router::Wait::kWhileReady);
  if (others.failure) return fail(*others.failure);
  if (others.keys.empty()) return std::shared_ptr<const Key>();
  index.clear();
  return index.find("id:" + to_hex(mark.id), deadline);
}

// Under its own name, not as an unfinished one.
Result<bool> has_key(Session& session, ByteView id) {
  for (const ObjectClass object_class : {ObjectClass::kPrivateKey, ObjectClass::kSecretKey}) {
    HSMUX_TRY(const auto found, session.find(key_template_by_id(object_class, id)));
    if (!found.empty()) return true;
  }
  return false;
}

Result<bool> has_public_half(Session& session, ByteView id) {
  HSMUX_TRY(const auto found, session.find(key_template_by_id(ObjectClass::kPublicKey, id)));
  return !found.empty();
}

// Proves that it is the key that the other slots have, then names it.
Status finish(SlotGroup& group, std::size_t slot, const Found& found, const Key& key, Deadline deadline) {
  const AlgorithmSpec* spec = key.kind ? spec_for(*key.kind, key.info.purposes) : nullptr;
  if (spec == nullptr) return fail(ErrorKind::kUnsupported, "no algorithm of ours uses such a key");
  const bool secret = key.object_class == ObjectClass::kSecretKey;
  if (!secret && !key.spki) return fail(ErrorKind::kUnsupported, "the other slots have no public half to compare with");
  ReplicaCheck check(*spec, key.info.bits, key.id, key.spki);
  if (secret) {
    const SlotSet others = key.slots & group.ready() & ~slot_bit(slot);
    if (others == 0) return fail(ErrorKind::kUnavailable, "no other slot that has the key is up", Retry::kLater);
    const auto other = static_cast<std::size_t>(std::countr_zero(others));
    HSMUX_CHECK(group.with_session_again(other, deadline, [&](Lease& lease) -> Status {
      HSMUX_TRY(const KeyHandle handle, group.slots[other]->key_handle(lease, key.object_class, key.id, false));
      return group.check_replica(other, lease, check, handle.handle);
    }));
  }
  return group.with_session(slot, deadline, [&](Lease& lease) -> Status {
    HSMUX_CHECK(group.check_replica(slot, lease, check, found.key->handle));
    if (found.public_half) HSMUX_CHECK(rename_object(*lease, *found.public_half, key.id, key.info.label));
    return rename_object(*lease, found.key->handle, key.id, key.info.label);
  });
}

Status remove(SlotGroup& group, std::size_t slot, const Found& found, Deadline deadline) {
  HSMUX_CHECK(remove_key_from(group, slot, found.cka_id, deadline));
  // A public half that had its name already, without a private one.
  return group.with_session_again(slot, deadline, [&](Lease& lease) -> Status {
    HSMUX_TRY(const bool named, has_key(*lease, found.mark.id));
    if (named) return {};
    HSMUX_TRY(const auto halves, lease->find(key_template_by_id(ObjectClass::kPublicKey, found.mark.id)));
    for (const ObjectHandle handle : halves) HSMUX_CHECK(lease->destroy(handle));
    return {};
  });
}

} // namespace

std::vector<LeftoverReport> clear_leftovers(SlotGroup& group, KeyIndex& index, Deadline deadline, bool clear) {
  const SlotSet ready = group.ready();
  std::vector<LeftoverReport> reports;
  for_each_slot(ready, [&](std::size_t slot) {
    const Result<std::vector<KeyObject>> objects = group.with_session_again(
        slot, deadline, [](Lease& lease) { return find_objects_labelled(*lease, kUnfinishedLabel); },
        Router::Wait::kWhileReady);
    if (!objects) {
      reports.push_back({group.slots[slot]->name(), "", Leftover::kLeave, objects.error()});
      return;
    }
    for (const Found& found : by_mark(*objects)) {
      LeftoverReport report{group.slots[slot]->name(), to_hex(found.mark.id), Leftover::kLeave, {}};
      const Result<std::shared_ptr<const Key>> key = elsewhere(group, index, found.mark, slot, deadline);
      const Result<bool> public_half = group.with_session_again(
          slot, deadline, [&](Lease& lease) { return has_public_half(*lease, found.mark.id); });
      const Result<bool> here =
          group.with_session_again(slot, deadline, [&](Lease& lease) { return has_key(*lease, found.mark.id); });
      if (!key || !public_half || !here) {
        report.failure = !key ? key.error() : !here ? here.error() : public_half.error();
        reports.push_back(std::move(report));
        continue;
      }
      const bool secret = found.key && found.key->object_class == ObjectClass::kSecretKey;
      report.verdict = judge_leftover({.owner = owner_state(found.mark.owner),
                                       .expired = expired(found.mark),
                                       // A second copy beside the key itself would make it ambiguous.
                                       .whole = !*here && found.key && (secret || found.public_half || *public_half),
                                       .finished_elsewhere = *here || *key != nullptr,
                                       .all_slots_asked = ready == group.router.all()});
      Status done;
      if (clear && report.verdict == Leftover::kFinish) {
        done = finish(group, slot, found, **key, deadline);
        // Not the key after all: another run's, or one that was half made.
        if (!done && done.error().kind == ErrorKind::kKeyUnusable) report.verdict = Leftover::kRemove;
      }
      if (clear && report.verdict == Leftover::kRemove) done = remove(group, slot, found, deadline);
      if (!done) report.failure = done.error();
      reports.push_back(std::move(report));
    }
  });
  if (clear && !reports.empty()) index.clear();
  return reports;
}

} // namespace hsmux
