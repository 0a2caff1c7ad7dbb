// The host's half of the cryptography, all of it OpenSSL's: digests, random bytes, verification, encryption for a
// public key. Stateless; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "slots/result.h"

namespace hsmux {

enum class Hash : std::uint8_t { kSha256, kSha384 };
std::size_t hash_bytes(Hash hash);

// The bytes written: hash_bytes(hash). kInvalidArgument when `out` is too small.
Result<std::size_t> digest(Hash hash, ByteView message, std::span<std::uint8_t> out);
// kInvalidArgument above 2 GiB; kInternal when OpenSSL has no entropy.
Status random_bytes(std::span<std::uint8_t> out);

// `der_signature` over `digest` by the EC key `spki` (DER SubjectPublicKeyInfo). kSignatureInvalid when it does not
// verify, kInvalidArgument when the key is malformed or not an EC key, or when the digest has not 1 to 64 bytes.
Status verify_ecdsa(ByteView spki, ByteView digest, ByteView der_signature);
// A 64-byte Ed25519 signature over the whole message (RFC 8032, 5.1.7) by the key `spki` (RFC 8410). Errors as above.
Status verify_ed25519(ByteView spki, ByteView message, ByteView signature);
enum class RsaPadding : std::uint8_t { kPkcs1, kPss };
// An RSASSA signature with SHA-256 over `digest` by the RSA key `spki` (RFC 8017, 8.1.2 with SHA-256 for MGF1 and a
// salt of 32 bytes, 8.2.2). Errors as above.
Status verify_rsa(ByteView spki, RsaPadding padding, ByteView digest, ByteView signature);
// The DigestInfo of a SHA-256 digest, what RSASSA-PKCS1-v1_5 pads and signs (RFC 8017, 9.2, note 1). kInvalidArgument
// when it has not 32 bytes.
Result<std::array<std::uint8_t, 51>> sha256_digest_info(ByteView digest);
// RSAES-OAEP with SHA-256 for hash and MGF1 and an empty label (RFC 8017, 7.1).
// kInvalidArgument when the key is not a usable RSA key or the plaintext does not fit (at most modulus bytes - 66).
Result<Bytes> rsa_oaep_sha256_encrypt(ByteView spki, ByteView plaintext);

// The one error for every decrypt failure that data can cause: no detail, so that it is no oracle.
Error decrypt_failed();

bool equal_constant_time(ByteView a, ByteView b);
// Known answers for what is used above. An error means that nothing may be signed or verified on this host.
Status host_crypto_self_test();

std::string to_hex(ByteView bytes);
// kInvalidArgument for an odd length or other characters than 0-9, a-f, A-F.
Result<Bytes> from_hex(std::string_view text);

} // namespace hsmux
