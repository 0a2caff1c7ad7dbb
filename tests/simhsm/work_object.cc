#include <algorithm>
#include <string>

#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

using Objects = CK_OBJECT_HANDLE*;
using List = CK_ATTRIBUTE*;

void forget_object(CK_OBJECT_HANDLE object) {
  SimSlot& slot = Visit::current().slot();
  const std::unique_lock lock(slot.objects_mutex);
  slot.objects.erase(object);
}

CK_RV noted(CK_RV rv, Objects object) {
  if (rv == CKR_OK && object != nullptr) note_object(*object);
  return rv;
}

CK_RV create_object(CK_SESSION_HANDLE session, List list, CK_ULONG count, Objects object) {
  return noted(backend().C_CreateObject(session, list, count, object), object);
}

CK_RV copy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE from, List list, CK_ULONG count, Objects object) {
  check_object(from);
  return noted(backend().C_CopyObject(session, from, list, count, object), object);
}

CK_RV destroy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object) {
  check_object(object);
  const CK_RV rv = backend().C_DestroyObject(session, object);
  if (rv == CKR_OK) forget_object(object);
  return rv;
}

CK_RV get_object_size(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG* size) {
  check_object(object);
  return backend().C_GetObjectSize(session, object, size);
}

CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, List list, CK_ULONG count) {
  check_object(object);
  return backend().C_GetAttributeValue(session, object, list, count);
}

CK_RV set_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, List list, CK_ULONG count) {
  check_object(object);
  return backend().C_SetAttributeValue(session, object, list, count);
}

CK_RV find_objects(CK_SESSION_HANDLE session, Objects objects, CK_ULONG most, CK_ULONG* count) {
  const CK_RV rv = backend().C_FindObjects(session, objects, most, count);
  if (rv == CKR_OK) std::for_each_n(objects, *count, note_object);
  return rv;
}

CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, List list, CK_ULONG count, Objects key) {
  return noted(backend().C_GenerateKey(session, mechanism, list, count, key), key);
}

CK_RV generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, List public_list, CK_ULONG public_count,
                        List private_list, CK_ULONG private_count, Objects public_key, Objects private_key) {
  const CK_RV rv = backend().C_GenerateKeyPair(session, mechanism, public_list, public_count, private_list,
                                               private_count, public_key, private_key);
  return noted(noted(rv, public_key), private_key);
}

CK_RV wrap_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE with, CK_OBJECT_HANDLE key,
               CK_BYTE* out, CK_ULONG* bytes) {
  check_object(with);
  check_object(key);
  return backend().C_WrapKey(session, mechanism, with, key, out, bytes);
}

CK_RV unwrap_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE with, CK_BYTE* in, CK_ULONG bytes,
                 List list, CK_ULONG count, Objects key) {
  check_object(with);
  return noted(backend().C_UnwrapKey(session, mechanism, with, in, bytes, list, count, key), key);
}

CK_RV derive_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE base, List list, CK_ULONG count,
                 Objects key) {
  check_object(base);
  return noted(backend().C_DeriveKey(session, mechanism, base, list, count, key), key);
}

} // namespace

void note_object(CK_OBJECT_HANDLE object) {
  SimSlot& slot = Visit::current().slot();
  const std::unique_lock lock(slot.objects_mutex);
  slot.objects[object] = slot.epoch;
}

// A stale handle is one that was given out before the login of this session began. Before that login the caller may not
// have known that the old one was gone.
void check_object(CK_OBJECT_HANDLE object) {
  Visit& visit = Visit::current();
  Session& session = visit.session();
  if (session.checked_object == object) return;
  SimSlot& slot = visit.slot();
  {
    const std::shared_lock lock(slot.objects_mutex);
    const auto known = slot.objects.find(object);
    if (known == slot.objects.end() || known->second >= session.login_epoch) {
      session.checked_object = object;
      return;
    }
  }
  Simulator::get().violation(Violation::kStaleHandle, "object " + std::to_string(object) +
                                                          " of an earlier epoch of slot " + std::to_string(slot.id));
}

void add_object_work(CK_FUNCTION_LIST& work) {
  work.C_CreateObject = create_object;
  work.C_CopyObject = copy_object;
  work.C_DestroyObject = destroy_object;
  work.C_GetObjectSize = get_object_size;
  work.C_GetAttributeValue = get_attribute_value;
  work.C_SetAttributeValue = set_attribute_value;
  work.C_FindObjects = find_objects;
  work.C_GenerateKey = generate_key;
  work.C_GenerateKeyPair = generate_key_pair;
  work.C_WrapKey = wrap_key;
  work.C_UnwrapKey = unwrap_key;
  work.C_DeriveKey = derive_key;
}

} // namespace hsmux::sim
