// OAEP decoding. A block that is right everywhere is not found by chance, so the input says what is in it, masked and
// unmasked the other way round here; the decoder must see the same message, or the same mistake.
#include "mechanisms/oaep.h"

#define OPENSSL_SUPPRESS_DEPRECATED // PKCS1_MGF1
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "mechanisms/host_crypto.h"
#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

constexpr std::size_t kOaepHashBytes = 32, kOaepOverheadBytes = 66;

void mask(std::span<std::uint8_t> target, ByteView seed) {
  Bytes stream(target.size());
  const bool made = PKCS1_MGF1(stream.data(), static_cast<long>(stream.size()), seed.data(),
                               static_cast<long>(seed.size()), EVP_sha256()) == 0;
  fuzz::promise(made, "OpenSSL has MGF1");
  std::ranges::transform(target, stream, target.begin(), std::bit_xor<>());
}

// RFC 8017, 7.1.2, 3.g: what the data block says.
std::optional<Bytes> message_of(ByteView data_block) {
  const auto one = std::ranges::find_if(data_block, [](std::uint8_t byte) { return byte != 0; });
  if (one == data_block.end() || *one != 1) return std::nullopt;
  return Bytes(one + 1, data_block.end());
}

void check_decoding(ByteView block, const std::optional<Bytes>& message) {
  Bytes out(block.size() - kOaepOverheadBytes, 0xee);
  const Result<std::size_t> size = oaep_decode_sha256(block, out);
  if (size) {
    fuzz::promise(message.has_value() && *size <= out.size(), "only what is right is accepted");
    out.resize(*size);
    fuzz::promise(out == *message, "the message comes out");
    return;
  }
  fuzz::promise(!message.has_value(), "what is right is accepted");
  fuzz::promise(size.error().kind == ErrorKind::kDecryptFailed && size.error().message == decrypt_failed().message,
                "all mistakes look the same");
  fuzz::promise(std::ranges::all_of(out, [](std::uint8_t byte) { return byte == 0xee; }), "nothing is written");
}

} // namespace

HSMUX_FUZZ(oaep) {
  fuzz::Pieces pieces(input);
  const std::uint8_t first = pieces.byte(), hash_change = pieces.byte();
  if (input.size() < 2 + kOaepHashBytes + 1 || input.size() > 1024) return;
  const ByteView seed = pieces.take(kOaepHashBytes), rest = pieces.rest();

  // 0 ‖ seed ‖ hash of the empty label ‖ rest (RFC 8017, 7.1.1, 2.i), but for what the input changes.
  Bytes block(1 + 2 * kOaepHashBytes + rest.size());
  const std::span<std::uint8_t> seed_part = std::span(block).subspan(1, kOaepHashBytes);
  const std::span<std::uint8_t> data_part = std::span(block).subspan(1 + kOaepHashBytes);
  block[0] = first;
  std::ranges::copy(seed, seed_part.begin());
  fuzz::promise(digest(Hash::kSha256, {}, data_part).has_value(), "SHA-256 is there");
  data_part[hash_change % kOaepHashBytes] ^= static_cast<std::uint8_t>(hash_change / kOaepHashBytes);
  std::ranges::copy(rest, data_part.subspan(kOaepHashBytes).begin());
  mask(data_part, seed);
  mask(seed_part, data_part);
  const bool framed = first == 0 && hash_change < kOaepHashBytes;
  check_decoding(block, framed ? message_of(rest) : std::nullopt);
  check_decoding(block, framed ? message_of(rest) : std::nullopt); // nothing of the first is left to the second

  // A block without leading zeros, as some tokens answer.
  const auto shown = std::ranges::find_if(block, [](std::uint8_t byte) { return byte != 0; });
  const ByteView stripped(shown, block.end());
  const Result<SecureBytes> padded = pad_to_modulus(stripped, block.size());
  fuzz::promise(padded.has_value() && std::ranges::equal(padded->view(), block), "padding puts the zeros back");
  fuzz::promise(stripped.empty() || !pad_to_modulus(stripped, stripped.size() - 1), "nothing is cut off");
}

} // namespace hsmux
