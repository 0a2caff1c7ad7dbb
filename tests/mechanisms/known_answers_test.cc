// Published vectors (tests/vectors) for what is done on the host. The engine's are in tests/contract.
#include <gmock/gmock.h>

#include "mechanisms/ecdsa_der.h"
#include "mechanisms/host_crypto.h"
#include "mechanisms/spki.h"
#include "tests/vectors/vectors.h"

namespace hsmux {
namespace {

Bytes hashed(Hash hash, const Bytes& message) {
  Bytes out(hash_bytes(hash));
  EXPECT_TRUE(digest(hash, message, out).has_value());
  return out;
}

TEST(KnownAnswers, RAndSOfEveryShapeBecomeTheVectorsDer) {
  int leading_zeros = 0, high_bits = 0;
  for (const Vector& vector : read_vectors("ecdsa.txt")) {
    const Bytes raw = vector.bytes("raw");
    if (raw.empty()) continue;
    Bytes der(ecdsa_der_bytes_max(raw.size() / 2));
    const auto size = ecdsa_der_encode(raw, der);
    ASSERT_TRUE(size.has_value()) << vector.comment;
    der.resize(*size);
    EXPECT_EQ(der, vector.bytes("signature")) << vector.comment;
    for (const std::uint8_t first : {raw.front(), raw[raw.size() / 2]}) {
      leading_zeros += first == 0 ? 1 : 0;
      high_bits += first >= 0x80 ? 1 : 0;
    }
  }
  EXPECT_GE(leading_zeros, 20);
  EXPECT_GE(high_bits, 20);
}

TEST(KnownAnswers, EcdsaSignaturesOfThreeCurvesAreAcceptedAndRefused) {
  for (const Vector& vector : read_vectors("ecdsa.txt")) {
    const Hash hash = vector.text("curve") == "p384" ? Hash::kSha384 : Hash::kSha256;
    const Status status =
        verify_ecdsa(vector.bytes("key"), hashed(hash, vector.bytes("message")), vector.bytes("signature"));
    EXPECT_EQ(status.has_value(), vector.valid()) << vector.text("curve") << " " << vector.comment;
  }
}

TEST(KnownAnswers, Ed25519SignaturesAreAcceptedAndRefused) {
  for (const Vector& vector : read_vectors("ed25519.txt")) {
    const Status status = verify_ed25519(vector.bytes("public"), vector.bytes("message"), vector.bytes("signature"));
    EXPECT_EQ(status.has_value(), vector.valid()) << vector.comment;
  }
}

TEST(KnownAnswers, RsaSignaturesOfEitherPaddingAreAcceptedAndRefused) {
  for (const auto& [file, padding, other] : {std::tuple("rsa-pkcs1.txt", RsaPadding::kPkcs1, RsaPadding::kPss),
                                             std::tuple("rsa-pss.txt", RsaPadding::kPss, RsaPadding::kPkcs1)}) {
    for (const Vector& vector : read_vectors(file)) {
      if (vector.text("public").empty()) continue;
      const Bytes digest = hashed(Hash::kSha256, vector.bytes("message"));
      const Status status = verify_rsa(vector.bytes("public"), padding, digest, vector.bytes("signature"));
      EXPECT_EQ(status.has_value(), vector.valid()) << file << " " << vector.text("bits") << " " << vector.comment;
      if (vector.valid()) {
        EXPECT_FALSE(verify_rsa(vector.bytes("public"), other, digest, vector.bytes("signature")));
      } else {
        EXPECT_EQ(status.error().kind, ErrorKind::kSignatureInvalid) << vector.comment;
      }
    }
  }
}

} // namespace
} // namespace hsmux
