#include "mechanisms/ecdsa_der.h"

#include <algorithm>

namespace hsmux {
namespace {

constexpr std::size_t kFieldBytesMax = 66;
constexpr std::uint8_t kSequence = 0x30, kInteger = 0x02;

ByteView without_leading_zeros(ByteView number) {
  const auto first = std::ranges::find_if(number, [](std::uint8_t byte) { return byte != 0; });
  return {first, number.end()};
}

// An INTEGER is signed: a number whose top bit is set needs a zero before it.
std::size_t integer_bytes(ByteView number) { return number.size() + ((number.front() & 0x80) != 0 ? 1 : 0); }

std::uint8_t* write_integer(ByteView number, std::uint8_t* out) {
  *out++ = kInteger;
  *out++ = static_cast<std::uint8_t>(integer_bytes(number));
  if ((number.front() & 0x80) != 0) *out++ = 0;
  return std::ranges::copy(number, out).out;
}

} // namespace

Result<std::size_t> ecdsa_der_encode(ByteView r_then_s, std::span<std::uint8_t> out) {
  const std::size_t field = r_then_s.size() / 2;
  if (field == 0 || r_then_s.size() % 2 != 0 || field > kFieldBytesMax) {
    return fail(ErrorKind::kDevice, "the token answered an ECDSA signature of an impossible length", Retry::kElsewhere);
  }
  const ByteView r = without_leading_zeros(r_then_s.first(field));
  const ByteView s = without_leading_zeros(r_then_s.last(field));
  if (r.empty() || s.empty()) {
    return fail(ErrorKind::kDevice, "the token answered an ECDSA signature with r or s zero", Retry::kElsewhere);
  }
  const std::size_t content = 2 + integer_bytes(r) + 2 + integer_bytes(s);
  const std::size_t header = content < 128 ? 2 : 3;
  if (out.size() < header + content) {
    return fail(ErrorKind::kInvalidArgument, "the output buffer is too small for a DER signature");
  }
  std::uint8_t* position = out.data();
  *position++ = kSequence;
  if (content >= 128) *position++ = 0x81;
  *position++ = static_cast<std::uint8_t>(content);
  write_integer(s, write_integer(r, position));
  return header + content;
}

} // namespace hsmux
