#include "mechanisms/spki.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"
#include "mechanisms/software_key.h"

namespace hsmux {
namespace {

// RFC 6979, A.2.5.
const std::string kX = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
const std::string kY = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
// The fixed head of a P-256 SubjectPublicKeyInfo (RFC 5480) up to the point.
const std::string kHead = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

Bytes hex(const std::string& text) { return from_hex(text).value(); }
Bytes point() { return hex("04" + kX + kY); }

TEST(EcPoint, RawAndOctetStringAreToldApartByLength) {
  EXPECT_EQ(ec_point_from_attribute(Curve::kP256, point()).value(), point());
  EXPECT_EQ(ec_point_from_attribute(Curve::kP256, hex("0441"
                                                      "04" +
                                                      kX + kY))
                .value(),
            point());
}

TEST(EcPoint, EachCurveTakesItsTwoLengths) {
  for (const Curve curve : {Curve::kP256, Curve::kP384, Curve::kSecp256k1}) {
    Bytes raw(1 + 2 * field_bytes(curve), 0x33);
    raw[0] = 0x04;
    Bytes wrapped(2 + raw.size(), 0x04);
    wrapped[1] = static_cast<std::uint8_t>(raw.size());
    std::ranges::copy(raw, wrapped.begin() + 2);
    EXPECT_EQ(wrapped.size(), curve == Curve::kP384 ? 99U : 67U);
    EXPECT_EQ(ec_point_from_attribute(curve, raw).value(), raw);
    EXPECT_EQ(ec_point_from_attribute(curve, wrapped).value(), raw);
  }
}

TEST(EcPoint, ARawPointThatLooksLikeAnOctetStringStaysRaw) {
  Bytes raw(65, 0x33);
  raw[0] = 0x04;
  raw[2] = 0x04;
  for (const std::uint8_t length : Bytes{63, 65}) { // as if an OCTET STRING of what follows, or of a whole point
    raw[1] = length;
    const Result<Bytes> point = ec_point_from_attribute(Curve::kP256, raw);
    ASSERT_TRUE(point) << int{length};
    EXPECT_EQ(*point, raw);
  }
}

TEST(EcPoint, EverythingElseIsRefused) {
  const std::string raw = "04" + kX + kY;
  for (const std::string& text : {std::string(), std::string("04"), "02" + kX, "0442" + raw, "0341" + raw, raw + "00",
                                  "0441" + raw + "00", "06" + kX + kY, "044103" + kX + kY}) {
    EXPECT_EQ(ec_point_from_attribute(Curve::kP256, hex(text)).error().kind, ErrorKind::kUnsupported) << text;
  }
  EXPECT_FALSE(ec_point_from_attribute(Curve::kP384, point()));
  EXPECT_FALSE(ec_point_from_attribute(Curve::kP256, Bytes(100'000, 4)));
}

TEST(EcSpki, IsNamedCurveAndUncompressed) {
  EXPECT_EQ(to_hex(ec_spki(Curve::kP256, point()).value()), kHead + "04" + kX + kY);
}

TEST(EcSpki, APointOffTheCurveIsRefused) {
  Bytes off = point();
  off.back() ^= 1;
  EXPECT_EQ(ec_spki(Curve::kP256, off).error().kind, ErrorKind::kUnsupported);
  EXPECT_FALSE(ec_spki(Curve::kP256, hex("04" + std::string(128, '0'))));
  EXPECT_FALSE(ec_spki(Curve::kP256, {}));
}

TEST(EcSpki, EachCurveIsDescribedAsItself) {
  for (const Curve curve : {Curve::kP256, Curve::kP384, Curve::kSecp256k1}) {
    const SoftwareKey key = generate_ec(curve).value();
    const PublicKeyFacts facts = describe_spki(software_key_spki(key).value()).value();
    EXPECT_EQ(facts.kind, PublicKeyFacts::Kind::kEc);
    EXPECT_EQ(facts.curve, curve);
    EXPECT_EQ(curve_from_params(ec_params(curve)).value(), curve);
  }
}

TEST(RsaSpki, LeadingZerosOfTheTokenDoNotChangeTheBytes) {
  Bytes modulus(256, 0xab);
  const Bytes spki = rsa_spki(modulus, Bytes{1, 0, 1}).value();
  modulus.insert(modulus.begin(), 0);
  EXPECT_EQ(rsa_spki(modulus, Bytes{0, 1, 0, 1}).value(), spki);
  EXPECT_EQ(describe_spki(spki).value().bits, 2048U);
}

TEST(RsaSpki, TheLimitsOfTheModulusAreInside) {
  EXPECT_EQ(describe_spki(rsa_spki(Bytes(128, 0xff), Bytes{3}).value()).value().bits, 1024U);
  EXPECT_EQ(describe_spki(rsa_spki(Bytes(2048, 0xff), Bytes{3}).value()).value().bits, 16'384U);
  Bytes below(128, 0xff);
  below[0] = 0x7f; // 1023 bits
  EXPECT_EQ(rsa_spki(below, Bytes{3}).error().kind, ErrorKind::kUnsupported);
  Bytes above(2049, 0xff);
  above[0] = 0x01; // 16385 bits
  EXPECT_EQ(rsa_spki(above, Bytes{3}).error().kind, ErrorKind::kUnsupported);
}

TEST(RsaSpki, ImpossibleNumbersAreRefused) {
  EXPECT_FALSE(rsa_spki({}, Bytes{1, 0, 1}));
  EXPECT_FALSE(rsa_spki(Bytes(64, 0xff), Bytes{1, 0, 1})); // 512 bits
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), Bytes{1}));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), Bytes{2}));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), {}));
  EXPECT_FALSE(rsa_spki(Bytes(100'000, 0xff), Bytes{3}));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), Bytes(100'000, 0xff)));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xfe), Bytes{3}));         // even modulus
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xab), Bytes(256, 0xff))); // exponent above the modulus
}

TEST(CurveFromParams, OnlyTheExactOidsAreKnown) {
  EXPECT_FALSE(curve_from_params({}));
  EXPECT_FALSE(curve_from_params(Bytes(1, 0x06)));
  EXPECT_FALSE(curve_from_params(hex("06052b81040023")));     // P-521
  EXPECT_FALSE(curve_from_params(hex("06052b810400220000"))); // with the table's padding
  EXPECT_FALSE(curve_from_params(Bytes(100'000, 0x06)));
  EXPECT_FALSE(curve_from_params(hex("06082a8648ce3d030106")));
  EXPECT_FALSE(curve_from_params(hex("06082a8648ce3d03010700")));
}

// RFC 8410, 10.1.
constexpr const char* kEd25519Spki =
    "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
constexpr const char* kEd25519Point = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

TEST(DescribeSpki, Ed25519IsNoCurveOfWeierstrass) {
  const PublicKeyFacts facts = describe_spki(hex(kEd25519Spki)).value();
  EXPECT_EQ(facts.kind, PublicKeyFacts::Kind::kEd25519);
  EXPECT_FALSE(facts.curve);
}

TEST(DescribeSpki, AKeyOfAnotherTypeIsOther) {
  // RFC 8410's form with the OID of X25519.
  const PublicKeyFacts facts = describe_spki(hex("302a300506032b656e0321"
                                                 "00" +
                                                 std::string(64, '1')))
                                   .value();
  EXPECT_EQ(facts.kind, PublicKeyFacts::Kind::kOther);
}

TEST(Ed25519Spki, IsThatOfRfc8410) { EXPECT_EQ(ed25519_spki(hex(kEd25519Point)).value(), hex(kEd25519Spki)); }

TEST(Ed25519Spki, OtherSizesAreRefused) {
  for (const std::size_t size : {0, 31, 33, 57}) EXPECT_FALSE(ed25519_spki(Bytes(size, 1))) << size;
}

TEST(Ed25519Point, IsTakenRawOrAsOctetString) {
  EXPECT_EQ(ed25519_point_from_attribute(hex(kEd25519Point)).value(), hex(kEd25519Point));
  EXPECT_EQ(ed25519_point_from_attribute(hex(std::string("0420") + kEd25519Point)).value(), hex(kEd25519Point));
  for (const char* malformed : {"", "0420", "04200102", "0320"}) {
    EXPECT_FALSE(ed25519_point_from_attribute(hex(malformed))) << malformed;
  }
  EXPECT_FALSE(ed25519_point_from_attribute(hex(std::string("0320") + kEd25519Point)));
}

TEST(Ed25519Params, AreTheOidAndTheNameAndNothingElse) {
  EXPECT_TRUE(is_ed25519_params(hex("06032b6570")));
  EXPECT_TRUE(is_ed25519_params(hex("130c656477617264733235353139")));
  EXPECT_FALSE(is_ed25519_params(hex("06032b6571"))); // Ed448
  EXPECT_FALSE(is_ed25519_params(hex("")));
}

TEST(DescribeSpki, EveryTruncationIsRefused) {
  const Bytes good = rsa_spki(Bytes(128, 0xff), Bytes{3}).value();
  for (std::size_t size = 0; size < good.size(); ++size) {
    const Bytes cut(good.begin(), good.begin() + static_cast<long>(size)); // a copy, so that an overread is noticed
    EXPECT_EQ(describe_spki(cut).error().kind, ErrorKind::kInvalidArgument) << size;
  }
}

TEST(DescribeSpki, GarbageIsTheCallersError) {
  Bytes good = ec_spki(Curve::kP256, point()).value();
  EXPECT_EQ(describe_spki({}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_FALSE(describe_spki(ByteView(good).first(50)));
  good.push_back(0);
  EXPECT_FALSE(describe_spki(good));
  EXPECT_FALSE(describe_spki(Bytes(100'000, 0x30)));
  EXPECT_FALSE(spki_to_pem(Bytes(1, 0x30)));
}

TEST(SpkiToPem, OpenSslReadsTheSameKeyBack) {
  const Bytes spki = rsa_spki(Bytes(256, 0xff), Bytes{1, 0, 1}).value();
  const std::string pem = spki_to_pem(spki).value();
  BIO* memory = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  EVP_PKEY* key = PEM_read_bio_PUBKEY(memory, nullptr, nullptr, nullptr);
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  EXPECT_EQ(Bytes(der, der + std::max(size, 0)), spki);
  OPENSSL_free(der);
  EVP_PKEY_free(key);
  BIO_free(memory);
}

TEST(SpkiToPem, IsWhatOtherProgramsRead) {
  const std::string pem = spki_to_pem(ec_spki(Curve::kP256, point()).value()).value();
  EXPECT_TRUE(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"));
}

} // namespace
} // namespace hsmux
