// Known answers: FIPS 180-4 examples for the digests, RFC 6979 A.2.5 for ECDSA P-256 with SHA-256 ("sample"), RFC
// 8032 7.1 (test 2) for Ed25519, and for OAEP a block of 96 bytes made without OpenSSL ("sample", seed 00 to 1f).
#include "mechanisms/ecdsa_der.h"
#include "mechanisms/host_crypto.h"
#include "mechanisms/oaep.h"
#include "mechanisms/spki.h"

#include <algorithm>
#include <array>

namespace hsmux {
namespace {

constexpr std::string_view kAbcSha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kAbcSha384 = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                                        "8086072ba1e7cc2358baeca134c825a7";
constexpr std::string_view kPoint = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                                    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
constexpr std::string_view kSignature = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
constexpr std::string_view kOaepBlock = "00cd9492b3897bdbfe35cea8c81d1e1abdd2c6998b3e5f74b9cd636b81b75c90"
                                        "079344c47fca4af717407eda5bbc04e0a2927ac9d4fc20ea3f18c681d71e31c2"
                                        "d104a6950a06d3e3308ad7d3606ef810eb124e3943404ca746a05f30aacf1b0d";

constexpr std::string_view kEdPoint = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
constexpr std::string_view kEdSignature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                          "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

Error broken(std::string what) {
  return make_error(ErrorKind::kInternal, "this host's OpenSSL gives a wrong answer: " + std::move(what));
}

ByteView bytes(std::string_view text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

Status check_digest(Hash hash, std::string_view expected) {
  std::array<std::uint8_t, 64> out{};
  HSMUX_TRY(const std::size_t size, digest(hash, bytes("abc"), out));
  if (to_hex(std::span(out).first(size)) == expected) return {};
  return fail(broken("digest"));
}

Status check_ed25519() {
  HSMUX_TRY(const Bytes point, from_hex(kEdPoint));
  HSMUX_TRY(const Bytes spki, ed25519_spki(point));
  HSMUX_TRY(Bytes signature, from_hex(kEdSignature));
  if (!verify_ed25519(spki, bytes("\x72"), signature)) return fail(broken("a valid Ed25519 signature is refused"));
  signature[0] ^= 1;
  if (verify_ed25519(spki, bytes("\x72"), signature)) return fail(broken("an invalid Ed25519 signature is accepted"));
  return {};
}

Status check_oaep() {
  HSMUX_TRY(Bytes block, from_hex(kOaepBlock));
  std::array<std::uint8_t, 30> out{};
  const Result<std::size_t> size = oaep_decode_sha256(block, out);
  if (!size || !equal_constant_time(ByteView(out).first(*size), bytes("sample"))) {
    return fail(broken("a valid OAEP block is refused"));
  }
  block.back() ^= 1;
  if (oaep_decode_sha256(block, out)) return fail(broken("an invalid OAEP block is accepted"));
  return {};
}

} // namespace

Status host_crypto_self_test() {
  HSMUX_CHECK(check_digest(Hash::kSha256, kAbcSha256));
  HSMUX_CHECK(check_digest(Hash::kSha384, kAbcSha384));

  HSMUX_TRY(const Bytes point, from_hex(kPoint));
  HSMUX_TRY(const Bytes spki, ec_spki(Curve::kP256, point));
  HSMUX_TRY(const Bytes raw, from_hex(kSignature));
  Bytes der(ecdsa_der_bytes_max(32));
  HSMUX_TRY(const std::size_t size, ecdsa_der_encode(raw, der));
  der.resize(size);
  std::array<std::uint8_t, 32> hashed{};
  HSMUX_CHECK(digest(Hash::kSha256, bytes("sample"), hashed));
  if (!verify_ecdsa(spki, hashed, der)) return fail(broken("a valid ECDSA signature is refused"));
  hashed[0] ^= 1;
  if (verify_ecdsa(spki, hashed, der)) return fail(broken("an invalid ECDSA signature is accepted"));
  HSMUX_CHECK(check_ed25519());
  return check_oaep();
}

} // namespace hsmux
