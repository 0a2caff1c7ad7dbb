// Objects and their attributes in the HSM in memory.
#include <gmock/gmock.h>

#include "tests/simhsm/own/own_fixture.h"

namespace hsmux::sim::own {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OwnObject : public Own {
protected:
  CK_RV rv_of(const Template& given) const {
    CK_OBJECT_HANDLE made = 0;
    return create(given, &made);
  }
  static Template secret_template(CK_KEY_TYPE type, std::size_t bytes) {
    Template given;
    given.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, type).bytes(CKA_VALUE, Data(bytes, 7));
    return given;
  }
  static Template public_point(const Data& curve, const Data& point, CK_KEY_TYPE type = CKK_EC) {
    Template given;
    given.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, type);
    given.bytes(CKA_EC_PARAMS, curve).bytes(CKA_EC_POINT, point);
    return given;
  }
};

TEST_F(OwnObject, SensitiveValuesAreNotShown) {
  const CK_OBJECT_HANDLE hidden = secret(CKK_AES, Data(16, 7));
  Data value;
  EXPECT_EQ(get(hidden, CKA_VALUE, value), CKR_ATTRIBUTE_SENSITIVE);
  const CK_OBJECT_HANDLE half =
      secret(CKK_AES, Data(16, 7), Template().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, false));
  EXPECT_EQ(get(half, CKA_VALUE, value), CKR_ATTRIBUTE_SENSITIVE);
  const CK_OBJECT_HANDLE open_key =
      secret(CKK_AES, Data(16, 7), Template().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true));
  EXPECT_EQ(attribute(open_key, CKA_VALUE), Data(16, 7));
  // Nor found out by guessing.
  EXPECT_THAT(find(Template().bytes(CKA_VALUE, Data(16, 7))), ElementsAre(open_key));
  const Pair pair = rsa();
  for (const CK_ATTRIBUTE_TYPE type :
       {CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT}) {
    EXPECT_EQ(get(pair.private_key, type, value), CKR_ATTRIBUTE_SENSITIVE);
  }
}

TEST_F(OwnObject, GetAttributeValueGoesThroughAllRows) {
  const CK_OBJECT_HANDLE key = secret(CKK_AES, Data(16, 7), Template().bytes(CKA_LABEL, text("name")));
  Data label(2), id(8);
  CK_ULONG bytes = 0;
  std::array rows = {CK_ATTRIBUTE{CKA_VALUE, nullptr, 0},   CK_ATTRIBUTE{CKA_LABEL, label.data(), label.size()},
                     CK_ATTRIBUTE{CKA_MODULUS, nullptr, 0}, CK_ATTRIBUTE{CKA_VALUE_LEN, &bytes, sizeof bytes},
                     CK_ATTRIBUTE{CKA_LABEL, nullptr, 0},   CK_ATTRIBUTE{CKA_ID, id.data(), id.size()}};
  EXPECT_EQ(f.C_GetAttributeValue(s, key, rows.data(), rows.size()), CKR_ATTRIBUTE_SENSITIVE);
  EXPECT_EQ(rows[0].ulValueLen, ~0UL);
  EXPECT_EQ(rows[1].ulValueLen, ~0UL);
  EXPECT_EQ(rows[2].ulValueLen, ~0UL);
  EXPECT_EQ(bytes, 16U);
  EXPECT_EQ(rows[4].ulValueLen, 4U);
  EXPECT_EQ(rows[5].ulValueLen, 0U);
  rows[1].ulValueLen = label.size();
  EXPECT_EQ(f.C_GetAttributeValue(s, key, &rows[1], 1), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(f.C_GetAttributeValue(s, key, &rows[2], 1), CKR_ATTRIBUTE_TYPE_INVALID);
  EXPECT_EQ(f.C_GetAttributeValue(s, 4711, rows.data(), 1), CKR_OBJECT_HANDLE_INVALID);
  EXPECT_EQ(f.C_GetAttributeValue(s, key, nullptr, 1), CKR_ARGUMENTS_BAD);
  CK_ULONG size = 0;
  EXPECT_EQ(f.C_GetObjectSize(s, key, &size), CKR_OK);
  EXPECT_GT(size, 16U);
}

TEST_F(OwnObject, SetAttributeValueChangesWhatMayChange) {
  const CK_OBJECT_HANDLE key =
      secret(CKK_AES, Data(16), Template().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true));
  EXPECT_EQ(set(key, Template().bytes(CKA_LABEL, text("new")).bytes(CKA_ID, {1, 2}).flag(CKA_WRAP, false)), CKR_OK);
  EXPECT_EQ(attribute(key, CKA_LABEL), text("new"));
  EXPECT_FALSE(flag(key, CKA_WRAP));
  EXPECT_EQ(set(key, Template().flag(CKA_SENSITIVE, true)), CKR_OK);
  EXPECT_EQ(set(key, Template().flag(CKA_SENSITIVE, false)), CKR_ATTRIBUTE_READ_ONLY);
  EXPECT_EQ(set(key, Template().flag(CKA_EXTRACTABLE, false)), CKR_OK);
  EXPECT_EQ(set(key, Template().flag(CKA_EXTRACTABLE, true)), CKR_ATTRIBUTE_READ_ONLY);
  EXPECT_EQ(set(key, Template().flag(CKA_TOKEN, true)), CKR_ATTRIBUTE_READ_ONLY);
  EXPECT_EQ(set(key, Template().bytes(CKA_VALUE, Data(16))), CKR_ATTRIBUTE_READ_ONLY);
  EXPECT_EQ(set(key, Template().bytes(CKA_MODULUS, Data(16))), CKR_ATTRIBUTE_TYPE_INVALID);
  EXPECT_EQ(set(key, Template().bytes(CKA_SIGN, Data(3))), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_FALSE(flag(key, CKA_ALWAYS_SENSITIVE));
  EXPECT_FALSE(flag(key, CKA_NEVER_EXTRACTABLE));
}

TEST_F(OwnObject, WhatIsNotModifiableCopyableOrDestroyableStays) {
  const CK_OBJECT_HANDLE fixed = created(Template()
                                             .number(CKA_CLASS, CKO_DATA)
                                             .flag(CKA_MODIFIABLE, false)
                                             .flag(CKA_COPYABLE, false)
                                             .flag(CKA_DESTROYABLE, false));
  CK_OBJECT_HANDLE copy = 0;
  EXPECT_EQ(set(fixed, Template().bytes(CKA_LABEL, {})), CKR_ACTION_PROHIBITED);
  EXPECT_EQ(f.C_CopyObject(s, fixed, nullptr, 0, &copy), CKR_ACTION_PROHIBITED);
  EXPECT_EQ(f.C_DestroyObject(s, fixed), CKR_ACTION_PROHIBITED);
  const CK_OBJECT_HANDLE usual = created(Template().number(CKA_CLASS, CKO_DATA));
  EXPECT_EQ(f.C_DestroyObject(s, usual), CKR_OK);
  EXPECT_EQ(f.C_DestroyObject(s, usual), CKR_OBJECT_HANDLE_INVALID);
}

TEST_F(OwnObject, ACopyHasItsOwnAttributesAndTheSameKey) {
  const Pair pair = ec(kP256, Template().flag(CKA_EXTRACTABLE, true));
  Template changes;
  changes.flag(CKA_TOKEN, true).bytes(CKA_LABEL, text("copy")).flag(CKA_EXTRACTABLE, false);
  CK_OBJECT_HANDLE copy = 0;
  ASSERT_EQ(f.C_CopyObject(s, pair.private_key, changes.data(), changes.size(), &copy), CKR_OK);
  EXPECT_EQ(attribute(copy, CKA_LABEL), text("copy"));
  EXPECT_TRUE(flag(copy, CKA_TOKEN));
  EXPECT_TRUE(attribute(pair.private_key, CKA_LABEL).empty());
  Data signature;
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), copy, Data(32, 3), signature), CKR_OK);
  EXPECT_EQ(verify(Mechanism(CKM_ECDSA), pair.public_key, Data(32, 3), signature), CKR_OK);
  for (Template wrong : {Template().flag(CKA_EXTRACTABLE, true), Template().flag(CKA_SENSITIVE, false)}) {
    EXPECT_EQ(f.C_CopyObject(s, copy, wrong.data(), wrong.size(), &copy), CKR_ATTRIBUTE_READ_ONLY);
  }
  Template shown = Template().flag(CKA_PRIVATE, false);
  EXPECT_EQ(f.C_CopyObject(s, copy, shown.data(), shown.size(), &copy), CKR_TEMPLATE_INCONSISTENT);
}

TEST_F(OwnObject, DefaultsAreTheCautiousOnes) {
  const Pair pair = ec(kP256);
  const CK_OBJECT_HANDLE key = aes();
  for (const CK_OBJECT_HANDLE each : {pair.private_key, key}) {
    EXPECT_TRUE(flag(each, CKA_PRIVATE));
    EXPECT_TRUE(flag(each, CKA_SENSITIVE));
    EXPECT_FALSE(flag(each, CKA_EXTRACTABLE));
    EXPECT_FALSE(flag(each, CKA_TOKEN));
    EXPECT_TRUE(flag(each, CKA_LOCAL));
    EXPECT_TRUE(flag(each, CKA_ALWAYS_SENSITIVE));
    EXPECT_TRUE(flag(each, CKA_NEVER_EXTRACTABLE));
  }
  EXPECT_FALSE(flag(pair.public_key, CKA_PRIVATE));
  EXPECT_TRUE(flag(pair.private_key, CKA_SIGN));
  EXPECT_TRUE(flag(pair.public_key, CKA_VERIFY));
  EXPECT_TRUE(flag(key, CKA_ENCRYPT));
  EXPECT_FALSE(flag(key, CKA_DERIVE));
  const CK_OBJECT_HANDLE named = aes(16, Template().flag(CKA_DECRYPT, true));
  EXPECT_FALSE(flag(named, CKA_ENCRYPT));
  EXPECT_TRUE(flag(named, CKA_DECRYPT));
  const CK_OBJECT_HANDLE carried_in = secret(CKK_AES, Data(16));
  EXPECT_FALSE(flag(carried_in, CKA_LOCAL));
  EXPECT_FALSE(flag(carried_in, CKA_ALWAYS_SENSITIVE));
  EXPECT_EQ(attribute(carried_in, CKA_KEY_GEN_MECHANISM), Data(sizeof(CK_ULONG), 0xff));
}

TEST_F(OwnObject, TemplatesAreChecked) {
  using T = Template;
  EXPECT_EQ(rv_of(T()), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(rv_of(T().number(CKA_CLASS, 99)), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(T().bytes(CKA_CLASS, {1})), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(T().number(CKA_CLASS, CKO_SECRET_KEY)), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(rv_of(T().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES)), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(rv_of(T().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_DES3)), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(T().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_RSA)), CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 17)), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).flag(CKA_LOCAL, true)), CKR_ATTRIBUTE_READ_ONLY);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).bytes(CKA_MODULUS, {1})), CKR_ATTRIBUTE_TYPE_INVALID);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).bytes(CKA_VENDOR_DEFINED + 1, {1})), CKR_ATTRIBUTE_TYPE_INVALID);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).bytes(CKA_SIGN, {2})), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).flag(CKA_SIGN, true).flag(CKA_SIGN, true)), CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).number(CKA_VALUE_LEN, 16)), CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).bytes(CKA_CHECK_VALUE, {1, 2, 3})), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16).flag(CKA_TRUSTED, true)), CKR_ATTRIBUTE_READ_ONLY);
  CK_OBJECT_HANDLE made = 0;
  EXPECT_EQ(f.C_CreateObject(s, nullptr, 1, &made), CKR_ARGUMENTS_BAD);
  Template data = T().number(CKA_CLASS, CKO_DATA);
  EXPECT_EQ(f.C_CreateObject(s, data.data(), data.size(), nullptr), CKR_ARGUMENTS_BAD);
  Pair pair;
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, T(), T(), pair), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, T().bytes(CKA_EC_PARAMS, kP256).number(CKA_KEY_TYPE, CKK_RSA), T(), pair),
            CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, T().bytes(CKA_EC_PARAMS, kP256),
                     T().flag(CKA_PRIVATE, false).flag(CKA_ALWAYS_AUTHENTICATE, true), pair),
            CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(generate(CKM_RSA_PKCS_KEY_PAIR_GEN, T().number(CKA_MODULUS_BITS, 1024), T(), pair), CKR_KEY_SIZE_RANGE);
  EXPECT_EQ(objects(0), 0U);
}

TEST_F(OwnObject, CurvesAndPointsAreChecked) {
  Pair pair;
  const Data brainpool = {0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07};
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, Template().bytes(CKA_EC_PARAMS, brainpool), {}, pair),
            CKR_CURVE_NOT_SUPPORTED);
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, Template().bytes(CKA_EC_PARAMS, kEd25519), {}, pair),
            CKR_CURVE_NOT_SUPPORTED);
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, Template().bytes(CKA_EC_PARAMS, {6, 8, 1}), {}, pair),
            CKR_DOMAIN_PARAMS_INVALID);
  for (const Data& curve : {kP256, kP384, kP521, kSecp256k1, kEd25519}) {
    const CK_KEY_TYPE type = curve == kEd25519 ? CKK_EC_EDWARDS : CKK_EC;
    Data point = attribute(ec(curve).public_key, CKA_EC_POINT);
    EXPECT_EQ(rv_of(public_point(curve, point, type)), CKR_OK);
    EXPECT_EQ(rv_of(public_point(curve, Data(point.begin() + 2, point.end()), type)), CKR_ATTRIBUTE_VALUE_INVALID);
    if (type != CKK_EC) continue;
    point.back() ^= 1;
    EXPECT_EQ(rv_of(public_point(curve, point, type)), CKR_ATTRIBUTE_VALUE_INVALID);
  }
  // y = 2 is no point of edwards25519, y = 4/5 is its base point.
  Data no_point = {0x04, 0x20, 2}, base = {0x04, 0x20, 0x58};
  no_point.resize(34);
  base.resize(34, 0x66);
  EXPECT_EQ(rv_of(public_point(kEd25519, no_point, CKK_EC_EDWARDS)), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(rv_of(public_point(kEd25519, base, CKK_EC_EDWARDS)), CKR_OK);
}

TEST_F(OwnObject, PrivateKeysCanBeCarriedInAndFitTheirPublicHalf) {
  const Template shown = Template().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
  for (const Data& curve : {kP256, kP384, kP521, kSecp256k1, kEd25519}) {
    const Pair pair = ec(curve, shown);
    const CK_KEY_TYPE type = curve == kEd25519 ? CKK_EC_EDWARDS : CKK_EC;
    Template given = Template().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, type);
    given.bytes(CKA_EC_PARAMS, curve).bytes(CKA_VALUE, attribute(pair.private_key, CKA_VALUE));
    const CK_OBJECT_HANDLE carried = created(given);
    const Mechanism mechanism(type == CKK_EC ? CKM_ECDSA_SHA256 : CKM_EDDSA);
    Data signature;
    ASSERT_EQ(sign(mechanism, carried, text("message"), signature), CKR_OK);
    EXPECT_EQ(verify(mechanism, pair.public_key, text("message"), signature), CKR_OK);
  }
  const Pair pair = rsa(shown);
  Template given = Template().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_RSA);
  for (const CK_ATTRIBUTE_TYPE type : {CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2,
                                       CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT}) {
    given.bytes(type, attribute(pair.private_key, type));
  }
  Data signature;
  ASSERT_EQ(sign(Mechanism(CKM_SHA256_RSA_PKCS), created(given), text("message"), signature), CKR_OK);
  EXPECT_EQ(verify(Mechanism(CKM_SHA256_RSA_PKCS), pair.public_key, text("message"), signature), CKR_OK);
  given.drop_last();
  EXPECT_EQ(rv_of(given), CKR_TEMPLATE_INCOMPLETE);
  Data coefficient = attribute(pair.private_key, CKA_COEFFICIENT);
  coefficient.back() ^= 1;
  EXPECT_EQ(rv_of(given.bytes(CKA_COEFFICIENT, coefficient)), CKR_ATTRIBUTE_VALUE_INVALID);
}

TEST_F(OwnObject, AScalarOutOfRangeIsNoKey) {
  for (const Data& value : {Data(32), Data(32, 0xff)}) {
    Template given = Template().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
    EXPECT_EQ(rv_of(given.bytes(CKA_EC_PARAMS, kP256).bytes(CKA_VALUE, value)), CKR_ATTRIBUTE_VALUE_INVALID);
  }
}

TEST_F(OwnObject, FindGoesByAttributesAndHandsOutInParts) {
  for (int i = 0; i < 5; ++i) created(Template().number(CKA_CLASS, CKO_DATA).bytes(CKA_LABEL, text("d")));
  created(Template().number(CKA_CLASS, CKO_CERTIFICATE).number(CKA_CERTIFICATE_TYPE, CKC_X_509).bytes(CKA_VALUE, {1}));
  EXPECT_THAT(find(), SizeIs(6));
  EXPECT_THAT(find(Template().bytes(CKA_LABEL, text("d"))), SizeIs(5));
  EXPECT_THAT(find(Template().bytes(CKA_LABEL, text("e"))), IsEmpty());
  CK_OBJECT_HANDLE two[2];
  CK_ULONG count = 0;
  EXPECT_EQ(f.C_FindObjects(s, two, 2, &count), CKR_OPERATION_NOT_INITIALIZED);
  ASSERT_EQ(f.C_FindObjectsInit(s, nullptr, 0), CKR_OK);
  EXPECT_EQ(f.C_FindObjectsInit(s, nullptr, 0), CKR_OPERATION_ACTIVE);
  for (const CK_ULONG expected : {2U, 2U, 2U, 0U}) {
    EXPECT_EQ(f.C_FindObjects(s, two, 2, &count), CKR_OK);
    EXPECT_EQ(count, expected);
  }
  EXPECT_EQ(f.C_FindObjectsFinal(s), CKR_OK);
  EXPECT_EQ(f.C_FindObjectsFinal(s), CKR_OPERATION_NOT_INITIALIZED);
}

TEST_F(OwnObject, AFullTokenSaysSo) {
  Settings limited = settings();
  limited.objects_max = 3;
  configure(limited);
  ec(kP256);
  Pair pair;
  EXPECT_EQ(generate(CKM_EC_KEY_PAIR_GEN, Template().bytes(CKA_EC_PARAMS, kP256), {}, pair), CKR_DEVICE_MEMORY);
  EXPECT_EQ(objects(0), 2U); // a pair comes whole or not at all
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16)), CKR_OK);
  EXPECT_EQ(rv_of(secret_template(CKK_AES, 16)), CKR_DEVICE_MEMORY);
}

TEST_F(OwnObject, AKeyThatAlwaysAuthenticatesWaitsForThePin) {
  const Pair pair = ec(kP256, Template().flag(CKA_ALWAYS_AUTHENTICATE, true).flag(CKA_SIGN, true));
  CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
  Data data(32, 1), signature(64);
  CK_ULONG size = signature.size();
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_USER_NOT_LOGGED_IN);
  EXPECT_EQ(login(s, CKU_CONTEXT_SPECIFIC, "wrong"), CKR_PIN_INCORRECT);
  EXPECT_NE(token_flags() & CKF_USER_PIN_COUNT_LOW, 0U);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_USER_NOT_LOGGED_IN);
  EXPECT_EQ(login(s, CKU_CONTEXT_SPECIFIC, kUserPin), CKR_OK);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_OK);
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_USER_NOT_LOGGED_IN);
}

TEST_F(OwnObject, EdwardsCurvesHaveTwoNames) {
  Data name = {0x13, 12};
  for (const char each : std::string_view("edwards25519")) name.push_back(static_cast<CK_BYTE>(each));
  Pair pair;
  ASSERT_EQ(generate(CKM_EC_EDWARDS_KEY_PAIR_GEN, Template().bytes(CKA_EC_PARAMS, name), {}, pair), CKR_OK);
  EXPECT_EQ(attribute(pair.public_key, CKA_EC_PARAMS), name);
  EXPECT_EQ(attribute(pair.private_key, CKA_EC_PARAMS), name);
  EXPECT_THAT(attribute(pair.public_key, CKA_EC_POINT), SizeIs(34));
}

} // namespace
} // namespace hsmux::sim::own
