// Keys made on the host, to be imported into several tokens: for development only. Stateless; any thread.
#pragma once

#include <variant>

#include "mechanisms/secure_bytes.h"
#include "mechanisms/spki.h"

namespace hsmux {

struct EcPrivateParts {
  Curve curve{};
  Bytes point;       // uncompressed
  SecureBytes value; // big-endian, field_bytes(curve)
};
struct EdPrivateParts { // Ed25519
  Bytes point;          // 32 bytes
  SecureBytes value;    // the 32 bytes of RFC 8032, 5.1.5 that everything is derived from
};
struct RsaPrivateParts {
  Bytes modulus, public_exponent;
  SecureBytes private_exponent, prime1, prime2, exponent1, exponent2, coefficient;
};
struct AesParts {
  SecureBytes value;
};
using SoftwareKey = std::variant<EcPrivateParts, EdPrivateParts, RsaPrivateParts, AesParts>;

Result<SoftwareKey> generate_ec(Curve curve);
Result<SoftwareKey> generate_ed25519();
Result<SoftwareKey> generate_rsa(std::size_t bits);  // 2048, 3072 or 4096; exponent 65537
Result<SoftwareKey> generate_aes(std::size_t bytes); // 16 or 32
// kUnsupported for AES, which has no public half.
Result<Bytes> software_key_spki(const SoftwareKey& key);
// PKCS#8 (RFC 5208), not encrypted: EC on one of our curves, Ed25519, or RSA of 1024 to 4096 bits with two primes. The
// key is checked to be whole (its parts belong together). kInvalidArgument otherwise.
Result<SoftwareKey> software_key_from_pkcs8(ByteView der);
// The DER of a PKCS#8 key that is PEM ("PRIVATE KEY", RFC 7468, 10) or DER already. kInvalidArgument otherwise; says
// what to do with encrypted keys and with those of other forms.
Result<SecureBytes> pkcs8_der(ByteView pem_or_der);

} // namespace hsmux
