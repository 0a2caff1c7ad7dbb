#include "mechanisms/oaep.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/rsa.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

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
  EXPECT_FALSE(pad_to_modulus(Bytes(5, 1), 4));
}

} // namespace
} // namespace hsmux
