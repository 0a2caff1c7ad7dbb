// ECIES on P-256 as BouncyCastle's "ECIESwithSHA256andAES-CBC" has it, with empty derivation and encoding vectors, a
// MAC key of 512 and a cipher key of 128 bits, behind its IV (Canton: EciesHkdfHmacSha256Aes128Cbc, despite that name):
//   IV (16 bytes) ‖ ephemeral point, uncompressed (65) ‖ AES-128-CBC with PKCS#7 padding ‖ HMAC-SHA-256 (32)
// Cipher key ‖ MAC key = KDF2 (ISO/IEC 18033-2; X9.63) by SHA-256 of point ‖ x coordinate of the shared point; the MAC
// is over ciphertext ‖ 8 zero bytes (the length of no encoding vector). It does not cover the IV: decisions/0012.
// Primitives are OpenSSL's. Stateless; any thread.
#pragma once

#include <span>

#include "slots/result.h"

namespace hsmux {

inline constexpr std::size_t kEciesSharedBytes = 32; // the x coordinate of the shared point, as CKD_NULL gives it

struct EciesView { // into the parsed bytes
  ByteView iv, point, ciphertext, tag;
};

// Every malformed or truncated input is decrypt_failed(), and so is a point that is not on the curve: a token that does
// not look would give away its key bit by bit.
Result<EciesView> parse_ecies(ByteView sealed);
std::size_t ecies_bytes(std::size_t plaintext_bytes);
// What to make room for; the plaintext may be up to 15 bytes shorter.
std::size_t ecies_plaintext_bytes_max(const EciesView& view);
// The plaintext's length. kInvalidArgument for a `shared` of another length than kEciesSharedBytes or too small an
// `out`, decided by sizes alone. Every other failure is decrypt_failed(), found in the same time whether MAC or padding
// is wrong, and `out` is not written then.
Result<std::size_t> ecies_open(const EciesView& view, ByteView shared, std::span<std::uint8_t> out);
// With a fresh ephemeral key. kInvalidArgument when `spki` is not a P-256 key.
Result<Bytes> ecies_seal(ByteView spki, ByteView plaintext);

} // namespace hsmux
