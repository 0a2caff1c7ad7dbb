#include "slots/key_handles.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "slots/pkcs11.h"

namespace hsmux {

Template key_template_by_id(ObjectClass object_class, ByteView id) {
  const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY};
  Template wanted;
  wanted.number(CKA_CLASS, classes[static_cast<std::size_t>(object_class)]).bytes(CKA_ID, id);
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

std::optional<ObjectHandle> KeyHandles::lookup(std::uint64_t epoch, ObjectClass object_class, ByteView id) const {
  decltype(handles_)::const_accessor found;
  if (!handles_.find(found, make_key(object_class, id)) || found->second.epoch != epoch) return std::nullopt;
  return found->second.handle;
}

void KeyHandles::store(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle) {
  decltype(handles_)::accessor entry;
  handles_.insert(entry, make_key(object_class, id));
  // A slow search of an old epoch must not displace what a newer epoch found.
  if (entry->second.epoch <= epoch) entry->second = {epoch, handle};
}

void KeyHandles::forget(ObjectClass object_class, ByteView id) { handles_.erase(make_key(object_class, id)); }

} // namespace hsmux
