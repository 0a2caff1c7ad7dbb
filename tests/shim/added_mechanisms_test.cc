// Added mechanisms give what OpenSSL accepts; hidden ones are gone from lists and use.
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <memory>
#include <ostream>

#include "slots/pkcs11.h"
#include "tests/shim/raw_token.h"
#include "tests/shim/shim.h"
#include "tests/token_folder.h"

namespace hsmux::shim {
namespace {

constexpr const char* kShim = HSMUX_TEST_SHIM;

template <auto kFree> struct Free {
  template <typename T> void operator()(T* object) const { kFree(object); }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using Digest = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM_free>>;
using Number = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, Free<ECDSA_SIG_free>>;

Number number(std::span<const CK_BYTE> bytes) {
  return Number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
}

Key key_from(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  EXPECT_EQ(EVP_PKEY_fromdata_init(context.get()), 1);
  EXPECT_EQ(EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()), 1);
  return Key(key);
}

class Mechanisms : public testing::Test {
protected:
  Mechanisms() { control_.reset(); }
  ~Mechanisms() override { control_.reset(); }

  std::vector<CK_MECHANISM_TYPE> listed() const {
    CK_ULONG count = 0;
    EXPECT_EQ(functions_.C_GetMechanismList(token_.slot(), nullptr, &count), CKR_OK);
    std::vector<CK_MECHANISM_TYPE> types(count);
    EXPECT_EQ(functions_.C_GetMechanismList(token_.slot(), types.data(), &count), CKR_OK);
    return types;
  }
  bool lists(CK_MECHANISM_TYPE type) const {
    const auto types = listed();
    return std::ranges::find(types, type) != types.end();
  }

  TokenFolder tokens_{1, kShim};
  ShimControl control_{kShim};
  const CK_FUNCTION_LIST& functions_ = functions_of(kShim);
  RawToken token_{functions_, tokens_};
};

TEST_F(Mechanisms, HiddenOneIsNeitherListedNorUsable) {
  const CK_OBJECT_HANDLE key = token_.generate_aes();
  ASSERT_TRUE(lists(CKM_AES_ECB));
  control_.hide_mechanism(CKM_AES_ECB);
  EXPECT_FALSE(lists(CKM_AES_ECB));
  CK_MECHANISM_INFO info{};
  EXPECT_EQ(functions_.C_GetMechanismInfo(token_.slot(), CKM_AES_ECB, &info), CKR_MECHANISM_INVALID);
  EXPECT_EQ(token_.encrypt_block(key).rv, CKR_MECHANISM_INVALID);
}

TEST_F(Mechanisms, AddedOneIsListedOnceAndTellsWhatItDoes) {
  control_.add_mechanism(CKM_ECDSA_SHA256);
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  const auto types = listed();
  EXPECT_EQ(std::ranges::count(types, CKM_ECDSA_SHA256), 1);
  EXPECT_EQ(std::ranges::count(types, CKM_RSA_PKCS_OAEP), 1);
  CK_MECHANISM_INFO info{};
  EXPECT_EQ(functions_.C_GetMechanismInfo(token_.slot(), CKM_ECDSA_SHA256, &info), CKR_OK);
  EXPECT_TRUE(info.flags & CKF_SIGN);
}

TEST_F(Mechanisms, ListRefusesABufferThatIsTooSmall) {
  control_.add_mechanism(CKM_ECDSA_SHA256);
  CK_MECHANISM_TYPE type = 0;
  CK_ULONG count = 1;
  EXPECT_EQ(functions_.C_GetMechanismList(token_.slot(), &type, &count), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(count, listed().size());
}

struct EcCase {
  const char* name;
  const char* group;
  std::vector<CK_BYTE> oid;
  CK_MECHANISM_TYPE mechanism;
  const EVP_MD* (*hash)();
};
void PrintTo(const EcCase& test, std::ostream* out) { *out << test.name; }

class HashedEcdsa : public Mechanisms, public testing::WithParamInterface<EcCase> {
protected:
  // The public key as OpenSSL has it. SoftHSM wraps the point in an OCTET STRING of less than 128 bytes.
  Key public_key(CK_OBJECT_HANDLE object) const {
    const Bytes wrapped = token_.attribute(object, CKA_EC_POINT);
    const Builder builder(OSSL_PARAM_BLD_new());
    OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, GetParam().group, 0);
    OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, wrapped.data() + 2, wrapped.size() - 2);
    return key_from("EC", builder.get());
  }
};

TEST_P(HashedEcdsa, SignatureOfAMessageIsGood) {
  control_.add_mechanism(GetParam().mechanism);
  control_.hide_mechanism(CKM_ECDSA);
  const KeyPair pair = token_.generate_ec(GetParam().oid);
  Bytes message(100, 'm'), raw(132);
  CK_ULONG bytes = raw.size();
  CK_MECHANISM mechanism{GetParam().mechanism, nullptr, 0};
  ASSERT_EQ(functions_.C_SignInit(token_.session(), &mechanism, pair.private_key), CKR_OK);
  ASSERT_EQ(functions_.C_Sign(token_.session(), message.data(), message.size(), raw.data(), &bytes), CKR_OK);
  raw.resize(bytes);

  const Signature signature(ECDSA_SIG_new());
  ECDSA_SIG_set0(signature.get(), number(std::span(raw).first(bytes / 2)).release(),
                 number(std::span(raw).last(bytes / 2)).release());
  unsigned char* der = nullptr;
  const int der_bytes = i2d_ECDSA_SIG(signature.get(), &der);
  const Key key = public_key(pair.public_key);
  const Digest digest(EVP_MD_CTX_new());
  ASSERT_EQ(EVP_DigestVerifyInit(digest.get(), nullptr, GetParam().hash(), nullptr, key.get()), 1);
  EXPECT_EQ(EVP_DigestVerify(digest.get(), der, static_cast<std::size_t>(der_bytes), message.data(), message.size()),
            1);
  OPENSSL_free(der);
}

TEST_P(HashedEcdsa, AfterwardsRawEcdsaIsRawAgain) {
  control_.add_mechanism(GetParam().mechanism);
  const KeyPair pair = token_.generate_ec(GetParam().oid);
  Bytes message(32, 'm'), raw(132);
  for (const CK_MECHANISM_TYPE type : {GetParam().mechanism, CK_MECHANISM_TYPE{CKM_ECDSA}}) {
    CK_MECHANISM mechanism{type, nullptr, 0};
    CK_ULONG bytes = raw.size();
    ASSERT_EQ(functions_.C_SignInit(token_.session(), &mechanism, pair.private_key), CKR_OK);
    ASSERT_EQ(functions_.C_Sign(token_.session(), message.data(), message.size(), raw.data(), &bytes), CKR_OK);
    raw.resize(bytes);
  }
  CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
  ASSERT_EQ(functions_.C_VerifyInit(token_.session(), &mechanism, pair.public_key), CKR_OK);
  EXPECT_EQ(functions_.C_Verify(token_.session(), message.data(), message.size(), raw.data(), raw.size()), CKR_OK);
}

INSTANTIATE_TEST_SUITE_P(
    Curves, HashedEcdsa,
    testing::Values(
        EcCase{"P256", "P-256", {6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7}, CKM_ECDSA_SHA256, EVP_sha256},
        EcCase{"P384", "P-384", {6, 5, 0x2B, 0x81, 4, 0, 0x22}, CKM_ECDSA_SHA384, EVP_sha384}),
    [](const auto& test) { return test.param.name; });

class Oaep : public Mechanisms {
protected:
  Bytes encrypt(const EVP_MD* hash, const Bytes& plain, const std::string& label = "") const {
    const Bytes modulus = token_.attribute(pair_.public_key, CKA_MODULUS);
    const Bytes exponent = token_.attribute(pair_.public_key, CKA_PUBLIC_EXPONENT);
    const Number n = number(modulus), e = number(exponent);
    const Builder builder(OSSL_PARAM_BLD_new());
    OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
    OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
    const Key key = key_from("RSA", builder.get());
    const KeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
    EVP_PKEY_encrypt_init(context.get());
    EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING);
    EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), hash);
    EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), hash);
    if (!label.empty()) {
      EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), OPENSSL_strdup(label.c_str()), static_cast<int>(label.size()));
    }
    Bytes out(256);
    std::size_t bytes = out.size();
    EXPECT_EQ(EVP_PKEY_encrypt(context.get(), out.data(), &bytes, plain.data(), plain.size()), 1);
    return out;
  }

  CK_RV init(std::string label = "") const {
    CK_RSA_PKCS_OAEP_PARAMS params{CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED,
                                   label.empty() ? nullptr : label.data(), label.size()};
    CK_MECHANISM mechanism{CKM_RSA_PKCS_OAEP, &params, sizeof params};
    return functions_.C_DecryptInit(token_.session(), &mechanism, pair_.private_key);
  }
  CK_RV decrypt(Bytes cipher, Bytes& plain) const {
    CK_ULONG bytes = plain.size();
    const CK_RV rv = functions_.C_Decrypt(token_.session(), cipher.data(), cipher.size(), plain.data(), &bytes);
    plain.resize(rv == CKR_OK ? bytes : plain.size());
    return rv;
  }

  KeyPair pair_ = token_.generate_rsa();
  const Bytes message_ = {'s', 'e', 'c', 'r', 'e', 't'};
  Bytes plain_ = Bytes(256);
};

TEST_F(Oaep, WithSha256IsRefusedUntilAdded) {
  if (TokenFolder::external()) GTEST_SKIP() << "about SoftHSM 2.6.1";
  EXPECT_NE(init(), CKR_OK);
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  EXPECT_EQ(init(), CKR_OK);
}

TEST_F(Oaep, DecryptsWhatOpensslEncrypted) {
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  for (const char* label : {"", "label"}) {
    plain_.resize(256);
    ASSERT_EQ(init(label), CKR_OK);
    EXPECT_EQ(decrypt(encrypt(EVP_sha256(), message_, label), plain_), CKR_OK);
    EXPECT_EQ(plain_, message_);
  }
}

TEST_F(Oaep, WorksWhereRawRsaIsHidden) {
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  control_.hide_mechanism(CKM_RSA_X_509);
  ASSERT_EQ(init(), CKR_OK);
  EXPECT_EQ(decrypt(encrypt(EVP_sha256(), message_), plain_), CKR_OK);
}

TEST_F(Oaep, WrongPaddingOrLabelIsInvalidData) {
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  ASSERT_EQ(init(), CKR_OK);
  EXPECT_EQ(decrypt(encrypt(EVP_sha1(), message_), plain_), CKR_ENCRYPTED_DATA_INVALID);
  ASSERT_EQ(init("label"), CKR_OK);
  EXPECT_EQ(decrypt(encrypt(EVP_sha256(), message_), plain_), CKR_ENCRYPTED_DATA_INVALID);
}

TEST_F(Oaep, GoesOnAfterABufferThatIsTooSmall) {
  control_.add_mechanism(CKM_RSA_PKCS_OAEP);
  const Bytes cipher = encrypt(EVP_sha256(), message_);
  Bytes small(message_.size() - 1);
  ASSERT_EQ(init(), CKR_OK);
  EXPECT_EQ(decrypt(cipher, small), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(decrypt(cipher, plain_), CKR_OK);
  EXPECT_EQ(plain_, message_);
}

} // namespace
} // namespace hsmux::shim
