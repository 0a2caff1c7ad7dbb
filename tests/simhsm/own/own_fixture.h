// What the tests of the HSM have in common: two fresh tokens, the user logged in at the first one, and PKCS#11's
// functions with arguments that a test can write down. One thread, but for what is const.
#pragma once

#include <gtest/gtest.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simhsm/own/hsm.h"
#include "tests/simhsm/own/names_v3.h"
#include "tests/simhsm/own/openssl_objects.h"

namespace hsmux::sim::own {

using Data = std::vector<CK_BYTE>;

inline Data text(std::string_view value) { return {value.begin(), value.end()}; }

inline const Data kP256 = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
inline const Data kP384 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
inline const Data kP521 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23};
inline const Data kSecp256k1 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};
inline const Data kEd25519 = {0x06, 0x03, 0x2b, 0x65, 0x70};

class Template {
public:
  Template& bytes(CK_ATTRIBUTE_TYPE type, Data value) {
    values_.emplace_back(type, std::move(value));
    return *this;
  }
  Template& flag(CK_ATTRIBUTE_TYPE type, bool value) { return bytes(type, {CK_BBOOL(value ? CK_TRUE : CK_FALSE)}); }
  Template& number(CK_ATTRIBUTE_TYPE type, CK_ULONG value) {
    Data kept(sizeof value);
    std::memcpy(kept.data(), &value, sizeof value);
    return bytes(type, std::move(kept));
  }
  Template& drop_last() {
    values_.pop_back();
    return *this;
  }
  // Points into this.
  CK_ATTRIBUTE* data() {
    list_.clear();
    for (auto& [type, value] : values_) list_.push_back({type, value.data(), value.size()});
    return list_.data();
  }
  [[nodiscard]] CK_ULONG size() const { return values_.size(); }

private:
  std::vector<std::pair<CK_ATTRIBUTE_TYPE, Data>> values_;
  std::vector<CK_ATTRIBUTE> list_;
};

struct Pair {
  CK_OBJECT_HANDLE public_key = 0, private_key = 0;
};

struct Mechanism {
  explicit Mechanism(CK_MECHANISM_TYPE type) : value{type, nullptr, 0} {}
  template <class Parameter>
  Mechanism(CK_MECHANISM_TYPE type, Parameter& parameter) : value{type, &parameter, sizeof parameter} {}
  Mechanism(CK_MECHANISM_TYPE type, Data& parameter) : value{type, parameter.data(), parameter.size()} {}
  CK_MECHANISM value;
};

class Own : public ::testing::Test {
protected:
  static constexpr std::string_view kUserPin = "1234", kSoPin = "12345678";
  static constexpr unsigned kTries = 3;

  static CK_BYTE* pointer(std::string_view value) {
    return const_cast<CK_BYTE*>(reinterpret_cast<const CK_BYTE*>(value.data()));
  }

  static Settings settings() {
    Settings settings;
    settings.tokens = {{"alpha", "A1", std::string(kUserPin), std::string(kSoPin)},
                       {"beta", "B2", std::string(kUserPin), std::string(kSoPin)}};
    settings.user_pin_tries = kTries;
    return settings;
  }

  void SetUp() override {
    configure(settings());
    ASSERT_EQ(f.C_Initialize(nullptr), CKR_OK);
    for (const CK_SLOT_ID slot : {0UL, 1UL}) {
      const std::string label = std::string(slot == 0 ? "alpha" : "beta") + std::string(32, ' ');
      ASSERT_EQ(f.C_InitToken(slot, pointer(kSoPin), kSoPin.size(), pointer(label)), CKR_OK);
      const CK_SESSION_HANDLE session = open(true, slot);
      ASSERT_EQ(login(session, CKU_SO, kSoPin), CKR_OK);
      ASSERT_EQ(f.C_InitPIN(session, pointer(kUserPin), kUserPin.size()), CKR_OK);
      ASSERT_EQ(f.C_CloseSession(session), CKR_OK);
    }
    s = open();
    ASSERT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
  }
  void TearDown() override { f.C_Finalize(nullptr); }

  CK_SESSION_HANDLE open(bool read_write = true, CK_SLOT_ID slot = 0) const {
    CK_SESSION_HANDLE session = 0;
    const CK_FLAGS flags = CKF_SERIAL_SESSION | (read_write ? CKF_RW_SESSION : 0);
    EXPECT_EQ(f.C_OpenSession(slot, flags, nullptr, nullptr, &session), CKR_OK);
    return session;
  }
  CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, std::string_view pin) const {
    return f.C_Login(session, user, pointer(pin), pin.size());
  }
  CK_FLAGS token_flags(CK_SLOT_ID slot = 0) const {
    CK_TOKEN_INFO info{};
    EXPECT_EQ(f.C_GetTokenInfo(slot, &info), CKR_OK);
    return info.flags;
  }
  CK_STATE state(CK_SESSION_HANDLE session) const {
    CK_SESSION_INFO info{};
    EXPECT_EQ(f.C_GetSessionInfo(session, &info), CKR_OK);
    return info.state;
  }

  CK_RV create(Template given, CK_OBJECT_HANDLE* made) const {
    return f.C_CreateObject(s, given.data(), given.size(), made);
  }
  CK_OBJECT_HANDLE created(const Template& given) const {
    CK_OBJECT_HANDLE made = 0;
    EXPECT_EQ(create(given, &made), CKR_OK);
    return made;
  }
  CK_OBJECT_HANDLE secret(CK_KEY_TYPE type, const Data& value, Template given = {}) const {
    given.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, type).bytes(CKA_VALUE, value);
    return created(given);
  }
  CK_RV generate(CK_MECHANISM_TYPE type, Template of_public, Template of_private, Pair& pair) const {
    CK_MECHANISM mechanism{type, nullptr, 0};
    return f.C_GenerateKeyPair(s, &mechanism, of_public.data(), of_public.size(), of_private.data(), of_private.size(),
                               &pair.public_key, &pair.private_key);
  }
  Pair ec(const Data& curve, const Template& of_private = {}, Template of_public = {}) const {
    Pair pair;
    of_public.bytes(CKA_EC_PARAMS, curve);
    const CK_MECHANISM_TYPE type = curve == kEd25519 ? CKM_EC_EDWARDS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN;
    EXPECT_EQ(generate(type, of_public, of_private, pair), CKR_OK);
    return pair;
  }
  Pair rsa(const Template& of_private = {}) const {
    Pair pair;
    EXPECT_EQ(generate(CKM_RSA_PKCS_KEY_PAIR_GEN, Template().number(CKA_MODULUS_BITS, 2048), of_private, pair), CKR_OK);
    return pair;
  }
  CK_OBJECT_HANDLE aes(CK_ULONG bytes = 32, Template given = {}) const {
    CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
    given.number(CKA_VALUE_LEN, bytes);
    CK_OBJECT_HANDLE made = 0;
    EXPECT_EQ(f.C_GenerateKey(s, &mechanism, given.data(), given.size(), &made), CKR_OK);
    return made;
  }

  CK_RV get(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, Data& value) const {
    CK_ATTRIBUTE row{type, nullptr, 0};
    if (const CK_RV rv = f.C_GetAttributeValue(s, object, &row, 1); rv != CKR_OK) return rv;
    value.resize(row.ulValueLen);
    row.pValue = value.data();
    return f.C_GetAttributeValue(s, object, &row, 1);
  }
  Data attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const {
    Data value;
    EXPECT_EQ(get(object, type, value), CKR_OK);
    return value;
  }
  bool flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const { return attribute(object, type) == Data{CK_TRUE}; }
  CK_RV set(CK_OBJECT_HANDLE object, Template given) const {
    return f.C_SetAttributeValue(s, object, given.data(), given.size());
  }
  std::vector<CK_OBJECT_HANDLE> find(Template wanted = {}) const {
    std::vector<CK_OBJECT_HANDLE> found(1000);
    CK_ULONG count = 0;
    EXPECT_EQ(f.C_FindObjectsInit(s, wanted.data(), wanted.size()), CKR_OK);
    EXPECT_EQ(f.C_FindObjects(s, found.data(), found.size(), &count), CKR_OK);
    EXPECT_EQ(f.C_FindObjectsFinal(s), CKR_OK);
    found.resize(count);
    return found;
  }

  CK_RV sign(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data& signature) const {
    if (const CK_RV rv = f.C_SignInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    CK_ULONG size = 0;
    if (const CK_RV rv = f.C_Sign(s, data.data(), data.size(), nullptr, &size); rv != CKR_OK) return rv;
    signature.resize(size);
    const CK_RV rv = f.C_Sign(s, data.data(), data.size(), signature.data(), &size);
    signature.resize(size);
    return rv;
  }
  CK_RV verify(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data signature) const {
    if (const CK_RV rv = f.C_VerifyInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    return f.C_Verify(s, data.data(), data.size(), signature.data(), signature.size());
  }
  CK_RV encrypt(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data& result) const {
    if (const CK_RV rv = f.C_EncryptInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    return sized([&](CK_BYTE* out, CK_ULONG* size) { return f.C_Encrypt(s, data.data(), data.size(), out, size); },
                 result);
  }
  CK_RV decrypt(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data& result) const {
    if (const CK_RV rv = f.C_DecryptInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    return sized([&](CK_BYTE* out, CK_ULONG* size) { return f.C_Decrypt(s, data.data(), data.size(), out, size); },
                 result);
  }
  // Asks for the size, then for the answer.
  template <class Call> static CK_RV sized(Call call, Data& result) {
    CK_ULONG size = 0;
    if (const CK_RV rv = call(nullptr, &size); rv != CKR_OK) return rv;
    result.resize(std::max<CK_ULONG>(size, 1));
    const CK_RV rv = call(result.data(), &size);
    result.resize(rv == CKR_OK ? size : 0);
    return rv;
  }

  // The public half of a key, for OpenSSL on the host.
  PKey host_key(CK_OBJECT_HANDLE key) const {
    const Data der = attribute(key, CKA_PUBLIC_KEY_INFO);
    const unsigned char* at = der.data();
    return PKey(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));
  }
  CK_RV probe(CK_OBJECT_HANDLE key) const {
    Data signature;
    return sign(Mechanism(CKM_ECDSA), key, Data(32, 1), signature);
  }

  const CK_FUNCTION_LIST& f = functions();
  CK_SESSION_HANDLE s = 0;
};

} // namespace hsmux::sim::own
