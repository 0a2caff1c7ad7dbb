#include "mechanisms/spki.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(ec_point_from_attribute(Curve::kP256, hex("0441" "04" + kX + kY)).value(), point());
}

TEST(EcPoint, EverythingElseIsRefused) {
  const std::string raw = "04" + kX + kY;
  for (const std::string& text : {std::string(), std::string("04"), "02" + kX, "0442" + raw, "0341" + raw,
                                  raw + "00", "0441" + raw + "00", "06" + kX + kY, "044103" + kX + kY}) {
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

TEST(RsaSpki, ImpossibleNumbersAreRefused) {
  EXPECT_FALSE(rsa_spki({}, Bytes{1, 0, 1}));
  EXPECT_FALSE(rsa_spki(Bytes(64, 0xff), Bytes{1, 0, 1})); // 512 bits
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), Bytes{1}));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), Bytes{2}));
  EXPECT_FALSE(rsa_spki(Bytes(256, 0xff), {}));
  EXPECT_FALSE(rsa_spki(Bytes(100'000, 0xff), Bytes{3}));
}

TEST(CurveFromParams, OnlyTheExactOidsAreKnown) {
  EXPECT_FALSE(curve_from_params({}));
  EXPECT_FALSE(curve_from_params(hex("06082a8648ce3d030106")));
  EXPECT_FALSE(curve_from_params(hex("06082a8648ce3d03010700")));
}

TEST(DescribeSpki, GarbageIsTheCallersError) {
  Bytes good = ec_spki(Curve::kP256, point()).value();
  EXPECT_EQ(describe_spki({}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_FALSE(describe_spki(ByteView(good).first(50)));
  good.push_back(0);
  EXPECT_FALSE(describe_spki(good));
}

TEST(SpkiToPem, IsWhatOtherProgramsRead) {
  const std::string pem = spki_to_pem(ec_spki(Curve::kP256, point()).value()).value();
  EXPECT_TRUE(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"));
}

} // namespace
} // namespace hsmux
