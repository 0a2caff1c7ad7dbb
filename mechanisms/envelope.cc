#include "mechanisms/envelope.h"

#include <algorithm>
#include <cassert>

#include "mechanisms/host_crypto.h"

namespace hsmux {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kFixedBytes = 2; // version and length of the id

} // namespace

Result<EnvelopeView> parse_envelope(ByteView envelope) {
  if (envelope.size() < kFixedBytes || envelope[0] != kVersion) return fail(decrypt_failed());
  const std::size_t id_bytes = envelope[1];
  if (id_bytes == 0 || id_bytes > kEnvelopeIdBytesMax) return fail(decrypt_failed());
  if (envelope.size() < envelope_bytes(id_bytes, 0)) return fail(decrypt_failed());
  return EnvelopeView{.key_id = envelope.subspan(kFixedBytes, id_bytes),
                      .iv = envelope.subspan(kFixedBytes + id_bytes, kIvBytes),
                      .ciphertext_and_tag = envelope.subspan(kFixedBytes + id_bytes + kIvBytes)};
}

Result<Bytes> envelope_aad(ByteView key_id, ByteView caller_aad) {
  if (key_id.empty() || key_id.size() > kEnvelopeIdBytesMax) {
    return fail(ErrorKind::kInvalidArgument, "an envelope's key id has 1 to 64 bytes");
  }
  Bytes aad;
  aad.reserve(kFixedBytes + key_id.size() + sizeof(std::uint64_t) + caller_aad.size());
  aad.push_back(kVersion);
  aad.push_back(static_cast<std::uint8_t>(key_id.size()));
  aad.insert(aad.end(), key_id.begin(), key_id.end());
  for (int shift = 56; shift >= 0; shift -= 8) {
    aad.push_back(static_cast<std::uint8_t>(std::uint64_t{caller_aad.size()} >> shift));
  }
  aad.insert(aad.end(), caller_aad.begin(), caller_aad.end());
  return aad;
}

std::size_t envelope_bytes(std::size_t id_bytes, std::size_t plaintext_bytes) {
  return kFixedBytes + id_bytes + kIvBytes + plaintext_bytes + kTagBytes;
}

std::size_t write_envelope_header(ByteView key_id, ByteView iv, std::span<std::uint8_t> out) {
  assert(!key_id.empty() && key_id.size() <= kEnvelopeIdBytesMax && iv.size() == kIvBytes);
  assert(out.size() >= kFixedBytes + key_id.size() + iv.size());
  out[0] = kVersion;
  out[1] = static_cast<std::uint8_t>(key_id.size());
  std::ranges::copy(key_id, out.subspan(kFixedBytes).begin());
  std::ranges::copy(iv, out.subspan(kFixedBytes + key_id.size()).begin());
  return kFixedBytes + key_id.size() + iv.size();
}

} // namespace hsmux
