#include "mechanisms/ecdsa_der.h"

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>

#include "tests/random_seed.h"

namespace hsmux {
namespace {

Bytes encoded(const Bytes& raw) {
  Bytes out(ecdsa_der_bytes_max(raw.size() / 2));
  const Result<std::size_t> size = ecdsa_der_encode(raw, out);
  EXPECT_TRUE(size) << size.error().text();
  out.resize(size.value_or(0));
  return out;
}

// The same by OpenSSL.
Bytes by_openssl(const Bytes& raw) {
  const int half = static_cast<int>(raw.size() / 2);
  ECDSA_SIG* signature = ECDSA_SIG_new();
  ECDSA_SIG_set0(signature, BN_bin2bn(raw.data(), half, nullptr), BN_bin2bn(raw.data() + half, half, nullptr));
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(signature, &der);
  Bytes bytes(der, der + size);
  OPENSSL_free(der);
  ECDSA_SIG_free(signature);
  return bytes;
}

Bytes signature(std::size_t field, std::uint8_t fill) { return Bytes(2 * field, fill); }

TEST(EcdsaDer, AHighBitGetsASignByte) {
  Bytes raw = signature(32, 0x11);
  raw[0] = 0x80;
  const Bytes der = encoded(raw);
  EXPECT_EQ(Bytes(der.begin(), der.begin() + 6), (Bytes{0x30, 0x45, 0x02, 0x21, 0x00, 0x80}));
}

TEST(EcdsaDer, LeadingZerosAreStripped) {
  Bytes raw(64, 0);
  raw[31] = 0x05;
  raw[63] = 0x7f;
  EXPECT_EQ(encoded(raw), (Bytes{0x30, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x7f}));
}

TEST(EcdsaDer, AZeroBeforeAHighBitStays) {
  Bytes raw(64, 0);
  raw[31] = 0x80;
  raw[63] = 0x01;
  EXPECT_EQ(encoded(raw), (Bytes{0x30, 0x07, 0x02, 0x02, 0x00, 0x80, 0x02, 0x01, 0x01}));
}

TEST(EcdsaDer, TheLargestSignaturesFillTheStatedMaximum) {
  for (const std::size_t field : {32U, 48U, 66U}) {
    const Bytes raw = signature(field, 0xff);
    const Bytes der = encoded(raw);
    EXPECT_EQ(der.size(), ecdsa_der_bytes_max(field));
    EXPECT_EQ(der, by_openssl(raw));
  }
}

TEST(EcdsaDer, AgreesWithOpenSslOnRandomSignatures) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 2000; ++i) {
    Bytes raw(i % 2 == 0 ? 64 : 96);
    for (std::uint8_t& byte : raw) byte = static_cast<std::uint8_t>(random());
    const std::size_t zeros = random() % 4; // leading zeros are rare by chance
    std::fill_n(raw.begin(), zeros, std::uint8_t{0});
    std::fill_n(raw.begin() + static_cast<long>(raw.size() / 2), zeros, std::uint8_t{0});
    ASSERT_EQ(encoded(raw), by_openssl(raw));
  }
}

TEST(EcdsaDer, AnImpossibleSignatureIsTheTokensFault) {
  Bytes out(200);
  for (const Bytes& raw : {Bytes{}, Bytes(1, 1), Bytes(63, 1), Bytes(134, 1), Bytes(64, 0)}) {
    const Result<std::size_t> size = ecdsa_der_encode(raw, out);
    ASSERT_FALSE(size) << raw.size();
    EXPECT_EQ(size.error().kind, ErrorKind::kDevice);
  }
  EXPECT_EQ(ecdsa_der_encode(Bytes(1 << 20, 1), out).error().kind, ErrorKind::kDevice);
}

TEST(EcdsaDer, OneZeroHalfIsTheTokensFaultToo) {
  Bytes out(200);
  for (const long half : {0L, 48L}) {
    Bytes raw(96, 1);
    std::fill_n(raw.begin() + half, 48, std::uint8_t{0});
    EXPECT_EQ(ecdsa_der_encode(raw, out).error().kind, ErrorKind::kDevice) << half;
  }
}

TEST(EcdsaDer, ABufferOfExactlyTheNeededSizeIsFilled) {
  Bytes out(70);
  EXPECT_EQ(ecdsa_der_encode(signature(32, 0x7f), out).value(), 70U);
}

TEST(EcdsaDer, ATooSmallBufferIsRefusedAndNotWritten) {
  const Bytes raw = signature(32, 0x7f);
  Bytes out(69, 0xaa); // 70 are needed
  const Result<std::size_t> size = ecdsa_der_encode(raw, out);
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(out, Bytes(69, 0xaa));
}

} // namespace
} // namespace hsmux
