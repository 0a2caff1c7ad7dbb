#include "mechanisms/key_attributes.h"

#include <vector>

#include "slots/mechanism_name.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::array kAttributeRows{
    KeyAttributeRow{"PRIVATE", CKA_PRIVATE, &KeyAttributes::private_object},
    KeyAttributeRow{"SENSITIVE", CKA_SENSITIVE, &KeyAttributes::sensitive},
    KeyAttributeRow{"ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE, &KeyAttributes::always_sensitive},
    KeyAttributeRow{"EXTRACTABLE", CKA_EXTRACTABLE, &KeyAttributes::extractable},
    KeyAttributeRow{"NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE, &KeyAttributes::never_extractable},
    KeyAttributeRow{"LOCAL", CKA_LOCAL, &KeyAttributes::local},
    KeyAttributeRow{"MODIFIABLE", CKA_MODIFIABLE, &KeyAttributes::modifiable},
    KeyAttributeRow{"COPYABLE", CKA_COPYABLE, &KeyAttributes::copyable},
    KeyAttributeRow{"DESTROYABLE", CKA_DESTROYABLE, &KeyAttributes::destroyable},
    KeyAttributeRow{"WRAP_WITH_TRUSTED", CKA_WRAP_WITH_TRUSTED, &KeyAttributes::wrap_with_trusted},
    KeyAttributeRow{"TRUSTED", CKA_TRUSTED, &KeyAttributes::trusted},
    KeyAttributeRow{"ALWAYS_AUTHENTICATE", CKA_ALWAYS_AUTHENTICATE, &KeyAttributes::always_authenticate},
};

} // namespace

std::span<const KeyAttributeRow> key_attribute_rows() { return kAttributeRows; }

Result<KeyAttributes> read_key_attributes(Session& session, ObjectHandle key) {
  std::vector<unsigned long> types;
  for (const KeyAttributeRow& row : kAttributeRows) types.push_back(row.type);
  types.push_back(CKA_KEY_GEN_MECHANISM);
  HSMUX_TRY(const auto values, session.attributes(key, types));
  KeyAttributes read;
  for (std::size_t i = 0; i < kAttributeRows.size(); ++i) {
    if (values[i]) read.*kAttributeRows[i].field = as_flag(*values[i]);
  }
  const auto made_by = values.back() ? as_number(*values.back()) : std::nullopt;
  if (made_by && *made_by != CK_UNAVAILABLE_INFORMATION) read.made_by = mechanism_name(*made_by);
  return read;
}

} // namespace hsmux
