// Removing a key's objects from slots. Stateless; any thread.
#pragma once

#include <string>

#include "engine/slot_group.h"

namespace hsmux {

// Every object of a key with this CKA_ID in one slot. Done again after failures for which that makes sense.
Status remove_key_from(SlotGroup& group, std::size_t slot, ByteView id, Deadline deadline);
// From all of `slots`, with a time of its own, since what was half done is to go even when the request's time is over.
// What to tell when something remains; else empty. `called`: the id that people know it by; empty: `id`.
std::string undo_key(SlotGroup& group, SlotSet slots, ByteView id, ByteView called = {});

} // namespace hsmux
