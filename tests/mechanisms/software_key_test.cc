#include "mechanisms/software_key.h"

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <vector>

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

// P-256's PKCS#8 of the private value 1: the point is the generator (FIPS 186-4, D.1.2.3).
const std::string kGenerator = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                               "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
std::string ec_of_value(const std::string& value, const std::string& point) {
  return "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420" + value + "a144034200" + point;
}
const std::string kOne = std::string(63, '0') + "1";

BIGNUM* number(ByteView bytes) { return BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr); }

TEST(SoftwareKey, AnEcValueKeepsItsLeadingZeros) {
  const SoftwareKey made = software_key_from_pkcs8(from_hex(ec_of_value(kOne, kGenerator)).value()).value();
  const auto& key = std::get<EcPrivateParts>(made);
  EXPECT_EQ(to_hex(key.value.view()), kOne);
  EXPECT_EQ(to_hex(key.point), kGenerator);
  EXPECT_EQ(key.curve, Curve::kP256);
}

TEST(SoftwareKey, APointThatDoesNotBelongToTheValueIsRefused) {
  std::string two(64, '0');
  two.back() = '2';
  const Result<SoftwareKey> key = software_key_from_pkcs8(from_hex(ec_of_value(two, kGenerator)).value());
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().kind, ErrorKind::kInvalidArgument);
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
  BN_CTX* context = BN_CTX_new();
  BIGNUM *p = number(key.prime1.view()), *q = number(key.prime2.view()), *n = number(key.modulus);
  BIGNUM* product = BN_new();
  EXPECT_EQ(BN_mul(product, p, q, context), 1);
  EXPECT_EQ(BN_cmp(product, n), 0);
  BIGNUM* inverse = number(key.coefficient.view()); // q * coefficient = 1 (mod p)
  EXPECT_EQ(BN_mod_mul(product, q, inverse, p, context), 1);
  EXPECT_TRUE(BN_is_one(product));
  BIGNUM *d = number(key.private_exponent.view()), *d_p = number(key.exponent1.view()),
         *d_q = number(key.exponent2.view());
  BN_sub_word(p, 1);
  BN_sub_word(q, 1);
  EXPECT_TRUE(BN_mod(product, d, p, context) == 1 && BN_cmp(product, d_p) == 0);
  EXPECT_TRUE(BN_mod(product, d, q, context) == 1 && BN_cmp(product, d_q) == 0);
  for (BIGNUM* each : {p, q, n, product, inverse, d, d_p, d_q}) BN_free(each);
  BN_CTX_free(context);
}

TEST(SoftwareKey, APartThatWasChangedIsRefused) {
  const Bytes good = pkcs8(EVP_RSA_gen(2048));
  ASSERT_TRUE(software_key_from_pkcs8(good));
  for (std::size_t i = 100; i < good.size(); i += 100) {
    Bytes bad = good;
    bad[i] ^= 0x40;
    const Result<SoftwareKey> key = software_key_from_pkcs8(bad);
    ASSERT_FALSE(key) << i;
    EXPECT_EQ(key.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(SoftwareKey, AThirdPrimeIsNotDroppedSilently) {
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
  EVP_PKEY* key = nullptr;
  ASSERT_TRUE(EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_primes(context, 3) == 1 && EVP_PKEY_generate(context, &key) == 1);
  EVP_PKEY_CTX_free(context);
  EXPECT_EQ(software_key_from_pkcs8(pkcs8(key)).error().kind, ErrorKind::kInvalidArgument);
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
  EXPECT_FALSE(software_key_from_pkcs8(Bytes(1, 0x30)));
  EXPECT_FALSE(software_key_from_pkcs8(Bytes(100, 0x30)));
  EXPECT_FALSE(software_key_from_pkcs8(Bytes(100'000, 0x30)));
  EXPECT_FALSE(software_key_from_pkcs8(pkcs8(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED448"))));
  EXPECT_FALSE(software_key_from_pkcs8(pkcs8(EVP_EC_gen("P-521"))));
  EXPECT_FALSE(software_key_from_pkcs8(pkcs8(EVP_RSA_gen(512))));
  Bytes key = pkcs8(EVP_EC_gen("P-256"));
  key.push_back(0);
  EXPECT_FALSE(software_key_from_pkcs8(key));
}

TEST(SoftwareKey, EveryTruncationIsRefused) {
  const Bytes good = pkcs8(EVP_EC_gen("P-256"));
  for (std::size_t size = 0; size < good.size(); ++size) {
    const Bytes cut(good.begin(), good.begin() + static_cast<long>(size)); // a copy, so that an overread is noticed
    EXPECT_FALSE(software_key_from_pkcs8(cut)) << size;
  }
}

TEST(SecureBytes, StartAsZerosAndMayBeEmpty) {
  const SecureBytes bytes(100), empty(0);
  EXPECT_TRUE(std::ranges::all_of(bytes.view(), [](std::uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(empty.size(), 0U);
}

TEST(SecureBytes, WhatIsCutOffIsWiped) {
  SecureBytes bytes(8);
  std::ranges::fill(bytes.span(), std::uint8_t{9});
  const std::uint8_t* begin = bytes.view().data();
  bytes.resize_down(3);
  EXPECT_EQ(Bytes(begin, begin + 8), (Bytes{9, 9, 9, 0, 0, 0, 0, 0}));
  bytes.resize_down(100); // never grows
  EXPECT_EQ(bytes.size(), 3U);
}

TEST(SecureBytes, AFullSecureHeapIsNoReasonToFail) {
  std::vector<SecureBytes> many;
  for (int i = 0; i < 100; ++i) {
    many.emplace_back(16'384); // 1.6 MB of 256 KiB
    std::ranges::fill(many.back().span(), std::uint8_t{7});
  }
  EXPECT_TRUE(std::ranges::all_of(many, [](const SecureBytes& bytes) { return bytes.view()[16'383] == 7; }));
}

TEST(SecureBytes, TheOldContentGoesWithTheAssignment) {
  SecureBytes bytes(8), other(4);
  bytes = std::move(other);
  EXPECT_EQ(bytes.size(), 4U);
  EXPECT_EQ(other.size(), 0U); // NOLINT(bugprone-use-after-move): that it is empty is the point
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
