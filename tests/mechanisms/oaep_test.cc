#include "mechanisms/oaep.h"

#define OPENSSL_SUPPRESS_DEPRECATED // the padding functions of OpenSSL 1.1; before OpenSSL's first header
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"

namespace hsmux {
namespace {

constexpr std::size_t kModulus = 256;

Bytes padded(const Bytes& message, const EVP_MD* hash = EVP_sha256(), const EVP_MD* mgf = EVP_sha256()) {
  Bytes block(kModulus);
  EXPECT_EQ(RSA_padding_add_PKCS1_OAEP_mgf1(block.data(), static_cast<int>(block.size()), message.data(),
                                            static_cast<int>(message.size()), nullptr, 0, hash, mgf),
            1);
  return block;
}

Result<Bytes> decoded(ByteView block) {
  Bytes out(kModulus);
  const Result<std::size_t> size = oaep_decode_sha256(block, out);
  if (!size) return fail(size.error());
  out.resize(*size);
  return out;
}

// RFC 8017, 7.1.1 steps 2e to 2i, over any data block and so also over wrong ones.
Bytes masked(Bytes data_block) {
  data_block.resize(kModulus - 33);
  Bytes seed(32, 0x77), mask(data_block.size());
  PKCS1_MGF1(mask.data(), static_cast<long>(mask.size()), seed.data(), 32, EVP_sha256());
  for (std::size_t i = 0; i < mask.size(); ++i) data_block[i] ^= mask[i];
  PKCS1_MGF1(mask.data(), 32, data_block.data(), static_cast<long>(data_block.size()), EVP_sha256());
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] ^= mask[i];
  Bytes block(kModulus);
  std::ranges::copy(seed, block.begin() + 1);
  std::ranges::copy(data_block, block.begin() + 33);
  return block;
}

// The hash of the empty label, zeros, and `rest` at the end.
Bytes data_block(const Bytes& rest) {
  Bytes block(kModulus - 33);
  EXPECT_TRUE(digest(Hash::kSha256, {}, block));
  std::ranges::copy(rest, block.end() - static_cast<long>(rest.size()));
  return block;
}

void expect_uniform_failure(ByteView block) {
  const Result<Bytes> result = decoded(block);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().text(), decrypt_failed().text());
  EXPECT_FALSE(result.error().retryable());
  EXPECT_EQ(result.error().rv, 0U);
}

TEST(OaepDecode, GivesBackWhatWasPadded) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{32}, kModulus - 66}) {
    const Bytes message(size, 0x5a);
    const Result<Bytes> result = decoded(padded(message));
    ASSERT_TRUE(result) << size;
    EXPECT_EQ(*result, message);
  }
}

TEST(OaepDecode, ABlockMadeElsewhereIsRead) { // by Python's hashlib: "sample", seed 00 to 1f, 96 bytes
  const Bytes block =
      from_hex("00cd9492b3897bdbfe35cea8c81d1e1abdd2c6998b3e5f74b9cd636b81b75c90079344c47fca4af717407eda5b"
               "bc04e0a2927ac9d4fc20ea3f18c681d71e31c2d104a6950a06d3e3308ad7d3606ef810eb124e3943404ca746a0"
               "5f30aacf1b0d")
          .value();
  const Bytes sample{'s', 'a', 'm', 'p', 'l', 'e'};
  EXPECT_EQ(decoded(block).value(), sample);
}

TEST(OaepDecode, TheSmallestBlockHoldsTheEmptyPlaintext) {
  Bytes block(66), out;
  ASSERT_EQ(RSA_padding_add_PKCS1_OAEP_mgf1(block.data(), 66, nullptr, 0, nullptr, 0, EVP_sha256(), EVP_sha256()), 1);
  EXPECT_EQ(oaep_decode_sha256(block, out).value(), 0U);
}

TEST(OaepDecode, AMissingSeparatorFails) {
  ASSERT_TRUE(decoded(masked(data_block({0x01, 0x42})))); // the blocks made here are right but for what is broken
  expect_uniform_failure(masked(data_block({})));
  expect_uniform_failure(masked(data_block({0x02, 0x42})));
  expect_uniform_failure(masked(data_block({0x02, 0x01, 0x42})));
}

TEST(OaepDecode, AnotherLabelFails) {
  Bytes block = data_block({0x01, 0x42});
  block[31] ^= 1;
  expect_uniform_failure(masked(block));
}

TEST(OaepDecode, AChangedSeedFails) {
  Bytes block = padded({1, 2, 3});
  block[32] ^= 1;
  expect_uniform_failure(block);
}

TEST(OaepDecode, AFailureLeavesNoTrace) {
  Bytes out(kModulus, 0xaa), block = padded({1, 2, 3});
  block[0] = 1;
  ERR_clear_error();
  ASSERT_FALSE(oaep_decode_sha256(block, out));
  EXPECT_EQ(out, Bytes(kModulus, 0xaa));
  EXPECT_EQ(ERR_peek_error(), 0U); // an error left in the queue would confuse the thread's next user of OpenSSL
}

TEST(OaepDecode, ReadsWhatWeEncryptForTheRawResultOfTheKey) {
  EVP_PKEY* key = EVP_RSA_gen(2048);
  unsigned char* spki = nullptr;
  const int spki_bytes = i2d_PUBKEY(key, &spki);
  const Bytes message(190, 0x5a);
  const Bytes ciphertext = rsa_oaep_sha256_encrypt({spki, static_cast<std::size_t>(spki_bytes)}, message).value();
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new(key, nullptr);
  Bytes raw(kModulus);
  std::size_t size = raw.size();
  EXPECT_TRUE(EVP_PKEY_decrypt_init(context) == 1 && EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) == 1 &&
              EVP_PKEY_decrypt(context, raw.data(), &size, ciphertext.data(), ciphertext.size()) == 1);
  EVP_PKEY_CTX_free(context);
  OPENSSL_free(spki);
  EVP_PKEY_free(key);
  // As a token that strips leading zeros gives it; the first byte is always zero.
  EXPECT_EQ(decoded(pad_to_modulus(ByteView(raw).subspan(1), kModulus).value().view()).value(), message);
}

TEST(OaepDecode, ANonZeroFirstByteFails) {
  Bytes block = padded({1, 2, 3});
  block[0] = 1;
  expect_uniform_failure(block);
}

TEST(OaepDecode, AnyFlippedBitFails) {
  const Bytes good = padded({1, 2, 3});
  for (std::size_t i = 0; i < good.size(); i += 3) {
    Bytes block = good;
    block[i] ^= 0x10;
    expect_uniform_failure(block);
  }
}

TEST(OaepDecode, PaddingWithAnotherHashOrMgfFails) {
  expect_uniform_failure(padded({1, 2, 3}, EVP_sha1(), EVP_sha1()));
  expect_uniform_failure(padded({1, 2, 3}, EVP_sha256(), EVP_sha1()));
}

TEST(OaepDecode, ImpossibleBlocksFailAlike) {
  expect_uniform_failure({});
  expect_uniform_failure(Bytes(1, 0));
  expect_uniform_failure(Bytes(65, 0));
  expect_uniform_failure(Bytes(kModulus, 0));
  expect_uniform_failure(Bytes(4096, 0));
}

TEST(OaepDecode, ABufferBelowTheLargestPlaintextIsRefusedWithoutLookingAtTheBlock) {
  const Bytes block(kModulus, 0); // not valid either
  Bytes out(kModulus - 67);
  EXPECT_EQ(oaep_decode_sha256(block, out).error().kind, ErrorKind::kInvalidArgument);
}

TEST(PadToModulus, PutsZerosInFront) {
  const Result<SecureBytes> block = pad_to_modulus(Bytes{7, 8}, 4);
  ASSERT_TRUE(block);
  EXPECT_TRUE(std::ranges::equal(block->view(), Bytes{0, 0, 7, 8}));
  EXPECT_EQ(pad_to_modulus({}, 2).value().size(), 2U);
}

TEST(PadToModulus, MoreThanTheModulusLooksLikeAnyDecryptFailure) {
  EXPECT_EQ(pad_to_modulus(Bytes(5, 1), 4).error().text(), decrypt_failed().text());
}

TEST(PadToModulus, AnImpossibleModulusIsRefusedBeforeMemoryIsTaken) {
  EXPECT_EQ(pad_to_modulus({}, SIZE_MAX).error().kind, ErrorKind::kUnsupported);
}

} // namespace
} // namespace hsmux
