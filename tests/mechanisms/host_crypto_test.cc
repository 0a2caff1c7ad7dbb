#include "mechanisms/host_crypto.h"

#include <gtest/gtest.h>

#include <climits>

#include "mechanisms/software_key.h"
#include "mechanisms/spki.h"

namespace hsmux {
namespace {

Bytes text(std::string_view s) { return {s.begin(), s.end()}; }

// RFC 6979, A.2.5: P-256, SHA-256, message "sample"; the signature in DER.
struct Rfc6979 {
  Bytes spki = from_hex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"
                        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")
                   .value();
  Bytes digest = from_hex("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf").value();
  Bytes signature = from_hex("3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                             "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8")
                        .value();
};

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

TEST(Digest, Sha384OfAbcIsThePublishedOne) { // FIPS 180-4
  Bytes out(50, 0xee);
  ASSERT_EQ(digest(Hash::kSha384, text("abc"), out).value(), 48U);
  EXPECT_EQ(to_hex(out), "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                         "8086072ba1e7cc2358baeca134c825a7eeee");
}

TEST(RandomBytes, FillWhatIsAskedAndDiffer) {
  Bytes a(32), b(32);
  ASSERT_TRUE(random_bytes(a));
  ASSERT_TRUE(random_bytes(b));
  EXPECT_NE(a, b);
  EXPECT_TRUE(random_bytes({}));
}

TEST(RandomBytes, MoreThanOpenSslCountsIsRefused) {
  Bytes small(1);
  EXPECT_EQ(random_bytes({small.data(), std::size_t{INT_MAX} + 1}).error().kind, ErrorKind::kInvalidArgument);
}

TEST(Digest, ATooSmallBufferIsRefused) {
  Bytes out(47);
  EXPECT_EQ(digest(Hash::kSha384, {}, out).error().kind, ErrorKind::kInvalidArgument);
}

TEST(VerifyEcdsa, ThePublishedSignatureVerifies) {
  const Rfc6979 known;
  const Status status = verify_ecdsa(known.spki, known.digest, known.signature);
  EXPECT_TRUE(status) << status.error().text();
}

TEST(VerifyEcdsa, AnyOtherDigestSignatureOrKeyDoesNot) {
  const Rfc6979 known;
  Bytes digest = known.digest, signature = known.signature;
  digest[31] ^= 1;
  signature.back() ^= 1;
  const Bytes other = software_key_spki(generate_ec(Curve::kP256).value()).value();
  EXPECT_EQ(verify_ecdsa(known.spki, digest, known.signature).error().kind, ErrorKind::kSignatureInvalid);
  EXPECT_EQ(verify_ecdsa(known.spki, known.digest, signature).error().kind, ErrorKind::kSignatureInvalid);
  EXPECT_EQ(verify_ecdsa(other, known.digest, known.signature).error().kind, ErrorKind::kSignatureInvalid);
}

TEST(VerifyEcdsa, BytesAfterTheSignatureAreNotIgnored) {
  Rfc6979 known;
  known.signature.push_back(0);
  EXPECT_EQ(verify_ecdsa(known.spki, known.digest, known.signature).error().kind, ErrorKind::kSignatureInvalid);
}

// OpenSSL counts in int here: beyond 4 GiB it would see a valid beginning only. The views claim more than there is, so
// that the test needs no such memory: nothing may be read.
TEST(VerifyEcdsa, ASizeAbove4GibIsNotCutToAValidOne) {
  const Rfc6979 known;
  const std::size_t wrap = std::size_t{1} << 32;
  const ByteView signature(known.signature.data(), wrap + known.signature.size());
  const ByteView digest(known.digest.data(), wrap + known.digest.size());
  EXPECT_EQ(verify_ecdsa(known.spki, known.digest, signature).error().kind, ErrorKind::kSignatureInvalid);
  EXPECT_EQ(verify_ecdsa(known.spki, digest, known.signature).error().kind, ErrorKind::kInvalidArgument);
}

TEST(VerifyEcdsa, AnEmptyDigestIsTheCallersError) {
  const Rfc6979 known;
  EXPECT_EQ(verify_ecdsa(known.spki, {}, known.signature).error().kind, ErrorKind::kInvalidArgument);
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

TEST(RsaOaepEncrypt, TheEmptyPlaintextIsAllowed) {
  const Bytes spki = software_key_spki(generate_rsa(2048).value()).value();
  EXPECT_EQ(rsa_oaep_sha256_encrypt(spki, {}).value().size(), 256U);
}

TEST(RsaOaepEncrypt, AnUnusableKeyIsTheCallersError) {
  const Bytes ec = Rfc6979().spki;
  const Bytes too_slow = rsa_spki(Bytes(2048, 0xff), Bytes(2048, 0xfd)).value(); // OpenSSL refuses such exponents
  for (const Bytes& spki : {ec, too_slow, Bytes{}, Bytes(1, 0x30), Bytes(100'000, 0x30)}) {
    EXPECT_EQ(rsa_oaep_sha256_encrypt(spki, Bytes(10, 1)).error().kind, ErrorKind::kInvalidArgument) << spki.size();
  }
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
  EXPECT_TRUE(equal_constant_time({}, {}));
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
