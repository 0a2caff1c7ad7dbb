// Keys that leave and enter the HSM in memory, and derived ones, checked by OpenSSL on the host or by the RFCs.
#include <gmock/gmock.h>

#include "tests/simhsm/own/own_fixture.h"

namespace hsmux::sim::own {
namespace {

class OwnWrap : public Own {
protected:
  CK_RV wrap(Mechanism mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key, Data& result) const {
    return sized(
        [&](CK_BYTE* out, CK_ULONG* size) { return f.C_WrapKey(s, &mechanism.value, wrapping, key, out, size); },
        result);
  }
  CK_RV unwrap(Mechanism mechanism, CK_OBJECT_HANDLE unwrapping, Data wrapped, Template given,
               CK_OBJECT_HANDLE& made) const {
    return f.C_UnwrapKey(s, &mechanism.value, unwrapping, wrapped.data(), wrapped.size(), given.data(), given.size(),
                         &made);
  }
  CK_RV derive(CK_OBJECT_HANDLE base, Data point, Template given, CK_OBJECT_HANDLE& made,
               CK_ULONG function = CKD_NULL) const {
    CK_ECDH1_DERIVE_PARAMS parameter{function, 0, nullptr, point.size(), point.data()};
    Mechanism mechanism(CKM_ECDH1_DERIVE, parameter);
    return f.C_DeriveKey(s, &mechanism.value, base, given.data(), given.size(), &made);
  }
  static Template shown() { return Template().flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true); }
  static Template shown_secret(CK_KEY_TYPE type) {
    return shown().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, type);
  }
  static Data hex(std::string_view digits) {
    Data data;
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      data.push_back(static_cast<CK_BYTE>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16)));
    }
    return data;
  }
};

TEST_F(OwnWrap, AesKeyWrapIsThatOfTheRfcs) {
  // RFC 3394, 4.6
  const CK_OBJECT_HANDLE key = secret(CKK_AES, hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"));
  const CK_OBJECT_HANDLE plain =
      secret(CKK_AES, hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"), shown());
  Data result;
  ASSERT_EQ(wrap(Mechanism(CKM_AES_KEY_WRAP), key, plain, result), CKR_OK);
  EXPECT_EQ(result, hex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"));
  // RFC 5649, 6
  const CK_OBJECT_HANDLE padding = secret(CKK_AES, hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"));
  const CK_OBJECT_HANDLE odd = secret(CKK_GENERIC_SECRET, hex("c37b7e6492584340bed12207808941155068f738"), shown());
  for (const CK_MECHANISM_TYPE type : {CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP_KWP}) {
    ASSERT_EQ(wrap(Mechanism(type), padding, odd, result), CKR_OK);
    EXPECT_EQ(result, hex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"));
  }
  EXPECT_EQ(wrap(Mechanism(CKM_AES_KEY_WRAP), padding, odd, result), CKR_KEY_SIZE_RANGE);
}

TEST_F(OwnWrap, SecretKeysComeBackWhole) {
  const CK_OBJECT_HANDLE key = aes();
  const Pair pair = rsa();
  const Data value(32, 5);
  const CK_OBJECT_HANDLE wrapped = secret(CKK_AES, value, shown());
  Data start(16, 3);
  CK_RSA_PKCS_OAEP_PARAMS oaep{CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, nullptr, 0};
  struct Way {
    Mechanism mechanism;
    CK_OBJECT_HANDLE wrapping, unwrapping;
  };
  for (const Way& way :
       {Way{Mechanism(CKM_AES_KEY_WRAP), key, key}, Way{Mechanism(CKM_AES_KEY_WRAP_PAD), key, key},
        Way{Mechanism(CKM_AES_KEY_WRAP_KWP), key, key}, Way{Mechanism(CKM_AES_CBC_PAD, start), key, key},
        Way{Mechanism(CKM_RSA_PKCS), pair.public_key, pair.private_key},
        Way{Mechanism(CKM_RSA_PKCS_OAEP, oaep), pair.public_key, pair.private_key}}) {
    Data bytes;
    CK_OBJECT_HANDLE back = 0;
    ASSERT_EQ(wrap(way.mechanism, way.wrapping, wrapped, bytes), CKR_OK);
    ASSERT_EQ(unwrap(way.mechanism, way.unwrapping, bytes, shown_secret(CKK_AES), back), CKR_OK);
    EXPECT_EQ(attribute(back, CKA_VALUE), value);
    EXPECT_FALSE(flag(back, CKA_LOCAL));
    bytes.back() ^= 1;
    EXPECT_EQ(unwrap(way.mechanism, way.unwrapping, bytes, shown_secret(CKK_AES), back), CKR_WRAPPED_KEY_INVALID);
    bytes.pop_back();
    EXPECT_EQ(unwrap(way.mechanism, way.unwrapping, bytes, shown_secret(CKK_AES), back), CKR_WRAPPED_KEY_LEN_RANGE);
  }
}

TEST_F(OwnWrap, PrivateKeysComeBackWhole) {
  const CK_OBJECT_HANDLE key = aes();
  Data start(16, 3);
  for (const Data& curve : {kP256, kP521, kSecp256k1, kEd25519, Data()}) {
    const Pair pair = curve.empty() ? rsa(shown()) : ec(curve, shown());
    const CK_KEY_TYPE type = curve.empty() ? CKK_RSA : curve == kEd25519 ? CKK_EC_EDWARDS : CKK_EC;
    const CK_KEY_TYPE other = type == CKK_RSA ? CKK_EC : CKK_RSA;
    const Template given = Template().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, type);
    const Mechanism signing(curve.empty() ? CKM_SHA256_RSA_PKCS : curve == kEd25519 ? CKM_EDDSA : CKM_ECDSA_SHA256);
    for (const Mechanism& mechanism : {Mechanism(CKM_AES_KEY_WRAP_KWP), Mechanism(CKM_AES_CBC_PAD, start)}) {
      Data bytes, signature;
      CK_OBJECT_HANDLE back = 0;
      ASSERT_EQ(wrap(mechanism, key, pair.private_key, bytes), CKR_OK);
      ASSERT_EQ(unwrap(mechanism, key, bytes, given, back), CKR_OK);
      ASSERT_EQ(sign(signing, back, text("message"), signature), CKR_OK);
      EXPECT_EQ(verify(signing, pair.public_key, text("message"), signature), CKR_OK);
      const Template wrong = Template().number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, other);
      EXPECT_EQ(unwrap(mechanism, key, bytes, wrong, back), CKR_WRAPPED_KEY_INVALID);
    }
  }
}

TEST_F(OwnWrap, AttributesSayWhatMayLeave) {
  const CK_OBJECT_HANDLE key = aes(), stays = aes();
  const CK_OBJECT_HANDLE picky = aes(32, Template().flag(CKA_EXTRACTABLE, true).flag(CKA_WRAP_WITH_TRUSTED, true));
  const CK_OBJECT_HANDLE free = aes(32, Template().flag(CKA_EXTRACTABLE, true).flag(CKA_ENCRYPT, true));
  const Pair pair = rsa(), exportable = ec(kP256, Template().flag(CKA_EXTRACTABLE, true));
  const Mechanism mechanism(CKM_AES_KEY_WRAP_KWP);
  Data bytes;
  EXPECT_EQ(wrap(mechanism, key, stays, bytes), CKR_KEY_UNEXTRACTABLE);
  EXPECT_EQ(wrap(mechanism, key, picky, bytes), CKR_KEY_NOT_WRAPPABLE);
  EXPECT_EQ(wrap(mechanism, key, pair.public_key, bytes), CKR_KEY_NOT_WRAPPABLE);
  EXPECT_EQ(wrap(mechanism, free, free, bytes), CKR_KEY_FUNCTION_NOT_PERMITTED);
  EXPECT_EQ(wrap(mechanism, pair.public_key, free, bytes), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(wrap(mechanism, 4711, free, bytes), CKR_WRAPPING_KEY_HANDLE_INVALID);
  EXPECT_EQ(wrap(mechanism, key, 4711, bytes), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(wrap(Mechanism(CKM_RSA_PKCS), pair.public_key, exportable.private_key, bytes), CKR_KEY_NOT_WRAPPABLE);
  EXPECT_EQ(wrap(Mechanism(CKM_AES_ECB), key, free, bytes), CKR_MECHANISM_INVALID);
  CK_OBJECT_HANDLE made = 0;
  EXPECT_EQ(unwrap(mechanism, 4711, Data(24), shown_secret(CKK_AES), made), CKR_UNWRAPPING_KEY_HANDLE_INVALID);
  EXPECT_EQ(unwrap(mechanism, pair.private_key, Data(24), shown_secret(CKK_AES), made),
            CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(unwrap(mechanism, key, Data(24), shown(), made), CKR_TEMPLATE_INCOMPLETE);
}

TEST_F(OwnWrap, OnlyTheSecurityOfficerMakesAKeyTrusted) {
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  ASSERT_EQ(login(s, CKU_SO, kSoPin), CKR_OK);
  const Template open_key = Template().flag(CKA_PRIVATE, false).flag(CKA_TOKEN, true).flag(CKA_TRUSTED, true);
  const CK_OBJECT_HANDLE trusted = secret(CKK_AES, Data(32, 1), open_key);
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  ASSERT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
  const CK_OBJECT_HANDLE picky = aes(32, Template().flag(CKA_EXTRACTABLE, true).flag(CKA_WRAP_WITH_TRUSTED, true));
  Data bytes;
  EXPECT_EQ(wrap(Mechanism(CKM_AES_KEY_WRAP), trusted, picky, bytes), CKR_OK);
  EXPECT_EQ(set(aes(), Template().flag(CKA_TRUSTED, true)), CKR_ATTRIBUTE_READ_ONLY);
}

TEST_F(OwnWrap, EcdhIsThatOfTheHost) {
  for (const Data& curve : {kP256, kP384, kP521, kSecp256k1}) {
    const Pair ours = ec(curve);
    const PKey our_public = host_key(ours.public_key);
    // A key of the host on the same curve.
    const KeyContext maker(EVP_PKEY_CTX_new(our_public.get(), nullptr));
    EVP_PKEY* made = nullptr;
    ASSERT_EQ(EVP_PKEY_keygen_init(maker.get()), 1);
    ASSERT_EQ(EVP_PKEY_keygen(maker.get(), &made), 1);
    const PKey theirs(made);
    const KeyContext context(EVP_PKEY_CTX_new(theirs.get(), nullptr));
    std::size_t size = 0;
    ASSERT_EQ(EVP_PKEY_derive_init(context.get()), 1);
    ASSERT_EQ(EVP_PKEY_derive_set_peer(context.get(), our_public.get()), 1);
    EVP_PKEY_derive(context.get(), nullptr, &size);
    Data expected(size), point(200);
    ASSERT_EQ(EVP_PKEY_derive(context.get(), expected.data(), &size), 1);
    ASSERT_EQ(EVP_PKEY_get_octet_string_param(theirs.get(), "pub", point.data(), point.size(), &size), 1);
    point.resize(size);
    Data wrapped = point.size() > 127 ? Data{4, 0x81} : Data{4};
    wrapped.push_back(static_cast<CK_BYTE>(point.size()));
    wrapped.insert(wrapped.end(), point.begin(), point.end());
    for (const Data& form : {point, wrapped}) {
      CK_OBJECT_HANDLE secret_key = 0;
      ASSERT_EQ(derive(ours.private_key, form, shown_secret(CKK_GENERIC_SECRET), secret_key), CKR_OK);
      EXPECT_EQ(attribute(secret_key, CKA_VALUE), expected);
      ASSERT_EQ(derive(ours.private_key, form, shown_secret(CKK_AES).number(CKA_VALUE_LEN, 16), secret_key), CKR_OK);
      EXPECT_EQ(attribute(secret_key, CKA_VALUE), Data(expected.end() - 16, expected.end()));
    }
    CK_OBJECT_HANDLE none = 0;
    Data off = point;
    off.back() ^= 1;
    EXPECT_EQ(derive(ours.private_key, off, shown_secret(CKK_GENERIC_SECRET), none), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(derive(ours.private_key, {}, shown_secret(CKK_GENERIC_SECRET), none), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(derive(ours.private_key, point, shown_secret(CKK_GENERIC_SECRET), none, CKD_SHA1_KDF),
              CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(derive(ours.private_key, point, shown_secret(CKK_AES), none), CKR_TEMPLATE_INCOMPLETE);
    EXPECT_EQ(derive(ours.private_key, point, shown_secret(CKK_GENERIC_SECRET).number(CKA_VALUE_LEN, 99), none),
              CKR_ATTRIBUTE_VALUE_INVALID);
    EXPECT_EQ(derive(ours.public_key, point, shown_secret(CKK_GENERIC_SECRET), none), CKR_KEY_TYPE_INCONSISTENT);
  }
}

TEST_F(OwnWrap, GeneratedSecretsHaveTheWantedSize) {
  CK_MECHANISM generic{CKM_GENERIC_SECRET_KEY_GEN, nullptr, 0}, block{CKM_AES_KEY_GEN, nullptr, 0};
  CK_OBJECT_HANDLE made = 0;
  Template given = shown().number(CKA_VALUE_LEN, 33), none = shown(), wrong = shown().number(CKA_VALUE_LEN, 17);
  ASSERT_EQ(f.C_GenerateKey(s, &generic, given.data(), given.size(), &made), CKR_OK);
  EXPECT_EQ(attribute(made, CKA_VALUE).size(), 33U);
  EXPECT_EQ(f.C_GenerateKey(s, &generic, none.data(), none.size(), &made), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(f.C_GenerateKey(s, &block, wrong.data(), wrong.size(), &made), CKR_KEY_SIZE_RANGE);
  EXPECT_EQ(f.C_GenerateKey(s, nullptr, given.data(), given.size(), &made), CKR_ARGUMENTS_BAD);
  CK_MECHANISM pair{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  EXPECT_EQ(f.C_GenerateKey(s, &pair, given.data(), given.size(), &made), CKR_MECHANISM_INVALID);
}

} // namespace
} // namespace hsmux::sim::own
