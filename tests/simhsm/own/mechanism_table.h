// The mechanisms of the HSM as one table: C_GetMechanismList, C_GetMechanismInfo and every check of an Init read it.
// Constants; any thread.
#pragma once

#include <span>

#include "slots/pkcs11.h"
#include "tests/simhsm/own/names_v3.h"

namespace hsmux::sim::own {

struct MechanismRow {
  static constexpr CK_KEY_TYPE kNoKey = ~CK_KEY_TYPE{0};

  CK_MECHANISM_TYPE type;
  CK_ULONG min, max; // sizes of keys, in the unit that the standard gives for the mechanism
  CK_FLAGS flags;
  CK_KEY_TYPE key_type;       // of the key that it works with or makes
  CK_MECHANISM_TYPE hash = 0; // what it hashes its input with; 0: nothing
  bool padded = false;        // RSASSA-PSS
};

std::span<const MechanismRow> mechanism_table();
// Refuses with CKR_MECHANISM_INVALID what is not in the table or does not have `flag`, with CKR_ARGUMENTS_BAD nullptr.
const MechanismRow& mechanism_row(const CK_MECHANISM* mechanism, CK_FLAGS flag);

} // namespace hsmux::sim::own
