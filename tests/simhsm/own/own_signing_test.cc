// Signatures, MACs and digests of the HSM in memory, checked by OpenSSL on the host.
#include <gmock/gmock.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "tests/simhsm/own/own_fixture.h"

namespace hsmux::sim::own {
namespace {

struct Hashed {
  CK_MECHANISM_TYPE mechanism;
  const EVP_MD* digest;
};

class OwnSigning : public Own {
protected:
  static Data ecdsa_der(const Data& signature) {
    using Signature = Handle<ECDSA_SIG, ECDSA_SIG_free>;
    const Signature made(ECDSA_SIG_new());
    const View all(signature);
    ECDSA_SIG_set0(made.get(), number_from(all.first(all.size() / 2)).release(),
                   number_from(all.subspan(all.size() / 2)).release());
    Data der(static_cast<std::size_t>(i2d_ECDSA_SIG(made.get(), nullptr)));
    unsigned char* at = der.data();
    i2d_ECDSA_SIG(made.get(), &at);
    return der;
  }
  template <class Prepare>
  static bool host_verifies(const PKey& key, const EVP_MD* digest, const Data& data, const Data& signature,
                            Prepare prepare) {
    const DigestContext context(EVP_MD_CTX_new());
    EVP_PKEY_CTX* parameters = nullptr;
    if (EVP_DigestVerifyInit(context.get(), &parameters, digest, nullptr, key.get()) != 1) return false;
    prepare(parameters);
    return EVP_DigestVerify(context.get(), signature.data(), signature.size(), data.data(), data.size()) == 1;
  }
  static bool host_verifies(const PKey& key, const EVP_MD* digest, const Data& data, const Data& signature) {
    return host_verifies(key, digest, data, signature, [](EVP_PKEY_CTX*) {});
  }
  // In parts of one, two, three, ... bytes.
  CK_RV sign_in_parts(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data& signature) const {
    if (const CK_RV rv = f.C_SignInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    for (std::size_t at = 0, step = 1; at < data.size(); at += step++) {
      EXPECT_EQ(f.C_SignUpdate(s, data.data() + at, std::min(step, data.size() - at)), CKR_OK);
    }
    return sized([&](CK_BYTE* out, CK_ULONG* size) { return f.C_SignFinal(s, out, size); }, signature);
  }
  CK_RV verify_in_parts(Mechanism mechanism, CK_OBJECT_HANDLE key, Data data, Data signature) const {
    if (const CK_RV rv = f.C_VerifyInit(s, &mechanism.value, key); rv != CKR_OK) return rv;
    for (CK_BYTE& each : data) EXPECT_EQ(f.C_VerifyUpdate(s, &each, 1), CKR_OK);
    return f.C_VerifyFinal(s, signature.data(), signature.size());
  }
  // What every mechanism does alike.
  void check_verification(const Mechanism& mechanism, CK_OBJECT_HANDLE key, const Data& data, Data signature) const {
    EXPECT_EQ(verify(mechanism, key, data, signature), CKR_OK);
    EXPECT_EQ(verify_in_parts(mechanism, key, data, signature), CKR_OK);
    signature.back() ^= 1;
    EXPECT_EQ(verify(mechanism, key, data, signature), CKR_SIGNATURE_INVALID);
    EXPECT_EQ(verify_in_parts(mechanism, key, data, signature), CKR_SIGNATURE_INVALID);
    signature.pop_back();
    EXPECT_EQ(verify(mechanism, key, data, signature), CKR_SIGNATURE_LEN_RANGE);
  }

  const Data message = text("a message that is longer than a block of any of the hashes? No, but long enough.");
};

TEST_F(OwnSigning, EcdsaWithEveryHashOnEveryCurve) {
  const std::array hashes = {Hashed{CKM_ECDSA_SHA1, EVP_sha1()}, Hashed{CKM_ECDSA_SHA224, EVP_sha224()},
                             Hashed{CKM_ECDSA_SHA256, EVP_sha256()}, Hashed{CKM_ECDSA_SHA384, EVP_sha384()},
                             Hashed{CKM_ECDSA_SHA512, EVP_sha512()}};
  for (const Data& curve : {kP256, kP384, kP521, kSecp256k1}) {
    const Pair pair = ec(curve);
    const PKey host = host_key(pair.public_key);
    for (const Hashed& each : hashes) {
      Data signature;
      ASSERT_EQ(sign(Mechanism(each.mechanism), pair.private_key, message, signature), CKR_OK);
      EXPECT_TRUE(host_verifies(host, each.digest, message, ecdsa_der(signature)));
      check_verification(Mechanism(each.mechanism), pair.public_key, message, signature);
      ASSERT_EQ(sign_in_parts(Mechanism(each.mechanism), pair.private_key, message, signature), CKR_OK);
      EXPECT_TRUE(host_verifies(host, each.digest, message, ecdsa_der(signature)));
    }
  }
}

TEST_F(OwnSigning, EcdsaTakesTheLeadingBitsOfALongDigest) {
  const Pair pair = ec(kP256);
  const PKey host = host_key(pair.public_key);
  const Bytes digest = digest_of(EVP_sha512(), message);
  Data signature;
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), pair.private_key, Data(digest.begin(), digest.end()), signature), CKR_OK);
  const Data der = ecdsa_der(signature);
  const KeyContext context(EVP_PKEY_CTX_new(host.get(), nullptr));
  ASSERT_EQ(EVP_PKEY_verify_init(context.get()), 1);
  EXPECT_EQ(EVP_PKEY_verify(context.get(), der.data(), der.size(), digest.data(), 32), 1);
  check_verification(Mechanism(CKM_ECDSA), pair.public_key, Data(digest.begin(), digest.begin() + 32), signature);
}

TEST_F(OwnSigning, EddsaIsPure) {
  const Pair pair = ec(kEd25519);
  Data signature;
  ASSERT_EQ(sign(Mechanism(CKM_EDDSA), pair.private_key, message, signature), CKR_OK);
  EXPECT_TRUE(host_verifies(host_key(pair.public_key), nullptr, message, signature));
  check_verification(Mechanism(CKM_EDDSA), pair.public_key, message, signature);
  Data same;
  ASSERT_EQ(sign_in_parts(Mechanism(CKM_EDDSA), pair.private_key, message, same), CKR_OK);
  EXPECT_EQ(same, signature);
}

TEST_F(OwnSigning, RsaWithEveryHashAndPadding) {
  const Pair pair = rsa();
  const PKey host = host_key(pair.public_key);
  for (const Hashed& each : {Hashed{CKM_SHA1_RSA_PKCS, EVP_sha1()}, Hashed{CKM_SHA256_RSA_PKCS, EVP_sha256()},
                             Hashed{CKM_SHA384_RSA_PKCS, EVP_sha384()}, Hashed{CKM_SHA512_RSA_PKCS, EVP_sha512()}}) {
    Data signature, same;
    ASSERT_EQ(sign(Mechanism(each.mechanism), pair.private_key, message, signature), CKR_OK);
    EXPECT_TRUE(host_verifies(host, each.digest, message, signature));
    check_verification(Mechanism(each.mechanism), pair.public_key, message, signature);
    ASSERT_EQ(sign_in_parts(Mechanism(each.mechanism), pair.private_key, message, same), CKR_OK);
    EXPECT_EQ(same, signature);
  }
  struct Padded {
    Hashed hashed;
    CK_RSA_PKCS_PSS_PARAMS parameter;
  };
  for (Padded each : {Padded{{CKM_SHA256_RSA_PKCS_PSS, EVP_sha256()}, {CKM_SHA256, CKG_MGF1_SHA256, 32}},
                      Padded{{CKM_SHA384_RSA_PKCS_PSS, EVP_sha384()}, {CKM_SHA384, CKG_MGF1_SHA384, 0}},
                      Padded{{CKM_SHA512_RSA_PKCS_PSS, EVP_sha512()}, {CKM_SHA512, CKG_MGF1_SHA512, 190}},
                      Padded{{CKM_RSA_PKCS_PSS, EVP_sha256()}, {CKM_SHA256, CKG_MGF1_SHA1, 20}}}) {
    const Mechanism mechanism(each.hashed.mechanism, each.parameter);
    const Bytes digest = digest_of(each.hashed.digest, message);
    const bool raw = each.hashed.mechanism == CKM_RSA_PKCS_PSS;
    const Data data = raw ? Data(digest.begin(), digest.end()) : message;
    Data signature;
    ASSERT_EQ(sign(mechanism, pair.private_key, data, signature), CKR_OK);
    EXPECT_TRUE(host_verifies(host, each.hashed.digest, message, signature, [&](EVP_PKEY_CTX* context) {
      EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(context, static_cast<int>(each.parameter.sLen));
      if (raw) EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha1());
    }));
    check_verification(mechanism, pair.public_key, data, signature);
    EXPECT_EQ(sign(mechanism, pair.private_key, message, signature), raw ? CKR_DATA_LEN_RANGE : CKR_OK);
  }
}

TEST_F(OwnSigning, PssParametersAreChecked) {
  const Pair pair = rsa();
  Data signature;
  for (CK_RSA_PKCS_PSS_PARAMS wrong :
       {CK_RSA_PKCS_PSS_PARAMS{CKM_SHA384, CKG_MGF1_SHA256, 32}, CK_RSA_PKCS_PSS_PARAMS{CKM_SHA256, 99, 32},
        CK_RSA_PKCS_PSS_PARAMS{CKM_SHA256, CKG_MGF1_SHA256, 223}}) {
    EXPECT_EQ(sign(Mechanism(CKM_SHA256_RSA_PKCS_PSS, wrong), pair.private_key, message, signature),
              CKR_MECHANISM_PARAM_INVALID);
  }
  EXPECT_EQ(sign(Mechanism(CKM_RSA_PKCS_PSS), pair.private_key, message, signature), CKR_MECHANISM_PARAM_INVALID);
  CK_BYTE junk = 0;
  EXPECT_EQ(sign(Mechanism(CKM_RSA_PKCS, junk), pair.private_key, message, signature), CKR_MECHANISM_PARAM_INVALID);
}

TEST_F(OwnSigning, RsaOfWhatTheCallerPadded) {
  const Pair pair = rsa();
  const PKey host = host_key(pair.public_key);
  Data signature;
  ASSERT_EQ(sign(Mechanism(CKM_RSA_PKCS), pair.private_key, message, signature), CKR_OK);
  const KeyContext context(EVP_PKEY_CTX_new(host.get(), nullptr));
  EVP_PKEY_verify_init(context.get());
  EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PADDING);
  EXPECT_EQ(EVP_PKEY_verify(context.get(), signature.data(), signature.size(), message.data(), message.size()), 1);
  check_verification(Mechanism(CKM_RSA_PKCS), pair.public_key, message, signature);
  EXPECT_EQ(sign(Mechanism(CKM_RSA_PKCS), pair.private_key, Data(246), signature), CKR_DATA_LEN_RANGE);
  ASSERT_EQ(sign(Mechanism(CKM_RSA_X_509), pair.private_key, message, signature), CKR_OK);
  check_verification(Mechanism(CKM_RSA_X_509), pair.public_key, message, signature);
  EXPECT_EQ(sign(Mechanism(CKM_RSA_X_509), pair.private_key, Data(257), signature), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(sign(Mechanism(CKM_RSA_X_509), pair.private_key, Data(256, 0xff), signature), CKR_DATA_INVALID);
}

TEST_F(OwnSigning, HmacIsThatOfTheHost) {
  const Data key(40, 0x5a);
  const CK_OBJECT_HANDLE handle = secret(CKK_GENERIC_SECRET, key);
  Data mac, same, expected(32);
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(), message.size(), expected.data(),
       nullptr);
  ASSERT_EQ(sign(Mechanism(CKM_SHA256_HMAC), handle, message, mac), CKR_OK);
  EXPECT_EQ(mac, expected);
  ASSERT_EQ(sign_in_parts(Mechanism(CKM_SHA256_HMAC), handle, message, same), CKR_OK);
  EXPECT_EQ(same, expected);
  check_verification(Mechanism(CKM_SHA256_HMAC), handle, message, mac);
}

TEST_F(OwnSigning, DigestsAreThoseOfTheHost) {
  for (const Hashed& each :
       {Hashed{CKM_SHA_1, EVP_sha1()}, Hashed{CKM_SHA224, EVP_sha224()}, Hashed{CKM_SHA256, EVP_sha256()},
        Hashed{CKM_SHA384, EVP_sha384()}, Hashed{CKM_SHA512, EVP_sha512()}}) {
    const Bytes expected = digest_of(each.digest, message);
    Mechanism mechanism(each.mechanism);
    Data data = message, result;
    ASSERT_EQ(f.C_DigestInit(s, &mechanism.value), CKR_OK);
    EXPECT_EQ(f.C_DigestInit(s, &mechanism.value), CKR_OPERATION_ACTIVE);
    ASSERT_EQ(
        sized([&](CK_BYTE* out, CK_ULONG* size) { return f.C_Digest(s, data.data(), data.size(), out, size); }, result),
        CKR_OK);
    EXPECT_TRUE(std::ranges::equal(result, expected));
    ASSERT_EQ(f.C_DigestInit(s, &mechanism.value), CKR_OK);
    for (CK_BYTE& byte : data) ASSERT_EQ(f.C_DigestUpdate(s, &byte, 1), CKR_OK);
    ASSERT_EQ(sized([&](CK_BYTE* out, CK_ULONG* size) { return f.C_DigestFinal(s, out, size); }, result), CKR_OK);
    EXPECT_TRUE(std::ranges::equal(result, expected));
  }
  EXPECT_EQ(f.C_DigestUpdate(s, nullptr, 0), CKR_OPERATION_NOT_INITIALIZED);
}

TEST_F(OwnSigning, TheBufferRulesKeepTheOperation) {
  const Pair pair = ec(kP256);
  CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
  Data data(32, 1), signature(64);
  CK_ULONG size = 0;
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  EXPECT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), nullptr, &size), CKR_OK);
  EXPECT_EQ(size, 64U);
  size = 63;
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, 64U);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_OK);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_OPERATION_NOT_INITIALIZED);
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  EXPECT_EQ(f.C_Sign(s, nullptr, 5, signature.data(), &size), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(f.C_SignUpdate(s, data.data(), 1), CKR_OPERATION_NOT_INITIALIZED);
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  EXPECT_EQ(f.C_SignInit(s, nullptr, 0), CKR_OK); // cancels
  EXPECT_EQ(f.C_SignInit(s, nullptr, 0), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(f.C_SignFinal(s, signature.data(), &size), CKR_OPERATION_NOT_INITIALIZED);
}

TEST_F(OwnSigning, KeysAreUsedOnlyForWhatTheyAre) {
  const Pair pair = ec(kP256, Template().flag(CKA_DERIVE, true)), usual = ec(kP256);
  const CK_OBJECT_HANDLE key = aes();
  Data signature;
  const auto rv = [&](CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE handle) {
    return sign(Mechanism(type), handle, Data(32), signature);
  };
  EXPECT_EQ(rv(CKM_ECDSA, 4711), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(rv(CKM_ECDSA, pair.private_key), CKR_KEY_FUNCTION_NOT_PERMITTED);
  EXPECT_EQ(rv(CKM_ECDSA, usual.public_key), CKR_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(rv(CKM_ECDSA, key), CKR_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(rv(CKM_RSA_PKCS, usual.private_key), CKR_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(rv(CKM_EDDSA, usual.private_key), CKR_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(rv(CKM_AES_GCM, key), CKR_MECHANISM_INVALID);
  EXPECT_EQ(rv(CKM_DSA, usual.private_key), CKR_MECHANISM_INVALID);
  Data allowed(sizeof(CK_MECHANISM_TYPE));
  const CK_MECHANISM_TYPE only = CKM_ECDSA_SHA256;
  std::memcpy(allowed.data(), &only, sizeof only);
  const Pair narrow = ec(kP256, Template().bytes(CKA_ALLOWED_MECHANISMS, allowed));
  EXPECT_EQ(rv(CKM_ECDSA, narrow.private_key), CKR_MECHANISM_INVALID);
  EXPECT_EQ(rv(CKM_ECDSA_SHA256, narrow.private_key), CKR_OK);
}

TEST_F(OwnSigning, CannedAnswersAreTheFirstOnes) {
  Settings canned = settings();
  canned.canned = true;
  configure(canned);
  const Pair pair = ec(kP256), other = ec(kP256);
  Data first, second;
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), pair.private_key, Data(32, 1), first), CKR_OK);
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), pair.private_key, Data(32, 2), second), CKR_OK);
  EXPECT_EQ(first, second);
  EXPECT_EQ(verify(Mechanism(CKM_ECDSA), pair.public_key, Data(32, 1), second), CKR_OK);
  EXPECT_EQ(verify(Mechanism(CKM_ECDSA), pair.public_key, Data(32, 2), second), CKR_SIGNATURE_INVALID);
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), pair.private_key, Data(33, 1), second), CKR_OK);
  EXPECT_NE(first, second);
  ASSERT_EQ(sign(Mechanism(CKM_ECDSA), other.private_key, Data(32, 1), second), CKR_OK);
  EXPECT_NE(first, second);
  for (std::size_t bytes = 0; bytes < 100; ++bytes) {
    ASSERT_EQ(sign(Mechanism(CKM_ECDSA), pair.private_key, Data(bytes, 1), second), CKR_OK);
    EXPECT_EQ(verify(Mechanism(CKM_ECDSA), pair.public_key, Data(bytes, 1), second), CKR_OK);
  }
}

} // namespace
} // namespace hsmux::sim::own
