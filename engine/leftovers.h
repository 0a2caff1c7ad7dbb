// What crashed runs of replication left in the slots: found by its mark, finished where the key exists in another slot,
// removed where it does not, left alone while its owner may be at work. Blocking; any thread.
#pragma once

#include "engine/key_index.h"
#include "mechanisms/unfinished_key.h"

namespace hsmux {

struct LeftoverReport {
  std::string slot, id; // of the key to be
  Leftover verdict{};
  std::optional<Error> failure; // why that could not be done
};

// All that there are. With `clear` false nothing is changed.
std::vector<LeftoverReport> clear_leftovers(SlotGroup& group, KeyIndex& index, Deadline deadline, bool clear = true);

} // namespace hsmux
