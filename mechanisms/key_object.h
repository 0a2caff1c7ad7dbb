// Keys as they lie in a token: finding them and reading what they are, without PKCS#11's names. Stateless; uses the
// given session only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mechanisms/spec.h"
#include "slots/session.h"

namespace hsmux {

struct KeyPurposes {
  bool sign = false, decrypt = false, encrypt = false, wrap = false, unwrap = false, derive = false;
};

// One private or secret key object, or a public key object.
struct KeyObject {
  ObjectHandle handle = 0;
  ObjectClass object_class{};
  Bytes id; // CKA_ID
  std::string label;
  std::optional<KeyKind> kind; // nullopt: a kind that the spec table does not know
  std::string kind_text;       // for people, also when unknown: "ec-p256", "CKK 0x15"
  std::uint32_t bits = 0;      // of modulus, field or secret; 0 = not told
  KeyPurposes purposes;
  bool sensitive = false, extractable = false;
  bool always_authenticate = false; // each operation wants a login of its own
};

// What to look for; all that is set must fit.
struct KeyQuery {
  std::optional<std::string> label;
  std::optional<Bytes> id;
};

// Objects of one class. Objects that vanish meanwhile are left out, and those that are not whole yet
// (unfinished_key.h).
Result<std::vector<KeyObject>> find_key_objects(Session& session, ObjectClass object_class, const KeyQuery& query);

// One object. nullopt: it has vanished.
Result<std::optional<KeyObject>> read_key_object(Session& session, ObjectHandle handle, ObjectClass object_class);
// Objects of the token with this label, of any class of keys, unfinished ones too.
Result<std::vector<KeyObject>> find_objects_labelled(Session& session, std::string_view label);
// CKA_ID and CKA_LABEL of an object become others.
Status rename_object(Session& session, ObjectHandle object, ByteView id, std::string_view label);

// DER SubjectPublicKeyInfo of a public key object. Errors: kUnsupported for kinds and encodings that we do not know.
Result<Bytes> read_spki(Session& session, const KeyObject& public_key);
// The same of an object whose kind is known.
Result<Bytes> read_spki(Session& session, ObjectHandle public_key, KeyKind kind);

} // namespace hsmux
