// ECDSA signatures: from PKCS#11's r‖s to DER (RFC 3279, 2.2.3: SEQUENCE of two INTEGERs). Pure; any thread.
#pragma once

#include <span>

#include "slots/result.h"

namespace hsmux {

// The largest DER form of a signature whose r and s have `field_bytes` each (at most 66: P-521).
constexpr std::size_t ecdsa_der_bytes_max(std::size_t field_bytes) {
  const std::size_t content = 2 * (2 + field_bytes + 1);
  return (content < 128 ? 2 : 3) + content;
}

// Writes the DER form of `r_then_s` (even length, both halves big-endian) and returns its length. Errors: kDevice (the
// token answered an impossible signature: odd or empty, above 132 bytes, r or s zero), kInvalidArgument (`out` too
// small). `out` is only written on success and does not overlap the input.
Result<std::size_t> ecdsa_der_encode(ByteView r_then_s, std::span<std::uint8_t> out);

} // namespace hsmux
