// What a security officer asks of a key, as its token says it (PKCS#11 2.40, 4.9 and 4.10: table of common key
// attributes). Uses the given session only.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "slots/session.h"

namespace hsmux {

// nullopt: the token does not say.
struct KeyAttributes {
  std::optional<bool> private_object, sensitive, always_sensitive, extractable, never_extractable, local, modifiable,
      copyable, destroyable, wrap_with_trusted, trusted, always_authenticate;
  std::string made_by; // CKA_KEY_GEN_MECHANISM; empty when it was imported or unwrapped, or is not told
};

struct KeyAttributeRow {
  std::string_view name; // of PKCS#11, without CKA_
  unsigned long type;    // CKA_
  std::optional<bool> KeyAttributes::* field;
};
std::span<const KeyAttributeRow> key_attribute_rows();

Result<KeyAttributes> read_key_attributes(Session& session, ObjectHandle key);

} // namespace hsmux
