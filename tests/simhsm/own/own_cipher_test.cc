// Encryption and decryption in the HSM in memory, checked by OpenSSL on the host.
#include <gmock/gmock.h>
#include <openssl/rsa.h>

#include "tests/simhsm/own/own_fixture.h"

namespace hsmux::sim::own {
namespace {

class OwnCipher : public Own {
protected:
  using Init = CK_C_EncryptInit CK_FUNCTION_LIST::*;
  using Update = CK_C_EncryptUpdate CK_FUNCTION_LIST::*;
  using Final = CK_C_EncryptFinal CK_FUNCTION_LIST::*;

  // In parts of `step` bytes, each first asked for its size.
  CK_RV in_parts(bool encrypting, Mechanism mechanism, CK_OBJECT_HANDLE key, Data input, std::size_t step,
                 Data& result) const {
    const Init init = encrypting ? &CK_FUNCTION_LIST::C_EncryptInit : &CK_FUNCTION_LIST::C_DecryptInit;
    const Update update = encrypting ? &CK_FUNCTION_LIST::C_EncryptUpdate : &CK_FUNCTION_LIST::C_DecryptUpdate;
    const Final final = encrypting ? &CK_FUNCTION_LIST::C_EncryptFinal : &CK_FUNCTION_LIST::C_DecryptFinal;
    result.clear();
    if (const CK_RV rv = (f.*init)(s, &mechanism.value, key); rv != CKR_OK) return rv;
    Data part;
    for (std::size_t at = 0; at < input.size(); at += step) {
      const std::size_t bytes = std::min(step, input.size() - at);
      const auto call = [&](CK_BYTE* out, CK_ULONG* size) {
        return (f.*update)(s, input.data() + at, bytes, out, size);
      };
      CK_ULONG told = 0;
      EXPECT_EQ(call(nullptr, &told), CKR_OK);
      EXPECT_EQ(sized(call, part), CKR_OK);
      EXPECT_EQ(part.size(), told);
      result.insert(result.end(), part.begin(), part.end());
    }
    part.resize(input.size() + 32);
    CK_ULONG size = part.size();
    const CK_RV rv = (f.*final)(s, part.data(), &size);
    if (rv == CKR_OK) result.insert(result.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(size));
    return rv;
  }
  void check_parts(const Mechanism& mechanism, CK_OBJECT_HANDLE key, const Data& plain, const Data& expected) const {
    for (const std::size_t step : {1U, 7U, 16U, 17U, 1000U}) {
      Data result;
      EXPECT_EQ(in_parts(true, mechanism, key, plain, step, result), CKR_OK);
      EXPECT_EQ(result, expected) << step;
      EXPECT_EQ(in_parts(false, mechanism, key, expected, step, result), CKR_OK);
      EXPECT_EQ(result, plain) << step;
    }
  }
  static Data host_cipher(const char* name, const Data& key, const Data& start, bool pad, const Data& plain) {
    const CipherContext context(EVP_CIPHER_CTX_new());
    const Handle<EVP_CIPHER, EVP_CIPHER_free> cipher(EVP_CIPHER_fetch(nullptr, name, nullptr));
    EVP_EncryptInit_ex2(context.get(), cipher.get(), key.data(), start.empty() ? nullptr : start.data(), nullptr);
    EVP_CIPHER_CTX_set_padding(context.get(), pad ? 1 : 0);
    Data result(plain.size() + 16);
    int written = 0, last = 0;
    EVP_EncryptUpdate(context.get(), result.data(), &written, plain.data(), static_cast<int>(plain.size()));
    EVP_EncryptFinal_ex(context.get(), result.data() + written, &last);
    result.resize(static_cast<std::size_t>(written + last));
    return result;
  }
  static Data host_gcm(const Data& key, const Data& start, const Data& associated, const Data& plain, int tag) {
    const CipherContext context(EVP_CIPHER_CTX_new());
    EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, nullptr, nullptr);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_IVLEN, static_cast<int>(start.size()), nullptr);
    EVP_EncryptInit_ex(context.get(), nullptr, nullptr, key.data(), start.data());
    Data result(plain.size() + static_cast<std::size_t>(tag));
    int written = 0;
    EVP_EncryptUpdate(context.get(), nullptr, &written, associated.data(), static_cast<int>(associated.size()));
    EVP_EncryptUpdate(context.get(), result.data(), &written, plain.data(), static_cast<int>(plain.size()));
    EVP_EncryptFinal_ex(context.get(), result.data() + plain.size(), &written);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, tag, result.data() + plain.size());
    return result;
  }
  static Data counted(std::size_t bytes) {
    Data data(bytes);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<CK_BYTE>(i);
    return data;
  }
  struct Oaep {
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mask;
    const EVP_MD *host_hash, *host_mask;
  };
};

TEST_F(OwnCipher, AesBlockModesAreThoseOfTheHost) {
  struct Size {
    std::size_t bytes;
    const char *ecb, *cbc;
  };
  Data start = counted(16);
  for (const Size& size : {Size{16, "AES-128-ECB", "AES-128-CBC"}, Size{24, "AES-192-ECB", "AES-192-CBC"},
                           Size{32, "AES-256-ECB", "AES-256-CBC"}}) {
    const Data value(size.bytes, 9);
    const CK_OBJECT_HANDLE key = secret(CKK_AES, value);
    for (const std::size_t bytes : {0U, 16U, 64U, 100U}) {
      const Data plain = counted(bytes);
      Data result;
      if (bytes % 16 == 0) {
        ASSERT_EQ(encrypt(Mechanism(CKM_AES_ECB), key, plain, result), CKR_OK);
        EXPECT_EQ(result, host_cipher(size.ecb, value, {}, false, plain));
        check_parts(Mechanism(CKM_AES_ECB), key, plain, result);
        ASSERT_EQ(decrypt(Mechanism(CKM_AES_ECB), key, result, result), CKR_OK);
        EXPECT_EQ(result, plain);
        ASSERT_EQ(encrypt(Mechanism(CKM_AES_CBC, start), key, plain, result), CKR_OK);
        EXPECT_EQ(result, host_cipher(size.cbc, value, start, false, plain));
        check_parts(Mechanism(CKM_AES_CBC, start), key, plain, result);
      }
      ASSERT_EQ(encrypt(Mechanism(CKM_AES_CBC_PAD, start), key, plain, result), CKR_OK);
      EXPECT_EQ(result, host_cipher(size.cbc, value, start, true, plain));
      check_parts(Mechanism(CKM_AES_CBC_PAD, start), key, plain, result);
      ASSERT_EQ(decrypt(Mechanism(CKM_AES_CBC_PAD, start), key, result, result), CKR_OK);
      EXPECT_EQ(result, plain);
    }
  }
}

TEST_F(OwnCipher, BlockModesCheckLengthsPaddingAndParameters) {
  const CK_OBJECT_HANDLE key = aes();
  Data start(16), result;
  EXPECT_EQ(encrypt(Mechanism(CKM_AES_CBC, start), key, Data(17), result), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(encrypt(Mechanism(CKM_AES_ECB), key, Data(1), result), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(decrypt(Mechanism(CKM_AES_CBC, start), key, Data(17), result), CKR_ENCRYPTED_DATA_LEN_RANGE);
  EXPECT_EQ(decrypt(Mechanism(CKM_AES_CBC_PAD, start), key, {}, result), CKR_ENCRYPTED_DATA_LEN_RANGE);
  EXPECT_EQ(in_parts(true, Mechanism(CKM_AES_CBC, start), key, Data(17), 5, result), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(in_parts(false, Mechanism(CKM_AES_CBC_PAD, start), key, Data(17), 5, result), CKR_ENCRYPTED_DATA_LEN_RANGE);
  Data wrong;
  ASSERT_EQ(encrypt(Mechanism(CKM_AES_CBC, start), key, Data(32), wrong), CKR_OK);
  EXPECT_EQ(decrypt(Mechanism(CKM_AES_CBC_PAD, start), key, wrong, result), CKR_ENCRYPTED_DATA_INVALID);
  EXPECT_EQ(in_parts(false, Mechanism(CKM_AES_CBC_PAD, start), key, wrong, 16, result), CKR_ENCRYPTED_DATA_INVALID);
  Data short_start(15);
  EXPECT_EQ(encrypt(Mechanism(CKM_AES_CBC, short_start), key, Data(16), result), CKR_MECHANISM_PARAM_INVALID);
  EXPECT_EQ(encrypt(Mechanism(CKM_AES_ECB, start), key, Data(16), result), CKR_MECHANISM_PARAM_INVALID);
  CK_MECHANISM null_parameter{CKM_AES_CBC, nullptr, 16};
  EXPECT_EQ(f.C_EncryptInit(s, &null_parameter, key), CKR_MECHANISM_PARAM_INVALID);
}

TEST_F(OwnCipher, GcmIsThatOfTheHost) {
  const Data value(32, 9);
  const CK_OBJECT_HANDLE key = secret(CKK_AES, value);
  for (const std::size_t start_bytes : {1U, 12U, 16U, 128U}) {
    for (const std::size_t plain_bytes : {0U, 1U, 16U, 100U}) {
      for (const CK_ULONG tag_bits : {96UL, 104UL, 128UL}) {
        Data start = counted(start_bytes), associated = text("associated");
        const Data plain = counted(plain_bytes);
        CK_GCM_PARAMS parameter{start.data(),      start.size(),      start.size() * 8,
                                associated.data(), associated.size(), tag_bits};
        const Mechanism mechanism(CKM_AES_GCM, parameter);
        Data result, back;
        ASSERT_EQ(encrypt(mechanism, key, plain, result), CKR_OK);
        EXPECT_EQ(result, host_gcm(value, start, associated, plain, static_cast<int>(tag_bits / 8)));
        ASSERT_EQ(decrypt(mechanism, key, result, back), CKR_OK);
        EXPECT_EQ(back, plain);
        check_parts(mechanism, key, plain, result);
        result.back() ^= 1;
        EXPECT_EQ(decrypt(mechanism, key, result, back), CKR_ENCRYPTED_DATA_INVALID);
        EXPECT_EQ(in_parts(false, mechanism, key, result, 7, back), CKR_ENCRYPTED_DATA_INVALID);
        EXPECT_EQ(decrypt(mechanism, key, Data(11), back), CKR_ENCRYPTED_DATA_LEN_RANGE);
      }
    }
  }
}

TEST_F(OwnCipher, GcmParametersAreChecked) {
  const CK_OBJECT_HANDLE key = aes();
  Data start(200), result;
  for (CK_GCM_PARAMS wrong :
       {CK_GCM_PARAMS{start.data(), 0, 0, nullptr, 0, 128}, CK_GCM_PARAMS{nullptr, 12, 0, nullptr, 0, 128},
        CK_GCM_PARAMS{start.data(), 200, 0, nullptr, 0, 128}, CK_GCM_PARAMS{start.data(), 12, 0, nullptr, 5, 128},
        CK_GCM_PARAMS{start.data(), 12, 0, nullptr, 0, 64}, CK_GCM_PARAMS{start.data(), 12, 0, nullptr, 0, 97},
        CK_GCM_PARAMS{start.data(), 12, 0, nullptr, 0, 136}}) {
    EXPECT_EQ(encrypt(Mechanism(CKM_AES_GCM, wrong), key, Data(16), result), CKR_MECHANISM_PARAM_INVALID);
  }
  EXPECT_EQ(encrypt(Mechanism(CKM_AES_GCM), key, Data(16), result), CKR_MECHANISM_PARAM_INVALID);
}

TEST_F(OwnCipher, TheBufferRulesKeepTheOperation) {
  const CK_OBJECT_HANDLE key = aes();
  Data start(16), plain = counted(20), cipher, out(64);
  ASSERT_EQ(encrypt(Mechanism(CKM_AES_CBC_PAD, start), key, plain, cipher), CKR_OK);
  Mechanism mechanism(CKM_AES_CBC_PAD, start);
  ASSERT_EQ(f.C_DecryptInit(s, &mechanism.value, key), CKR_OK);
  CK_ULONG size = 19;
  EXPECT_EQ(f.C_Decrypt(s, cipher.data(), cipher.size(), out.data(), &size), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, 20U);
  EXPECT_EQ(f.C_Decrypt(s, cipher.data(), cipher.size(), out.data(), &size), CKR_OK);
  EXPECT_EQ(f.C_Decrypt(s, cipher.data(), cipher.size(), out.data(), &size), CKR_OPERATION_NOT_INITIALIZED);
  // The same at the end of an operation in parts.
  ASSERT_EQ(f.C_DecryptInit(s, &mechanism.value, key), CKR_OK);
  size = 15;
  EXPECT_EQ(f.C_DecryptUpdate(s, cipher.data(), cipher.size(), out.data(), &size), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, 16U);
  EXPECT_EQ(f.C_DecryptUpdate(s, cipher.data(), cipher.size(), out.data(), &size), CKR_OK);
  size = 3;
  EXPECT_EQ(f.C_DecryptFinal(s, out.data(), &size), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(size, 4U);
  EXPECT_EQ(f.C_DecryptFinal(s, out.data(), &size), CKR_OK);
  EXPECT_EQ(Data(out.begin(), out.begin() + 4), Data(plain.begin() + 16, plain.end()));
  // One-shot calls do not end an operation in parts.
  ASSERT_EQ(f.C_EncryptInit(s, &mechanism.value, key), CKR_OK);
  size = out.size();
  ASSERT_EQ(f.C_EncryptUpdate(s, plain.data(), 5, out.data(), &size), CKR_OK);
  size = out.size();
  EXPECT_EQ(f.C_Encrypt(s, plain.data(), 5, out.data(), &size), CKR_OPERATION_NOT_INITIALIZED);
  ASSERT_EQ(f.C_EncryptInit(s, &mechanism.value, key), CKR_OK);
  EXPECT_EQ(f.C_EncryptInit(s, &mechanism.value, key), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(f.C_EncryptInit(s, nullptr, 0), CKR_OK);
}

TEST_F(OwnCipher, OperationsOfDifferentKindsRunSideBySide) {
  const CK_OBJECT_HANDLE key = aes();
  const Pair pair = ec(kP256);
  Mechanism ecb(CKM_AES_ECB), ecdsa(CKM_ECDSA), sha(CKM_SHA256);
  ASSERT_EQ(f.C_EncryptInit(s, &ecb.value, key), CKR_OK);
  ASSERT_EQ(f.C_DecryptInit(s, &ecb.value, key), CKR_OK);
  ASSERT_EQ(f.C_SignInit(s, &ecdsa.value, pair.private_key), CKR_OK);
  ASSERT_EQ(f.C_VerifyInit(s, &ecdsa.value, pair.public_key), CKR_OK);
  ASSERT_EQ(f.C_DigestInit(s, &sha.value), CKR_OK);
  ASSERT_EQ(f.C_FindObjectsInit(s, nullptr, 0), CKR_OK);
  Data data(32, 1), out(64);
  CK_ULONG size = 64;
  EXPECT_EQ(f.C_Sign(s, data.data(), 32, out.data(), &size), CKR_OK);
  EXPECT_EQ(f.C_Verify(s, data.data(), 32, out.data(), size), CKR_OK);
  EXPECT_EQ(f.C_Encrypt(s, data.data(), 32, out.data(), &size), CKR_OK);
  EXPECT_EQ(f.C_Decrypt(s, out.data(), 32, out.data(), &size), CKR_OK);
  EXPECT_EQ(Data(out.begin(), out.begin() + 32), data);
  EXPECT_EQ(f.C_Digest(s, data.data(), 32, out.data(), &size), CKR_OK);
  EXPECT_EQ(f.C_FindObjectsFinal(s), CKR_OK);
}

TEST_F(OwnCipher, RsaDecryptsWhatTheHostEncrypts) {
  const Pair pair = rsa();
  const PKey host = host_key(pair.public_key);
  const auto host_encrypt = [&](const Data& plain, auto prepare) {
    const KeyContext context(EVP_PKEY_CTX_new(host.get(), nullptr));
    EVP_PKEY_encrypt_init(context.get());
    prepare(context.get());
    Data result(256);
    std::size_t size = result.size();
    EXPECT_EQ(EVP_PKEY_encrypt(context.get(), result.data(), &size, plain.data(), plain.size()), 1);
    return result;
  };
  const Data plain = counted(40);
  Data result, cipher;
  const Data pkcs = host_encrypt(plain, [](EVP_PKEY_CTX* c) { EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING); });
  ASSERT_EQ(decrypt(Mechanism(CKM_RSA_PKCS), pair.private_key, pkcs, result), CKR_OK);
  EXPECT_EQ(result, plain);
  ASSERT_EQ(encrypt(Mechanism(CKM_RSA_PKCS), pair.public_key, plain, cipher), CKR_OK);
  ASSERT_EQ(in_parts(false, Mechanism(CKM_RSA_PKCS), pair.private_key, cipher, 100, result), CKR_OK);
  EXPECT_EQ(result, plain);
  ASSERT_EQ(encrypt(Mechanism(CKM_RSA_X_509), pair.public_key, plain, cipher), CKR_OK);
  ASSERT_EQ(decrypt(Mechanism(CKM_RSA_X_509), pair.private_key, cipher, result), CKR_OK);
  EXPECT_EQ(Data(result.end() - 40, result.end()), plain);
  EXPECT_EQ(decrypt(Mechanism(CKM_RSA_PKCS), pair.private_key, cipher, result), CKR_ENCRYPTED_DATA_INVALID);
  EXPECT_EQ(decrypt(Mechanism(CKM_RSA_PKCS), pair.private_key, Data(255), result), CKR_ENCRYPTED_DATA_LEN_RANGE);
  EXPECT_EQ(encrypt(Mechanism(CKM_RSA_PKCS), pair.public_key, Data(246), result), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(encrypt(Mechanism(CKM_RSA_X_509), pair.public_key, Data(257), result), CKR_DATA_LEN_RANGE);
  for (const Oaep& each : {Oaep{CKM_SHA_1, CKG_MGF1_SHA1, EVP_sha1(), EVP_sha1()},
                           Oaep{CKM_SHA256, CKG_MGF1_SHA1, EVP_sha256(), EVP_sha1()},
                           Oaep{CKM_SHA256, CKG_MGF1_SHA256, EVP_sha256(), EVP_sha256()},
                           Oaep{CKM_SHA384, CKG_MGF1_SHA384, EVP_sha384(), EVP_sha384()},
                           Oaep{CKM_SHA512, CKG_MGF1_SHA512, EVP_sha512(), EVP_sha512()}}) {
    for (Data label : {Data(), text("label")}) {
      CK_RSA_PKCS_OAEP_PARAMS parameter{each.hash, each.mask, CKZ_DATA_SPECIFIED, label.data(), label.size()};
      const Mechanism mechanism(CKM_RSA_PKCS_OAEP, parameter);
      cipher = host_encrypt(plain, [&](EVP_PKEY_CTX* c) {
        EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING);
        EVP_PKEY_CTX_set_rsa_oaep_md(c, each.host_hash);
        EVP_PKEY_CTX_set_rsa_mgf1_md(c, each.host_mask);
        if (label.empty()) return;
        EVP_PKEY_CTX_set0_rsa_oaep_label(c, OPENSSL_memdup(label.data(), label.size()), static_cast<int>(label.size()));
      });
      ASSERT_EQ(decrypt(mechanism, pair.private_key, cipher, result), CKR_OK);
      EXPECT_EQ(result, plain);
      ASSERT_EQ(encrypt(mechanism, pair.public_key, plain, cipher), CKR_OK);
      ASSERT_EQ(decrypt(mechanism, pair.private_key, cipher, result), CKR_OK);
      EXPECT_EQ(result, plain);
      cipher.back() ^= 1;
      EXPECT_EQ(decrypt(mechanism, pair.private_key, cipher, result), CKR_ENCRYPTED_DATA_INVALID);
      EXPECT_EQ(encrypt(mechanism, pair.public_key, Data(250), cipher), CKR_DATA_LEN_RANGE);
    }
  }
}

TEST_F(OwnCipher, OaepParametersAreChecked) {
  const Pair pair = rsa();
  Data result;
  for (CK_RSA_PKCS_OAEP_PARAMS wrong :
       {CK_RSA_PKCS_OAEP_PARAMS{99, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, nullptr, 0},
        CK_RSA_PKCS_OAEP_PARAMS{CKM_SHA_1, 99, CKZ_DATA_SPECIFIED, nullptr, 0},
        CK_RSA_PKCS_OAEP_PARAMS{CKM_SHA_1, CKG_MGF1_SHA1, 7, nullptr, 0},
        CK_RSA_PKCS_OAEP_PARAMS{CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, nullptr, 3}}) {
    EXPECT_EQ(encrypt(Mechanism(CKM_RSA_PKCS_OAEP, wrong), pair.public_key, Data(16), result),
              CKR_MECHANISM_PARAM_INVALID);
  }
}

TEST_F(OwnCipher, AnHsmThatMakesIvsWritesOneIntoZerosAndTakesNoOther) {
  Settings making = settings();
  making.makes_iv = true;
  configure(making);
  const CK_OBJECT_HANDLE key = aes();
  Data start(12), sealed, plain;
  CK_GCM_PARAMS parameter{start.data(), start.size(), 96, nullptr, 0, 128};
  const Mechanism mechanism(CKM_AES_GCM, parameter);
  ASSERT_EQ(encrypt(mechanism, key, Data(20, 1), sealed), CKR_OK);
  EXPECT_NE(start, Data(12));
  ASSERT_EQ(decrypt(mechanism, key, sealed, plain), CKR_OK);
  EXPECT_EQ(plain, Data(20, 1));
  EXPECT_EQ(encrypt(mechanism, key, Data(20, 1), sealed), CKR_MECHANISM_PARAM_INVALID);
}

TEST_F(OwnCipher, CannedAnswersAreTheFirstOnes) {
  Settings canned = settings();
  canned.canned = true;
  configure(canned);
  const CK_OBJECT_HANDLE key = aes();
  Data start(12), first, second, plain;
  CK_GCM_PARAMS parameter{start.data(), start.size(), 96, nullptr, 0, 128};
  const Mechanism mechanism(CKM_AES_GCM, parameter);
  ASSERT_EQ(encrypt(mechanism, key, Data(20, 1), first), CKR_OK);
  start[0] = 1;
  ASSERT_EQ(encrypt(mechanism, key, Data(20, 2), second), CKR_OK);
  EXPECT_EQ(first, second);
  EXPECT_EQ(decrypt(mechanism, key, second, plain), CKR_ENCRYPTED_DATA_INVALID); // a refusal is not kept
  start[0] = 0;
  EXPECT_EQ(decrypt(mechanism, key, second, plain), CKR_OK);
  EXPECT_EQ(plain, Data(20, 1));
  EXPECT_EQ(decrypt(mechanism, key, Data(36, 7), plain), CKR_OK);
  EXPECT_EQ(plain, Data(20, 1));
}

} // namespace
} // namespace hsmux::sim::own
