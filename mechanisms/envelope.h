// The AES-GCM envelope, version 1:
//   0x01 ‖ length of CKA_ID (1 byte, 1 to 64) ‖ CKA_ID ‖ IV (12 bytes) ‖ ciphertext ‖ tag (16 bytes)
// Additional authenticated data given to GCM:
//   0x01 ‖ length of CKA_ID ‖ CKA_ID ‖ length of the caller's AAD (8 bytes, big-endian) ‖ the caller's AAD
// so that it is never empty (SoftHSM 2.6.1 needs that) and binds version and key. Pure; any thread.
#pragma once

#include <span>

#include "slots/result.h"

namespace hsmux {

inline constexpr std::size_t kIvBytes = 12, kTagBytes = 16, kEnvelopeIdBytesMax = 64;

struct EnvelopeView { // into the parsed bytes
  ByteView key_id, iv, ciphertext_and_tag;
};

// Every malformed or truncated input is decrypt_failed(). The ciphertext may be empty, the tag is always there.
Result<EnvelopeView> parse_envelope(ByteView envelope);
// kInvalidArgument when the id has not 1 to 64 bytes.
Result<Bytes> envelope_aad(ByteView key_id, ByteView caller_aad);
// The whole envelope; `plaintext_bytes` is that of an existing buffer, so the sum does not overflow.
std::size_t envelope_bytes(std::size_t id_bytes, std::size_t plaintext_bytes);
// Writes everything before the ciphertext and returns its length. `key_id` has 1 to 64 bytes (envelope_aad() said so),
// `iv` has kIvBytes and `out` room for both and two bytes more: asserted.
std::size_t write_envelope_header(ByteView key_id, ByteView iv, std::span<std::uint8_t> out);

} // namespace hsmux
