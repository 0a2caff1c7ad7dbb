#include "mechanisms/spec.h"

#include <gtest/gtest.h>

#include <set>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

TEST(Spec, EachRowStandsAtItsAlgorithmsPlace) {
  for (std::size_t i = 0; i < spec_table().size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(spec_table()[i].algorithm), i) << spec_table()[i].name;
    EXPECT_EQ(&spec_of(spec_table()[i].algorithm), &spec_table()[i]);
  }
}

TEST(Spec, NamesAreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const AlgorithmSpec& spec : spec_table()) {
    EXPECT_TRUE(names.insert(spec.name).second);
    EXPECT_EQ(find_spec(spec.name), &spec);
  }
  EXPECT_EQ(find_spec("ECDSA-P256-SHA256"), nullptr);
  EXPECT_EQ(find_spec(""), nullptr);
}

TEST(Spec, EcdsaP256RowSaysWhatTheDesignSays) {
  const AlgorithmSpec& spec = spec_of(Algorithm::kEcdsaP256Sha256);
  EXPECT_EQ(spec.name, "ecdsa-p256-sha256");
  EXPECT_TRUE(supports(spec, Operation::kSign));
  EXPECT_FALSE(supports(spec, Operation::kDecrypt));
  EXPECT_FALSE(supports(spec, Operation::kEncrypt));
  ASSERT_EQ(spec.recipes.size(), 2U);
  EXPECT_EQ(spec.recipes[0].mechanism, CKM_ECDSA);
  EXPECT_EQ(spec.recipes[1].mechanism, CKM_ECDSA_SHA256);
  EXPECT_EQ(spec.result_bytes_max, 72U); // two INTEGERs of 33 bytes: 2 + 2 * (2 + 33)
}

TEST(Spec, OtherCurvesHaveTheirOwnHashesAndSizes) {
  const AlgorithmSpec& p384 = spec_of(Algorithm::kEcdsaP384Sha384);
  EXPECT_EQ(p384.hash, Hash::kSha384);
  EXPECT_EQ(p384.recipes[1].mechanism, CKM_ECDSA_SHA384);
  EXPECT_EQ(p384.result_bytes_max, 104U); // two INTEGERs of 49 bytes: 2 + 2 * (2 + 49)
  const AlgorithmSpec& k1 = spec_of(Algorithm::kEcdsaSecp256k1Sha256);
  EXPECT_EQ(k1.hash, Hash::kSha256);
  EXPECT_EQ(k1.result_bytes_max, 72U);
  const AlgorithmSpec& ed = spec_of(Algorithm::kEd25519);
  EXPECT_FALSE(ed.hash);
  EXPECT_EQ(ed.result_bytes_max, 64U);
  ASSERT_EQ(ed.recipes.size(), 1U);
  EXPECT_EQ(ed.recipes[0].mechanism, CKM_EDDSA);
}

TEST(Spec, KindsOfKeysAreToldApart) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kKeyKindCount; ++i) {
    const auto kind = static_cast<KeyKind>(i);
    EXPECT_TRUE(names.insert(key_kind_name(kind)).second);
    if (key_family(kind) == KeyFamily::kEc) {
      EXPECT_EQ(kind_of(curve_of(kind)), kind);
    }
    if (key_family(kind) == KeyFamily::kAes) {
      EXPECT_EQ(aes_kind(key_kind_bits(kind)), kind);
    }
  }
  EXPECT_FALSE(aes_kind(192));
}

TEST(Spec, OaepPrefersTheTokensOwnDecoding) {
  const AlgorithmSpec& spec = spec_of(Algorithm::kRsaOaepSha256);
  ASSERT_EQ(spec.recipes.size(), 2U);
  EXPECT_EQ(spec.recipes[0].id, RecipeId::kOaepToken);
  EXPECT_EQ(spec.recipes[1].id, RecipeId::kOaepHost);
  EXPECT_EQ(spec.recipes[1].mechanism, CKM_RSA_X_509);
}

TEST(Spec, RsaSignaturesPreferTheHostsDigest) {
  const AlgorithmSpec& pkcs1 = spec_of(Algorithm::kRsaPkcs1Sha256);
  const AlgorithmSpec& pss = spec_of(Algorithm::kRsaPssSha256);
  for (const AlgorithmSpec* spec : {&pkcs1, &pss}) {
    EXPECT_TRUE(spec->signs && !spec->decrypts && !spec->encrypts);
    EXPECT_EQ(spec->result_bytes_max, 512U);
    ASSERT_EQ(spec->recipes.size(), 2U);
  }
  EXPECT_EQ(pkcs1.recipes[0].mechanism, CKM_RSA_PKCS);
  EXPECT_EQ(pkcs1.recipes[1].mechanism, CKM_SHA256_RSA_PKCS);
  EXPECT_EQ(pss.recipes[0].mechanism, CKM_RSA_PKCS_PSS);
  EXPECT_EQ(pss.recipes[1].mechanism, CKM_SHA256_RSA_PKCS_PSS);
}

TEST(Spec, EciesAgreesOnKeysAndEncryptsOnTheHost) {
  const AlgorithmSpec& ecies = spec_of(Algorithm::kEciesP256);
  EXPECT_TRUE(ecies.agrees && ecies.decrypts && ecies.encrypts && !ecies.signs);
  ASSERT_EQ(ecies.recipes.size(), 1U);
  EXPECT_EQ(ecies.recipes[0].mechanism, CKM_ECDH1_DERIVE);
  for (const AlgorithmSpec& spec : spec_table()) {
    EXPECT_EQ(encrypts_on_host(spec), spec.name == "ecies-p256" || spec.name == "rsa-oaep-sha256") << spec.name;
  }
}

TEST(Spec, OnlySignersByRsaShareKeys) {
  for (const AlgorithmSpec& a : spec_table()) {
    for (const AlgorithmSpec& b : spec_table()) {
      const bool signers_by_rsa = a.signs && b.signs && a.key == KeyKind::kRsa && b.key == KeyKind::kRsa;
      EXPECT_EQ(share_keys(a, b), &a == &b || signers_by_rsa) << a.name << " " << b.name;
    }
  }
}

TEST(Spec, KeySizesOutsideTheStepsAreNotAllowed) {
  const AlgorithmSpec& rsa = spec_of(Algorithm::kRsaOaepSha256);
  EXPECT_TRUE(key_bits_allowed(rsa, 2048));
  EXPECT_TRUE(key_bits_allowed(rsa, 3072));
  EXPECT_TRUE(key_bits_allowed(rsa, 4096));
  EXPECT_FALSE(key_bits_allowed(rsa, 1024));
  EXPECT_FALSE(key_bits_allowed(rsa, 2049));
  EXPECT_FALSE(key_bits_allowed(rsa, 5120));
  EXPECT_FALSE(key_bits_allowed(rsa, 0));
}

} // namespace
} // namespace hsmux
