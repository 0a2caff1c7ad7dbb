// What differs between vendors' tokens and cannot be found by asking: one row per kind of token, first match wins. Data
// only.
#pragma once

#include <string_view>

#include "slots/slot_selector.h"

namespace hsmux {

// What CK_GCM_PARAMS.ulIvBits holds; the field is in the headers and not in the text of PKCS#11 2.40.
enum class GcmIvBits : std::uint8_t { kEightTimesLength, kZero };

struct Quirks {
  std::string_view name;         // of the row, shown by `hsmux slots`
  std::string_view manufacturer; // CK_TOKEN_INFO.manufacturerID starts with this
  std::string_view model;        // CK_TOKEN_INFO.model starts with this
  GcmIvBits gcm_iv_bits;
};

// The row for a token; the last row fits every token.
const Quirks& quirks_of(const TokenIdentity& token);

} // namespace hsmux
