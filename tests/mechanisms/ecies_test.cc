#include "mechanisms/ecies.h"

#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>

#include "mechanisms/host_crypto.h"
#include "mechanisms/openssl_handles.h"
#include "mechanisms/software_key.h"
#include "tests/vectors/vectors.h"

namespace hsmux {
namespace {

constexpr std::size_t kPointAt = 16, kCiphertextAt = 81, kEciesMacBytes = 32;

// BouncyCastle's key and ciphertexts.
class Ecies : public testing::Test {
protected:
  static const std::vector<Vector>& vectors() {
    static const std::vector<Vector> all = read_vectors("ecies.txt");
    return all;
  }
  static Bytes spki() { return software_key_spki(*software_key_from_pkcs8(vectors()[0].bytes("key"))).value(); }
  // What the token does: the x coordinate of key times point.
  static Bytes shared(const EciesView& view) {
    const Bytes pkcs8 = vectors()[0].bytes("key");
    const unsigned char* at = pkcs8.data();
    const openssl::Key own(d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(pkcs8.size())));
    const Bytes peer_spki = ec_spki(Curve::kP256, view.point).value();
    at = peer_spki.data();
    const openssl::Key peer(d2i_PUBKEY(nullptr, &at, static_cast<long>(peer_spki.size())));
    const openssl::KeyContext context(EVP_PKEY_CTX_new(own.get(), nullptr));
    Bytes out(kEciesSharedBytes);
    std::size_t size = out.size();
    EXPECT_EQ(EVP_PKEY_derive_init(context.get()), 1);
    EXPECT_EQ(EVP_PKEY_derive_set_peer(context.get(), peer.get()), 1);
    EXPECT_EQ(EVP_PKEY_derive(context.get(), out.data(), &size), 1);
    return out;
  }
  static Result<Bytes> open(const Bytes& sealed) {
    HSMUX_TRY(const EciesView view, parse_ecies(sealed));
    Bytes out(ecies_plaintext_bytes_max(view), 0xee);
    HSMUX_TRY(const std::size_t size, ecies_open(view, shared(view), out));
    out.resize(size);
    return out;
  }
  static std::string failure(const Bytes& sealed) {
    const Result<Bytes> opened = open(sealed);
    return opened ? "opened" : opened.error().text();
  }
  // KDF2 written down once more (ISO/IEC 18033-2, 6.2.3), by the digest alone.
  static Bytes keys(const EciesView& view) {
    Bytes all;
    for (std::uint8_t counter = 1; all.size() < 80; ++counter) {
      Bytes in(view.point.begin(), view.point.end());
      const Bytes secret = shared(view);
      in.insert(in.end(), secret.begin(), secret.end());
      in.insert(in.end(), {0, 0, 0, counter});
      Bytes out(32);
      EXPECT_TRUE(digest(Hash::kSha256, in, out).has_value());
      all.insert(all.end(), out.begin(), out.end());
    }
    all.resize(80);
    return all;
  }
  // The ciphertext with these bytes in the place of the last block before encryption, and a right MAC.
  static Bytes with_last_block(Bytes sealed, const Bytes& block) {
    const EciesView view = parse_ecies(sealed).value();
    const Bytes derived = keys(view);
    const std::size_t last = view.ciphertext.size() - 16;
    const ByteView before = last == 0 ? view.iv : view.ciphertext.subspan(last - 16, 16);
    Bytes in(block);
    for (std::size_t i = 0; i < 16; ++i) in[i] ^= before[i];
    const openssl::CipherContext context(EVP_CIPHER_CTX_new());
    int size = 0;
    EVP_EncryptInit_ex(context.get(), EVP_aes_128_ecb(), nullptr, derived.data(), nullptr);
    EVP_EncryptUpdate(context.get(), sealed.data() + kCiphertextAt + last, &size, in.data(), 16);
    Bytes covered(sealed.begin() + kCiphertextAt, sealed.end() - kEciesMacBytes);
    covered.resize(covered.size() + 8);
    HMAC(EVP_sha256(), derived.data() + 16, 64, covered.data(), covered.size(),
         sealed.data() + sealed.size() - kEciesMacBytes, nullptr);
    return sealed;
  }
};

TEST_F(Ecies, OpensWhatBouncyCastleSealed) {
  for (const Vector& vector : vectors()) {
    const Result<Bytes> opened = open(vector.bytes("ciphertext"));
    ASSERT_TRUE(opened.has_value()) << vector.comment << opened.error().text();
    EXPECT_EQ(*opened, vector.bytes("plaintext")) << vector.comment;
    EXPECT_EQ(vector.bytes("ciphertext").size(), ecies_bytes(opened->size())) << vector.comment;
  }
}

TEST_F(Ecies, OpensWhatItSealedOfEveryLengthOfPadding) {
  for (std::size_t size = 0; size < 50; ++size) {
    const Bytes plaintext(size, static_cast<std::uint8_t>(size));
    const Result<Bytes> sealed = ecies_seal(spki(), plaintext);
    ASSERT_TRUE(sealed.has_value()) << sealed.error().text();
    EXPECT_EQ(sealed->size(), ecies_bytes(size));
    EXPECT_EQ(open(*sealed).value_or(Bytes{1, 2, 3}), plaintext);
  }
}

TEST_F(Ecies, NoTwoCiphertextsShareIvOrPoint) {
  const Bytes first = ecies_seal(spki(), {}).value(), second = ecies_seal(spki(), {}).value();
  EXPECT_NE(Bytes(first.begin(), first.begin() + kPointAt), Bytes(second.begin(), second.begin() + kPointAt));
  EXPECT_NE(Bytes(first.begin() + kPointAt, first.begin() + kCiphertextAt),
            Bytes(second.begin() + kPointAt, second.begin() + kCiphertextAt));
}

TEST_F(Ecies, EveryTamperedByteBehindTheIvFailsAlike) {
  const Bytes sealed = vectors()[5].bytes("ciphertext"); // 34 bytes: three blocks
  for (std::size_t i = kPointAt; i < sealed.size(); ++i) {
    Bytes tampered = sealed;
    tampered[i] ^= 1;
    EXPECT_EQ(failure(tampered), decrypt_failed().text()) << i;
  }
}

TEST_F(Ecies, EveryTruncatedOrLengthenedCiphertextFailsAlike) {
  const Bytes sealed = vectors()[5].bytes("ciphertext");
  for (std::size_t size = 0; size < sealed.size() + 40; ++size) {
    if (size == sealed.size()) continue;
    Bytes other = sealed;
    other.resize(size);
    EXPECT_EQ(failure(other), decrypt_failed().text()) << size;
  }
}

// BouncyCastle's MAC leaves the IV out: docs/decisions/0011. If this fails, the format has changed.
TEST_F(Ecies, TheIvIsNotAuthenticated) {
  Bytes sealed = vectors()[5].bytes("ciphertext");
  sealed[0] ^= 1;
  Bytes expected = vectors()[5].bytes("plaintext");
  expected[0] ^= 1;
  EXPECT_EQ(open(sealed).value_or(Bytes{}), expected);
}

TEST_F(Ecies, WrongPaddingUnderARightMacFailsAsAWrongMacDoes) {
  const Bytes sealed = vectors()[5].bytes("ciphertext");
  Bytes block(16, 16);
  ASSERT_EQ(open(with_last_block(sealed, block)).value_or(Bytes{}).size(), 32U) << "the test makes right ones";
  block.assign(16, 7);
  block[15] = 1;
  ASSERT_EQ(open(with_last_block(sealed, block)).value_or(Bytes{}).size(), 47U) << "the test makes right ones";
  for (const std::uint8_t count : Bytes{0, 17, 32, 128, 255}) {
    EXPECT_EQ(failure(with_last_block(sealed, Bytes(16, count))), decrypt_failed().text()) << int{count};
  }
  for (std::uint8_t count = 2; count <= 16; ++count) {
    for (std::size_t wrong = 2; wrong <= count; ++wrong) {
      block.assign(16, count);
      block[16 - wrong] ^= 0x10;
      EXPECT_EQ(failure(with_last_block(sealed, block)), decrypt_failed().text()) << int{count} << " " << wrong;
    }
  }
}

TEST_F(Ecies, OnlyUncompressedPointsOnTheCurveAreTaken) {
  const Bytes sealed = vectors()[5].bytes("ciphertext");
  const auto with_point = [&](const Bytes& point) {
    Bytes other = sealed;
    std::ranges::copy(point, other.begin() + kPointAt);
    return parse_ecies(other);
  };
  const Bytes good(sealed.begin() + kPointAt, sealed.begin() + kCiphertextAt);
  EXPECT_TRUE(with_point(good).has_value());
  for (const std::uint8_t form : Bytes{0, 2, 3, 5, 6, 7}) {
    Bytes other = good;
    other[0] = form;
    EXPECT_EQ(with_point(other).error().text(), decrypt_failed().text()) << int{form};
  }
  Bytes off = good;
  off.back() ^= 1;
  Bytes zero(65), beyond(65, 0xff); // x = y = 0; coordinates above the field's prime
  zero[0] = beyond[0] = 4;
  for (const Bytes& each : {off, zero, beyond}) EXPECT_EQ(with_point(each).error().text(), decrypt_failed().text());
}

TEST_F(Ecies, WrongSizesAreToldApartFromWrongData) {
  const Bytes sealed = vectors()[5].bytes("ciphertext");
  const EciesView view = parse_ecies(sealed).value();
  Bytes out(ecies_plaintext_bytes_max(view));
  EXPECT_EQ(ecies_open(view, Bytes(31), out).error().kind, ErrorKind::kInvalidArgument);
  out.pop_back();
  EXPECT_EQ(ecies_open(view, shared(view), out).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(Ecies, NothingIsWrittenWhereItFails) {
  Bytes sealed = vectors()[5].bytes("ciphertext");
  sealed.back() ^= 1;
  const EciesView view = parse_ecies(sealed).value();
  Bytes out(ecies_plaintext_bytes_max(view), 0xee);
  const Bytes before = out;
  EXPECT_FALSE(ecies_open(view, shared(view), out).has_value());
  EXPECT_EQ(out, before);
}

TEST_F(Ecies, OnlyP256KeysAreSealedFor) {
  for (const Result<SoftwareKey>& key :
       {generate_ec(Curve::kP384), generate_ec(Curve::kSecp256k1), generate_rsa(2048)}) {
    EXPECT_EQ(ecies_seal(software_key_spki(*key).value(), Bytes(5)).error().kind, ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(ecies_seal(Bytes(20), Bytes(5)).error().kind, ErrorKind::kInvalidArgument);
}

} // namespace
} // namespace hsmux
