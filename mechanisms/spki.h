// Public keys: EC points as tokens show them, curves, and DER SubjectPublicKeyInfo (RFC 5280, RFC 5480) by OpenSSL.
// Output is the same bytes each time. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "slots/result.h"

namespace hsmux {

enum class Curve : std::uint8_t { kP256, kP384, kSecp256k1 };
std::size_t field_bytes(Curve curve);
const char* openssl_group(Curve curve); // OpenSSL's group name
ByteView ec_params(Curve curve);        // CKA_EC_PARAMS: DER of the named curve's OID

// kUnsupported for everything but the exact named-curve OIDs of the table.
Result<Curve> curve_from_params(ByteView cka_ec_params);
// The uncompressed point of CKA_EC_POINT, raw or as DER OCTET STRING, told apart by exact length only. kUnsupported
// otherwise.
Result<Bytes> ec_point_from_attribute(Curve curve, ByteView cka_ec_point);

// Named curve, uncompressed point, checked to be on the curve. kUnsupported when it is not.
Result<Bytes> ec_spki(Curve curve, ByteView point);
// Edwards keys. The two forms of CKA_EC_PARAMS that tokens take for Ed25519, the first one preferred: the OID of RFC
// 8410, and RFC 8032's name "edwards25519" as a PrintableString (PKCS#11 3.0, 2.3.1).
ByteView ed25519_params_oid();
ByteView ed25519_params_name();
bool is_ed25519_params(ByteView cka_ec_params);
// The 32 bytes of CKA_EC_POINT, raw or as DER OCTET STRING, told apart by length. kUnsupported otherwise.
Result<Bytes> ed25519_point_from_attribute(ByteView cka_ec_point);
Result<Bytes> ed25519_spki(ByteView point);

// Odd moduli of 1024 to 16384 bits, odd exponents from 3 to below the modulus, leading zeros allowed; else
// kUnsupported.
Result<Bytes> rsa_spki(ByteView modulus, ByteView exponent);

struct EcPublicParts {
  Curve curve{};
  Bytes point; // uncompressed
};
struct EdPublicParts { // Ed25519
  Bytes point;         // 32 bytes
};
struct RsaPublicParts {
  Bytes modulus, exponent; // big-endian, no leading zeros
};
using PublicParts = std::variant<EcPublicParts, EdPublicParts, RsaPublicParts>;
// What a token needs to be given a public key. kInvalidArgument when it is not a SubjectPublicKeyInfo, kUnsupported for
// other kinds and curves.
Result<PublicParts> public_parts(ByteView spki);

struct PublicKeyFacts {
  enum class Kind : std::uint8_t { kEc, kEd25519, kRsa, kOther } kind = Kind::kOther;
  std::optional<Curve> curve;
  std::size_t bits = 0;
};
// Both: kInvalidArgument when it is not a SubjectPublicKeyInfo, or one above 16 KiB. `curve` is empty for other curves.
Result<PublicKeyFacts> describe_spki(ByteView spki);
Result<std::string> spki_to_pem(ByteView spki);

} // namespace hsmux
