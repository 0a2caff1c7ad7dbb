// One key into several slots, whole or not at all. In two steps, so that a crash at any point leaves nothing that
// anybody takes for a key and nothing extractable: first every slot gets the key under the mark of an unfinished one
// (mechanisms/unfinished_key.h) and proves by use that it is the same key; then the source is destroyed, and each copy
// gets its name. What a crash leaves is cleared by the next run (leftovers.h). Blocking; one thread.
#pragma once

#include <span>

#include "engine/key_source.h"
#include "mechanisms/replica_check.h"

namespace hsmux {

class Replication {
public:
  struct Plan {
    std::vector<std::size_t> slots; // in order of preference
    std::size_t needed = 0;         // how many of them must get the key; all others stay without
  };
  // `key`: the key as it is to be in each slot.
  Replication(SlotGroup& group, const KeyRequest& key, Deadline deadline);

  // The slots that have the key now. On failure none of them has, and the source has given its session back. Errors: of
  // the calls; kUnavailable (too few slots).
  Result<SlotSet> run(KeySource& source, ReplicaCheck& check, const Plan& plan);

private:
  struct Copy {
    std::size_t slot;
    MadeKey key;
  };
  Result<HeldLease*> lease_of(std::size_t slot, KeySource& source);
  void give_back(std::size_t slot);
  Result<MadeKey> place(std::size_t slot, KeySource& source, ReplicaCheck& check);
  Status name_all(std::span<const Copy> copies, KeySource& source, SlotSet& named);
  Error undo(Error error, KeySource& source, std::span<const Copy> copies, SlotSet named, SlotSet doubtful,
             std::size_t needed);
  Status refuse_where_it_is(HeldLease& lease);
  void take_name_back(std::size_t slot);

  SlotGroup& group_;
  const KeyRequest& key_;
  const Deadline deadline_;
  Bytes mark_;
  std::vector<std::unique_ptr<HeldLease>> leases_; // of slots other than the source's
};

} // namespace hsmux
