// OAEP decoding on the host, for tokens that only do raw RSA. Constant time by OpenSSL. Stateless; any thread.
#pragma once

#include <span>

#include "mechanisms/secure_bytes.h"
#include "slots/result.h"

namespace hsmux {

// RFC 8017, 7.1.2 step 3 with SHA-256 for hash and MGF1 and an empty label. `block` is the raw RSA result at the
// modulus' full length (66 to 2048 bytes); `out` has at least block.size() - 66 bytes (else kInvalidArgument, decided
// by sizes alone). Every other failure is decrypt_failed(), and `out` is not written then.
Result<std::size_t> oaep_decode_sha256(ByteView block, std::span<std::uint8_t> out);

// `raw` with leading zeros up to `modulus_bytes`: some tokens strip them. decrypt_failed() when it is longer;
// kUnsupported for moduli above 2048 bytes.
Result<SecureBytes> pad_to_modulus(ByteView raw, std::size_t modulus_bytes);

} // namespace hsmux
