// What differs between vendors' tokens and cannot be found by asking, or not without harm: one row per kind of token,
// first match wins. Data only; where each value is from stands in its row's evidence and in docs/vendors.md.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "slots/slot_selector.h"

namespace hsmux {

// What CK_GCM_PARAMS.ulIvBits holds; the field is in the headers and not in the text of PKCS#11 2.40.
enum class GcmIvBits : std::uint8_t { kEightTimesLength, kZero };
// Who makes the IV of AES-GCM. kToken: it refuses or ignores others', and writes its own into a buffer of zeros.
enum class GcmIv : std::uint8_t { kHost, kToken };
// CKA_EC_POINT of Edwards keys that are imported: wrapped in a DER OCTET STRING (PKCS#11 3.0), or the 32 bytes as they
// are (3.1). Both are read everywhere.
enum class EdwardsPoint : std::uint8_t { kOctetString, kRaw };
// The form of CKA_EC_PARAMS that is tried first for Ed25519: RFC 8410's OID, or RFC 8032's name. The other one follows.
enum class EdwardsParams : std::uint8_t { kOid, kName };

struct Quirks {
  std::string_view name;         // of the row, shown by `hsmux slots`
  std::string_view manufacturer; // CK_TOKEN_INFO.manufacturerID starts with this
  std::string_view model;        // CK_TOKEN_INFO.model starts with this
  std::string_view module;       // the module's file name starts with this
  GcmIvBits gcm_iv_bits;
  GcmIv gcm_iv;
  EdwardsPoint edwards_point;
  EdwardsParams edwards_params;
  unsigned long key_wrap;    // CKM_ of AES key wrap with padding as RFC 5649 has it; 0: the token has none
  std::string_view cloning;  // the vendor's own way to have a key in several HSMs; empty: none is known
  std::string_view evidence; // URLs, separated by blanks
};

std::span<const Quirks> quirks_table();
// The row for a token behind a module; the last row fits every token.
const Quirks& quirks_of(const TokenIdentity& token, std::string_view module_path);
const Quirks& standard_quirks();

// For people: "AES-GCM IVs by the host, Edwards points in an OCTET STRING, ..."
std::string describe(const Quirks& quirks);

} // namespace hsmux
