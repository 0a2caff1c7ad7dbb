// What C_DeriveKey computes. Pure; any thread.
#pragma once

#include "tests/simhsm/own/key_codec.h"

namespace hsmux::sim::own {

// CKM_ECDH1_DERIVE with CKD_NULL: the x coordinate of the shared point, as long as the field. Refuses with
// CKR_MECHANISM_PARAM_INVALID what is no such parameter or no point on the curve of `base`.
Bytes ecdh(const CK_MECHANISM& mechanism, const Key& base);

} // namespace hsmux::sim::own
