#include "engine/key_removal.h"

#include <fmt/format.h>

#include "mechanisms/host_crypto.h"

namespace hsmux {

Status remove_key_from(SlotGroup& group, std::size_t slot, ByteView id, Deadline deadline) {
  for (const ObjectClass object_class : {ObjectClass::kPrivateKey, ObjectClass::kSecretKey, ObjectClass::kPublicKey}) {
    HSMUX_CHECK(group.with_session_again(slot, deadline, [&](Lease& lease) -> Status {
      HSMUX_TRY(const std::vector<ObjectHandle> handles, lease->find(key_template_by_id(object_class, id)));
      for (const ObjectHandle handle : handles) HSMUX_CHECK(lease->destroy(handle));
      return {};
    }));
    group.slots[slot]->forget_key(object_class, id);
  }
  return {};
}

std::string undo_key(SlotGroup& group, SlotSet slots, ByteView id, ByteView called) {
  std::string remains;
  for_each_slot(slots, [&](std::size_t slot) {
    const Status removed = remove_key_from(group, slot, id, Deadline::after(std::chrono::seconds(10)));
    if (removed) return;
    remains += fmt::format("; id {} REMAINS in slot {} ({})", to_hex(called.empty() ? id : called),
                           group.slots[slot]->name(), removed.error().text());
  });
  return remains;
}

} // namespace hsmux
