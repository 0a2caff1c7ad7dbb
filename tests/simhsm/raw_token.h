// One logged-in session with a token, and the few raw PKCS#11 calls that the simhsm's own tests need. Keys are session
// objects: nothing stays in the token. One thread.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>
#include <vector>

#include "slots/pkcs11.h"
#include "tests/token_folder.h"

namespace hsmux::sim {

using Bytes = std::vector<CK_BYTE>;

struct KeyPair {
  CK_OBJECT_HANDLE public_key = 0, private_key = 0;
};

class RawToken {
public:
  RawToken(const CK_FUNCTION_LIST& functions, const TokenFolder& tokens, std::size_t index = 0)
      : functions_(functions), slot_(tokens.slot_id(index)), session_(open()) {
    std::string pin = tokens.pin(index);
    const CK_RV rv = functions_.C_Login(session_, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size());
    EXPECT_TRUE(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) << rv;
  }
  ~RawToken() { functions_.C_CloseSession(session_); }
  RawToken(const RawToken&) = delete;
  RawToken& operator=(const RawToken&) = delete;

  [[nodiscard]] CK_SESSION_HANDLE open() const {
    CK_SESSION_HANDLE session = 0;
    EXPECT_EQ(functions_.C_OpenSession(slot_, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session), CKR_OK);
    return session;
  }
  [[nodiscard]] CK_SLOT_ID slot() const { return slot_; }
  [[nodiscard]] CK_SESSION_HANDLE session() const { return session_; }

  [[nodiscard]] CK_OBJECT_HANDLE generate_aes() const {
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG bytes = 32;
    std::array attributes{CK_ATTRIBUTE{CKA_VALUE_LEN, &bytes, sizeof bytes},
                          CK_ATTRIBUTE{CKA_ENCRYPT, &yes, sizeof yes}, CK_ATTRIBUTE{CKA_DECRYPT, &yes, sizeof yes}};
    CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
    CK_OBJECT_HANDLE key = 0;
    EXPECT_EQ(functions_.C_GenerateKey(session_, &mechanism, attributes.data(), attributes.size(), &key), CKR_OK);
    return key;
  }

  // `curve`: the DER of its object identifier.
  [[nodiscard]] KeyPair generate_ec(std::span<const CK_BYTE> curve) const {
    Bytes params(curve.begin(), curve.end());
    return generate(CKM_EC_KEY_PAIR_GEN, {{CKA_EC_PARAMS, params.data(), params.size()}}, CKA_SIGN);
  }

  [[nodiscard]] KeyPair generate_rsa() const {
    CK_ULONG bits = 2048;
    return generate(CKM_RSA_PKCS_KEY_PAIR_GEN, {{CKA_MODULUS_BITS, &bits, sizeof bits}}, CKA_DECRYPT);
  }

  [[nodiscard]] Bytes attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const {
    Bytes value(1024);
    CK_ATTRIBUTE attribute{type, value.data(), value.size()};
    EXPECT_EQ(functions_.C_GetAttributeValue(session_, object, &attribute, 1), CKR_OK);
    value.resize(attribute.ulValueLen);
    return value;
  }

  // One block with AES-ECB: the same input gives the same output. `room`: what the buffer is said to hold.
  struct Answer {
    CK_RV rv = CKR_OK;
    CK_ULONG length = 0;
    Bytes buffer; // one byte more than `room`
  };
  [[nodiscard]] Answer encrypt_block(CK_OBJECT_HANDLE key, CK_ULONG room = 16, CK_BYTE filled_with = 7) const {
    CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
    Bytes block(16, filled_with);
    Answer answer{CKR_OK, room, Bytes(room + 1, 0xEE)};
    answer.rv = functions_.C_EncryptInit(session_, &mechanism, key);
    if (answer.rv != CKR_OK) return answer;
    answer.rv = functions_.C_Encrypt(session_, block.data(), block.size(), answer.buffer.data(), &answer.length);
    return answer;
  }

private:
  [[nodiscard]] KeyPair generate(CK_MECHANISM_TYPE type, std::vector<CK_ATTRIBUTE> public_attributes,
                                 CK_ATTRIBUTE_TYPE use) const {
    CK_BBOOL yes = CK_TRUE;
    std::array private_attributes{CK_ATTRIBUTE{use, &yes, sizeof yes}};
    CK_MECHANISM mechanism{type, nullptr, 0};
    KeyPair pair;
    EXPECT_EQ(functions_.C_GenerateKeyPair(session_, &mechanism, public_attributes.data(), public_attributes.size(),
                                           private_attributes.data(), private_attributes.size(), &pair.public_key,
                                           &pair.private_key),
              CKR_OK);
    return pair;
  }

  const CK_FUNCTION_LIST& functions_;
  CK_SLOT_ID slot_;
  CK_SESSION_HANDLE session_;
};

// The function list of the simhsm at `path`.
inline const CK_FUNCTION_LIST& functions_of(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  auto* get_list = reinterpret_cast<CK_C_GetFunctionList>(dlsym(library, "C_GetFunctionList"));
  CK_FUNCTION_LIST* list = nullptr;
  EXPECT_EQ(get_list(&list), CKR_OK);
  return *list;
}

} // namespace hsmux::sim
