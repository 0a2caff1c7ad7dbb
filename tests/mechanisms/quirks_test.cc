#include "mechanisms/quirks.h"

#include <gmock/gmock.h>

#include <set>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

TokenIdentity token(std::string manufacturer, std::string model) {
  TokenIdentity identity;
  identity.manufacturer = std::move(manufacturer);
  identity.model = std::move(model);
  return identity;
}

TEST(Quirks, RowsHaveNamesOfTheirOwnAndTheLastFitsEveryToken) {
  std::set<std::string_view> names;
  for (const Quirks& row : quirks_table()) EXPECT_TRUE(names.insert(row.name).second) << row.name;
  EXPECT_EQ(&quirks_of(token("Nobody", "Nothing"), "/lib/x.so"), &quirks_table().back());
  EXPECT_EQ(&standard_quirks(), &quirks_table().back());
  EXPECT_EQ(standard_quirks().name, "standard");
}

TEST(Quirks, ATokenIsKnownByWhatItSaysOfItself) {
  EXPECT_EQ(quirks_of(token("SoftHSM project", "SoftHSM v2"), "/x/libsofthsm2.so").name, "softhsm");
  EXPECT_EQ(quirks_of(token("SoftHSM project", "SoftHSM v3"), "").name, "standard");
  EXPECT_EQ(quirks_of(token("Kryoptic Project", "v1"), "").name, "kryoptic");
  EXPECT_EQ(quirks_of(token("Mozilla Foundation", "NSS 3"), "").name, "nss");
  EXPECT_EQ(quirks_of(token("IBM", "Soft"), "").name, "opencryptoki");
  EXPECT_EQ(quirks_of(token("Yubico (www.yubico.com)", "YubiHSM"), "").name, "yubihsm2");
  EXPECT_EQ(quirks_of(token("Yubico (www.yubico.com)", "YubiKey YK5"), "").name, "standard");
  EXPECT_EQ(quirks_of(token("nCipher Corp. Ltd", ""), "").name, "nshield");
  EXPECT_EQ(quirks_of(token("Utimaco IS GmbH", "CryptoServer"), "").name, "utimaco");
}

TEST(Quirks, OrByItsModulesFileName) {
  EXPECT_EQ(quirks_of({}, "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so").name, "cloudhsm");
  EXPECT_EQ(quirks_of({}, "/usr/safenet/lunaclient/lib/libCryptoki2_64.so").name, "luna");
  EXPECT_EQ(quirks_of({}, "libCryptoki2.so").name, "luna");
  EXPECT_EQ(quirks_of({}, "/libCryptoki2/other.so").name, "standard");
}

TEST(Quirks, WhatDiffersFromTheStandardHasEvidence) {
  for (const Quirks& row : quirks_table()) {
    const Quirks& usual = standard_quirks();
    const bool differs = row.gcm_iv_bits != usual.gcm_iv_bits || row.gcm_iv != usual.gcm_iv ||
                         row.edwards_point != usual.edwards_point || row.edwards_params != usual.edwards_params ||
                         row.key_wrap != usual.key_wrap;
    EXPECT_TRUE(!differs || row.evidence.starts_with("https://")) << row.name;
  }
}

TEST(Quirks, ThatAreKnownSayWhatTheVendorsDocumentsSay) {
  EXPECT_EQ(quirks_of(token("SoftHSM project", "SoftHSM v2"), "").key_wrap, CKM_AES_KEY_WRAP_PAD);
  EXPECT_EQ(quirks_of(token("Kryoptic Project", "v1"), "").edwards_point, EdwardsPoint::kRaw);
  const Quirks& cloudhsm = quirks_of({}, "libcloudhsm_pkcs11.so");
  EXPECT_EQ(cloudhsm.gcm_iv, GcmIv::kToken);
  EXPECT_EQ(cloudhsm.key_wrap, 0x8000216FUL);
  EXPECT_EQ(quirks_of(token("Yubico (www.yubico.com)", "YubiHSM"), "").key_wrap, 0U);
}

TEST(Quirks, AreDescribedForPeople) {
  EXPECT_EQ(describe(standard_quirks()), "AES-GCM IVs by the host (ulIvBits set), Ed25519 by OID with points in an "
                                         "OCTET STRING, RFC 5649 by CKM_AES_KEY_WRAP_KWP");
  EXPECT_THAT(describe(quirks_of({}, "libcloudhsm_pkcs11.so")), HasSubstr("IVs by the token"));
  EXPECT_THAT(describe(quirks_of(token("Yubico (www.yubico.com)", "YubiHSM"), "")), HasSubstr("RFC 5649 by nothing"));
}

} // namespace
} // namespace hsmux
