// What C_WrapKey and C_UnwrapKey compute. Pure functions; any thread.
#pragma once

#include "tests/simhsm/own/mechanism_table.h"
#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

using SharedObject = std::shared_ptr<const Object>;

// `key` under `wrapping`; whether that may be is checked before. Refuses with CKR_MECHANISM_PARAM_INVALID,
// CKR_KEY_SIZE_RANGE, CKR_KEY_NOT_WRAPPABLE.
Bytes wrap(const CK_MECHANISM& mechanism, const MechanismRow& row, const SharedObject& wrapping, const Object& key);

// What was wrapped. Refuses with CKR_MECHANISM_PARAM_INVALID, CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID.
Bytes unwrap(const CK_MECHANISM& mechanism, const MechanismRow& row, const SharedObject& unwrapping, View wrapped);

} // namespace hsmux::sim::own
