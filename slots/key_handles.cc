#include "slots/key_handles.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "slots/pkcs11.h"

namespace hsmux {

Template key_template_by_id(ObjectClass object_class, ByteView id) {
  const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY};
  Template wanted;
  wanted.flag(CKA_TOKEN, true).number(CKA_CLASS, classes[static_cast<std::size_t>(object_class)]).bytes(CKA_ID, id);
  return wanted;
}

KeyHandles::Key KeyHandles::make_key(ObjectClass object_class, ByteView id) {
  Key key;
  key.object_class = object_class;
  key.id_bytes = static_cast<std::uint8_t>(std::min(id.size(), key.id.size()));
  std::copy_n(id.begin(), key.id_bytes, key.id.begin());
  return key;
}

std::size_t KeyHandles::Hash::hash(const Key& key) {
  const std::string_view id(reinterpret_cast<const char*>(key.id.data()), key.id_bytes);
  return std::hash<std::string_view>{}(id) + static_cast<std::size_t>(key.object_class);
}

std::optional<KeyHandle> KeyHandles::lookup(std::uint64_t epoch, ObjectClass object_class, ByteView id,
                                            bool copies) const {
  decltype(handles_)::const_accessor found;
  if (!handles_.find(found, make_key(object_class, id)) || found->second.epoch != epoch) return std::nullopt;
  const Entry& entry = found->second;
  if (copies && entry.copy != CK_INVALID_HANDLE) return KeyHandle{entry.copy, true, entry.copy_verified};
  return KeyHandle{entry.handle, false, entry.verified};
}

bool KeyHandles::store(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle) {
  decltype(handles_)::accessor entry;
  const bool fresh = handles_.insert(entry, make_key(object_class, id));
  Entry& known = entry->second;
  // A slow search of an old epoch must not displace what a newer epoch found.
  if (!fresh && (known.epoch > epoch || (known.epoch == epoch && known.handle == handle))) return false;
  known = {.epoch = epoch, .handle = handle, .copy = CK_INVALID_HANDLE};
  return true;
}

bool KeyHandles::store_copy(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle,
                            ObjectHandle copy) {
  decltype(handles_)::accessor entry;
  if (!handles_.find(entry, make_key(object_class, id))) return false;
  Entry& known = entry->second;
  if (known.epoch != epoch || known.handle != handle || known.copy != CK_INVALID_HANDLE) return false;
  known.copy = copy;
  known.copy_verified = false;
  return true;
}

void KeyHandles::mark_verified(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle) {
  decltype(handles_)::accessor entry;
  if (!handles_.find(entry, make_key(object_class, id)) || entry->second.epoch != epoch) return;
  if (entry->second.handle == handle) entry->second.verified = true;
  if (entry->second.copy == handle) entry->second.copy_verified = true;
}

std::optional<KeyHandles::Copy> KeyHandles::forget(ObjectClass object_class, ByteView id) {
  decltype(handles_)::accessor entry;
  if (!handles_.find(entry, make_key(object_class, id))) return std::nullopt;
  const Copy copy{entry->second.epoch, entry->second.copy};
  handles_.erase(entry);
  if (copy.handle == CK_INVALID_HANDLE) return std::nullopt;
  return copy;
}

} // namespace hsmux
