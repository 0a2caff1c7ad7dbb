#include "mechanisms/host_crypto.h"

#include <gtest/gtest.h>

#include "mechanisms/software_key.h"

namespace hsmux {
namespace {

Bytes text(std::string_view s) { return {s.begin(), s.end()}; }

TEST(HostCrypto, SelfTestPassesHere) {
  const Status status = host_crypto_self_test();
  EXPECT_TRUE(status) << status.error().text();
}

TEST(Digest, OfAbcIsThePublishedOne) { // FIPS 180-4
  Bytes out(32);
  ASSERT_EQ(digest(Hash::kSha256, text("abc"), out).value(), 32U);
  EXPECT_EQ(to_hex(out), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, OfNothingIsThePublishedOne) {
  Bytes out(32);
  ASSERT_TRUE(digest(Hash::kSha256, {}, out));
  EXPECT_EQ(to_hex(out), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Digest, ATooSmallBufferIsRefused) {
  Bytes out(47);
  EXPECT_EQ(digest(Hash::kSha384, {}, out).error().kind, ErrorKind::kInvalidArgument);
}

TEST(VerifyEcdsa, GarbageIsAnInvalidSignatureAndNotACrash) {
  const Bytes spki = software_key_spki(generate_ec(Curve::kP256).value()).value();
  const Bytes digest(32, 1);
  for (const Bytes& signature : {Bytes{}, Bytes(1, 0x30), Bytes(72, 0xff), Bytes(10'000, 0)}) {
    EXPECT_EQ(verify_ecdsa(spki, digest, signature).error().kind, ErrorKind::kSignatureInvalid);
  }
}

TEST(VerifyEcdsa, AnotherKindOfKeyIsTheCallersError) {
  const Bytes spki = software_key_spki(generate_rsa(2048).value()).value();
  EXPECT_EQ(verify_ecdsa(spki, Bytes(32, 1), Bytes(70, 1)).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(verify_ecdsa({}, Bytes(32, 1), Bytes(70, 1)).error().kind, ErrorKind::kInvalidArgument);
}

TEST(RsaOaepEncrypt, OneByteTooManyIsRefused) {
  const Bytes spki = software_key_spki(generate_rsa(2048).value()).value();
  EXPECT_EQ(rsa_oaep_sha256_encrypt(spki, Bytes(190, 1)).value().size(), 256U);
  EXPECT_EQ(rsa_oaep_sha256_encrypt(spki, Bytes(191, 1)).error().kind, ErrorKind::kInvalidArgument);
}

TEST(Hex, GoesThereAndBack) {
  EXPECT_EQ(to_hex(Bytes{0x00, 0x7f, 0xff}), "007fff");
  EXPECT_EQ(from_hex("007fFF").value(), (Bytes{0x00, 0x7f, 0xff}));
  EXPECT_TRUE(from_hex("").value().empty());
}

TEST(Hex, OddLengthsAndOtherCharactersAreRefused) {
  for (const char* bad : {"0", "0g", "00 1", "zz00", "00\n"}) EXPECT_FALSE(from_hex(bad)) << bad;
}

TEST(EqualConstantTime, ComparesLengthAndBytes) {
  EXPECT_TRUE(equal_constant_time(Bytes{1, 2}, Bytes{1, 2}));
  EXPECT_FALSE(equal_constant_time(Bytes{1, 2}, Bytes{1, 3}));
  EXPECT_FALSE(equal_constant_time(Bytes{1, 2}, Bytes{1}));
}

TEST(DecryptFailed, SaysNothingThatAnAttackerCouldUse) {
  const Error error = decrypt_failed();
  EXPECT_EQ(error.kind, ErrorKind::kDecryptFailed);
  EXPECT_EQ(error.rv, 0U);
  EXPECT_EQ(error.call, Call::kNone);
  EXPECT_TRUE(error.slot.empty());
  EXPECT_FALSE(error.retryable());
}

} // namespace
} // namespace hsmux
