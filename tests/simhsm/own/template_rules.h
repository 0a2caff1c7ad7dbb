// Which attributes an object has, who may set them and when, and what they are where nobody says (PKCS#11 2.40, 4.1 to
// 4.10). Constants and pure functions; any thread.
#pragma once

#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

// What a template is for.
enum class Origin : unsigned { kCreate = 1, kGenerate = 2, kUnwrap = 4, kDerive = 8, kCopy = 16, kSet = 32 };

// Refuses with CKR_ARGUMENTS_BAD, or with CKR_TEMPLATE_INCONSISTENT when an attribute is there twice.
Attributes read_template(const CK_ATTRIBUTE* list, CK_ULONG count);

// What the function or its mechanism implies: sets it, or refuses with CKR_TEMPLATE_INCONSISTENT if the template says
// otherwise.
void imply(Attributes& given, CK_ATTRIBUTE_TYPE type, CK_ULONG number);

// Refuses a template for a new object that breaks a rule; it has CKA_CLASS and, of keys, CKA_KEY_TYPE. `by_so`: the
// security officer is logged in.
void check_new(const Attributes& given, Origin origin, bool by_so);

// The attributes of `object` with the changes of C_CopyObject or C_SetAttributeValue.
Attributes changed(const Object& object, const Attributes& given, Origin origin, bool by_so);

// Where a new key comes from.
struct Provenance {
  bool local = false;
  CK_MECHANISM_TYPE mechanism = kUnavailable;
  bool was_sensitive = false, was_unextractable = false; // always, before now
};

// A new object: the template with everything that it leaves open.
Object complete(Attributes given, std::shared_ptr<const Key> key, const Provenance& provenance);

} // namespace hsmux::sim::own
