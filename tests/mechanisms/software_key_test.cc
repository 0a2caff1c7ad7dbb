#include "mechanisms/software_key.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"

namespace hsmux {
namespace {

Bytes pkcs8(EVP_PKEY* key) {
  PKCS8_PRIV_KEY_INFO* info = EVP_PKEY2PKCS8(key);
  unsigned char* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
  Bytes bytes(der, der + size);
  OPENSSL_free(der);
  PKCS8_PRIV_KEY_INFO_free(info);
  EVP_PKEY_free(key);
  return bytes;
}

TEST(SoftwareKey, EcPartsHaveTheLengthsThatTokensExpect) {
  for (int i = 0; i < 300; ++i) { // one in 256 has a leading zero that must stay
    const SoftwareKey made = generate_ec(Curve::kP256).value();
    const auto& key = std::get<EcPrivateParts>(made);
    ASSERT_EQ(key.value.size(), 32U);
    ASSERT_EQ(key.point.size(), 65U);
    ASSERT_EQ(key.point[0], 0x04);
  }
}

TEST(SoftwareKey, RsaPartsBelongTogether) {
  const SoftwareKey made = generate_rsa(3072).value();
  const auto& key = std::get<RsaPrivateParts>(made);
  EXPECT_EQ(key.modulus.size(), 384U);
  EXPECT_EQ(key.public_exponent, (Bytes{1, 0, 1}));
  EXPECT_EQ(describe_spki(software_key_spki(made).value()).value().bits, 3072U);
}

TEST(SoftwareKey, OtherSizesAreRefused) {
  EXPECT_FALSE(generate_rsa(1024));
  EXPECT_FALSE(generate_rsa(2047));
  EXPECT_FALSE(generate_aes(24));
  EXPECT_FALSE(generate_aes(0));
}

TEST(SoftwareKey, AesKeysAreNotTheSameTwice) {
  const SoftwareKey a = generate_aes(32).value();
  const SoftwareKey b = generate_aes(32).value();
  EXPECT_EQ(std::get<AesParts>(a).value.size(), 32U);
  EXPECT_FALSE(equal_constant_time(std::get<AesParts>(a).value.view(), std::get<AesParts>(b).value.view()));
  EXPECT_EQ(software_key_spki(a).error().kind, ErrorKind::kUnsupported);
}

TEST(SoftwareKey, Pkcs8OfEcAndRsaIsRead) {
  const SoftwareKey ec = software_key_from_pkcs8(pkcs8(EVP_EC_gen("P-384"))).value();
  EXPECT_EQ(std::get<EcPrivateParts>(ec).curve, Curve::kP384);
  EXPECT_EQ(std::get<EcPrivateParts>(ec).value.size(), 48U);
  const SoftwareKey rsa = software_key_from_pkcs8(pkcs8(EVP_RSA_gen(2048))).value();
  EXPECT_EQ(std::get<RsaPrivateParts>(rsa).modulus.size(), 256U);
}

TEST(SoftwareKey, OtherBytesAreRefused) {
  EXPECT_FALSE(software_key_from_pkcs8({}));
  EXPECT_FALSE(software_key_from_pkcs8(Bytes(100, 0x30)));
  Bytes key = pkcs8(EVP_EC_gen("P-256"));
  key.push_back(0);
  EXPECT_FALSE(software_key_from_pkcs8(key));
}

TEST(SecureBytes, ShrinksAndMoves) {
  SecureBytes bytes(8);
  std::ranges::fill(bytes.span(), std::uint8_t{9});
  bytes.resize_down(3);
  const SecureBytes moved = std::move(bytes);
  EXPECT_EQ(moved.size(), 3U);
  EXPECT_TRUE(std::ranges::all_of(moved.view(), [](std::uint8_t byte) { return byte == 9; }));
}

} // namespace
} // namespace hsmux
