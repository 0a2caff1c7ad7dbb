#include "engine/replicate.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/key_removal.h"
#include "engine/process_identity.h"

namespace hsmux {
namespace {

// Wall clock: other processes read it. Rounded up, since a deadline in the past would let others clear what is at work.
std::chrono::sys_seconds end_of(Deadline deadline) {
  const auto left = std::min<Duration>(deadline.left(MonotonicClock::now()), std::chrono::hours(24));
  return std::chrono::ceil<std::chrono::seconds>(std::chrono::system_clock::now() + left);
}

} // namespace

Replication::Replication(SlotGroup& group, const KeyRequest& key, Deadline deadline)
    : group_(group), key_(key), deadline_(deadline),
      mark_(unfinished_id(
          {.owner = this_process(), .expires = end_of(deadline), .id = Bytes(key.id.begin(), key.id.end())})) {}

Result<HeldLease*> Replication::lease_of(std::size_t slot, KeySource& source) {
  if (source.lease() != nullptr && source.lease()->slot() == slot) return source.lease();
  const auto held = std::ranges::find_if(leases_, [&](const auto& lease) { return lease->slot() == slot; });
  if (held != leases_.end()) return held->get();
  HSMUX_TRY(std::unique_ptr<HeldLease> taken, HeldLease::take(group_, slot, deadline_));
  leases_.push_back(std::move(taken));
  return leases_.back().get();
}

void Replication::give_back(std::size_t slot) {
  std::erase_if(leases_, [&](const std::unique_ptr<HeldLease>& lease) { return lease->slot() == slot; });
}

// Somebody else may have placed it meanwhile: two objects of one id make a key ambiguous, and undoing would take both.
Status Replication::refuse_where_it_is(HeldLease& lease) {
  for (const ObjectClass object_class : {ObjectClass::kPrivateKey, ObjectClass::kSecretKey, ObjectClass::kPublicKey}) {
    HSMUX_TRY(const auto there, lease.noted(lease.session().find(key_template_by_id(object_class, key_.id))));
    if (there.empty()) continue;
    return fail(ErrorKind::kConflict, fmt::format("slot {} has objects with the id {} already",
                                                  group_.slots[lease.slot()]->name(), to_hex(key_.id)));
  }
  return {};
}

Result<MadeKey> Replication::place(std::size_t slot, KeySource& source, ReplicaCheck& check) {
  HSMUX_TRY(HeldLease* const lease, lease_of(slot, source));
  // Known before anything is made: a slot that is not up to it refuses, and its row says how keys are made.
  HSMUX_CHECK(lease->noted(group_.recipes[slot].get(*key_.spec, *group_.slots[slot], lease->lease())));
  HSMUX_CHECK(refuse_where_it_is(*lease));
  KeyRequest unfinished = key_;
  unfinished.id = mark_;
  unfinished.label = kUnfinishedLabel;
  unfinished.quirks = &group_.recipes[slot].quirks();
  HSMUX_TRY(const MadeKey made, source.put(*lease, unfinished));
  HSMUX_CHECK(lease->noted(group_.check_replica(slot, lease->lease(), check, made.handle)));
  return made;
}

// The public half first: whoever finds the private one finds all of the key.
Status Replication::name_all(std::span<const Copy> copies, KeySource& source, SlotSet& named) {
  for (const Copy& copy : copies) {
    HSMUX_TRY(HeldLease* const lease, lease_of(copy.slot, source));
    HSMUX_CHECK(refuse_where_it_is(*lease));
    const auto name = [&](ObjectHandle object) {
      return lease->noted(rename_object(lease->session(), object, key_.id, key_.label));
    };
    named |= slot_bit(copy.slot); // an answer may be lost
    if (copy.key.public_key) HSMUX_CHECK(name(*copy.key.public_key));
    HSMUX_CHECK(name(copy.key.handle));
  }
  return {};
}

Error Replication::undo(Error error, KeySource& source, std::span<const Copy> copies, SlotSet named, SlotSet doubtful,
                        std::size_t needed) {
  // Sessions that failed are not used for undoing, nor held while others are waited for.
  (void)source.end();
  source.release();
  leases_.clear();
  SlotSet made = doubtful;
  for (const Copy& copy : copies) made |= slot_bit(copy.slot);
  // Back under the mark first: should this process end now, the next run finds what is left.
  for_each_slot(named, [&](std::size_t slot) { take_name_back(slot); });
  const std::string remains = undo_key(group_, made, mark_, key_.id) + undo_key(group_, named, key_.id);
  error.message += fmt::format(" (the key was made in {} of the {} slots it needs and removed again{})", copies.size(),
                               needed, remains);
  return error;
}

void Replication::take_name_back(std::size_t slot) {
  (void)group_.with_session_again(slot, Deadline::after(std::chrono::seconds(10)), [&](Lease& lease) -> Status {
    for (const ObjectClass object_class :
         {ObjectClass::kPrivateKey, ObjectClass::kSecretKey, ObjectClass::kPublicKey}) {
      HSMUX_TRY(const auto found, lease->find(key_template_by_id(object_class, key_.id)));
      for (const ObjectHandle handle : found) HSMUX_CHECK(rename_object(*lease, handle, mark_, kUnfinishedLabel));
    }
    return {};
  });
}

Result<SlotSet> Replication::run(KeySource& source, ReplicaCheck& check, const Plan& plan) {
  std::vector<Copy> copies;
  SlotSet doubtful = 0; // an answer may have been lost after the key was made
  std::optional<Error> failure;
  for (const std::size_t slot : plan.slots) {
    if (copies.size() == plan.needed) break;
    if (group_.slots[slot]->state() != SlotState::kReady) continue; // only with a quorum
    Result<MadeKey> made = place(slot, source, check);
    if (made) {
      copies.push_back({slot, *made});
      continue;
    }
    failure = std::move(made).error();
    give_back(slot);
    doubtful |= slot_bit(slot);
    if (plan.needed == plan.slots.size()) break;
  }
  if (copies.size() < plan.needed) {
    Error error = failure ? *failure : make_error(ErrorKind::kUnavailable, "too few slots are up", Retry::kLater);
    return fail(undo(std::move(error), source, copies, 0, doubtful, plan.needed));
  }
  SlotSet named = 0;
  Status done = source.end();
  if (done) done = name_all(copies, source, named);
  if (!done) return fail(undo(std::move(done).error(), source, copies, named, doubtful, plan.needed));
  if (doubtful != 0) { // slots that a quorum did without; what cannot be removed now is found by its mark
    source.release();
    leases_.clear();
    (void)undo_key(group_, doubtful, mark_, key_.id);
  }
  return named;
}

} // namespace hsmux
