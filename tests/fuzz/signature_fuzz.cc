// Verification on the host: of all signatures given to it, it accepts those that were made, byte for byte.
#include "mechanisms/host_crypto.h"
#include "mechanisms/spki.h"
#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

// RFC 6979, A.2.5, P-256 with SHA-256, message "sample".
constexpr const char* kSignedPoint = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                                     "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
constexpr const char* kSignature = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                   "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
// RFC 8032, 7.1, test 2: the message is one byte, 0x72.
constexpr const char* kEdwardsPoint = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
constexpr const char* kEdwardsSignature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                          "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

} // namespace

HSMUX_FUZZ(signature) {
  static const Bytes spki = ec_spki(Curve::kP256, from_hex(kSignedPoint).value()).value();
  static const Bytes edwards_spki = ed25519_spki(from_hex(kEdwardsPoint).value()).value();
  static const Bytes genuine = from_hex(kSignature).value(), edwards_genuine = from_hex(kEdwardsSignature).value();
  std::array<std::uint8_t, 32> hash{};
  const std::string_view message = "sample";
  fuzz::promise(digest(Hash::kSha256, Bytes(message.begin(), message.end()), hash).has_value(), "SHA-256 is there");

  const auto check = [&](const Status& status, const Bytes& only) {
    const bool same = Bytes(input.begin(), input.end()) == only;
    fuzz::promise(status.has_value() == same, "only the genuine signature verifies");
    if (!status) fuzz::promise(status.error().kind == ErrorKind::kSignatureInvalid, "all others look the same");
  };
  check(verify_ecdsa(spki, hash, input), genuine);
  check(verify_ed25519(edwards_spki, Bytes{0x72}, input), edwards_genuine);
}

} // namespace hsmux
