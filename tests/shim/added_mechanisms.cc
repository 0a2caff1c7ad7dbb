#include "tests/shim/added_mechanisms.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <vector>

#include "tests/shim/state.h"

namespace hsmux::shim {
namespace {

State& state() { return State::get(); }

// The longest output of OAEP with SHA-256: two digests and two bytes go (RFC 8017 7.1.1).
constexpr std::size_t kOaepOverhead = 2 * 32 + 2;

bool is_hashed_ecdsa(CK_MECHANISM_TYPE type) { return type == CKM_ECDSA_SHA256 || type == CKM_ECDSA_SHA384; }

const CK_RSA_PKCS_OAEP_PARAMS* sha256_oaep(const CK_MECHANISM& mechanism) {
  if (mechanism.mechanism != CKM_RSA_PKCS_OAEP || mechanism.pParameter == nullptr ||
      mechanism.ulParameterLen != sizeof(CK_RSA_PKCS_OAEP_PARAMS)) {
    return nullptr;
  }
  const auto* params = static_cast<const CK_RSA_PKCS_OAEP_PARAMS*>(mechanism.pParameter);
  const bool fits =
      params->hashAlg == CKM_SHA256 && params->mgf == CKG_MGF1_SHA256 && params->source == CKZ_DATA_SPECIFIED;
  return fits ? params : nullptr;
}

CK_RV raw_rsa_init(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key) {
  CK_MECHANISM raw{CKM_RSA_X_509, nullptr, 0};
  return state().wrapped().C_DecryptInit(session, &raw, key);
}

// OpenSSL marks its OAEP check as deprecated since 3.0 and offers nothing else for a block that is already decrypted.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
int decode_oaep(std::vector<CK_BYTE>& out, const std::vector<CK_BYTE>& block, const std::string& label) {
  return RSA_padding_check_PKCS1_OAEP_mgf1(out.data(), static_cast<int>(out.size()), block.data(),
                                           static_cast<int>(block.size()), static_cast<int>(block.size()),
                                           reinterpret_cast<const unsigned char*>(label.data()),
                                           static_cast<int>(label.size()), EVP_sha256(), EVP_sha256());
}
#pragma GCC diagnostic pop

CK_RV oaep_decrypt(CK_SESSION_HANDLE session, const Emulation& emulation, CK_BYTE* data, CK_ULONG data_bytes,
                   CK_BYTE* plain, CK_ULONG* bytes) {
  const std::size_t modulus_bytes = emulation.modulus_bytes;
  if (plain == nullptr) {
    *bytes = modulus_bytes - kOaepOverhead;
    return CKR_OK;
  }
  std::vector<CK_BYTE> block(modulus_bytes), message(modulus_bytes);
  CK_ULONG block_bytes = block.size();
  if (const CK_RV rv = state().wrapped().C_Decrypt(session, data, data_bytes, block.data(), &block_bytes);
      rv != CKR_OK) {
    return rv;
  }
  // Some modules drop leading zeros of the raw result.
  std::rotate(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(block_bytes), block.end());

  const int length = decode_oaep(message, block, emulation.oaep_label);
  CK_RV rv = CKR_OK;
  if (length < 0) {
    rv = CKR_ENCRYPTED_DATA_INVALID;
  } else if (static_cast<CK_ULONG>(length) > *bytes) {
    // The operation goes on (PKCS#11 2.40, 5.2), so the module's must, too.
    rv = raw_rsa_init(session, emulation.oaep_key) == CKR_OK ? CKR_BUFFER_TOO_SMALL : CKR_FUNCTION_FAILED;
    *bytes = static_cast<CK_ULONG>(length);
  } else {
    std::copy_n(message.begin(), length, plain);
    *bytes = static_cast<CK_ULONG>(length);
  }
  OPENSSL_cleanse(block.data(), block.size());
  OPENSSL_cleanse(message.data(), message.size());
  return rv;
}

} // namespace

CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  const bool emulated =
      mechanism != nullptr && is_hashed_ecdsa(mechanism->mechanism) && state().added(mechanism->mechanism);
  CK_MECHANISM raw{CKM_ECDSA, nullptr, 0};
  const CK_RV rv = state().wrapped().C_SignInit(session, emulated ? &raw : mechanism, key);
  if (rv != CKR_OK) return rv;
  Emulation emulation = state().emulation(session);
  emulation.hashed_sign = emulated ? mechanism->mechanism : 0;
  state().set_emulation(session, std::move(emulation));
  return CKR_OK;
}

CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE* data, CK_ULONG data_bytes, CK_BYTE* signature, CK_ULONG* bytes) {
  const CK_MECHANISM_TYPE type = state().emulation(session).hashed_sign;
  if (type == 0) return state().wrapped().C_Sign(session, data, data_bytes, signature, bytes);
  std::array<CK_BYTE, EVP_MAX_MD_SIZE> digest{};
  unsigned digest_bytes = 0;
  const EVP_MD* hash = type == CKM_ECDSA_SHA384 ? EVP_sha384() : EVP_sha256();
  if (EVP_Digest(data, data_bytes, digest.data(), &digest_bytes, hash, nullptr) != 1) return CKR_FUNCTION_FAILED;
  return state().wrapped().C_Sign(session, digest.data(), digest_bytes, signature, bytes);
}

CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  Emulation emulation = state().emulation(session);
  emulation.oaep = false;
  const CK_RSA_PKCS_OAEP_PARAMS* params = mechanism == nullptr ? nullptr : sha256_oaep(*mechanism);
  CK_RV rv = CKR_OK;
  if (params != nullptr && state().added(CKM_RSA_PKCS_OAEP)) {
    CK_ATTRIBUTE modulus{CKA_MODULUS, nullptr, 0};
    rv = state().wrapped().C_GetAttributeValue(session, key, &modulus, 1);
    if (rv == CKR_OK && modulus.ulValueLen <= kOaepOverhead) rv = CKR_KEY_SIZE_RANGE;
    if (rv == CKR_OK) rv = raw_rsa_init(session, key);
    emulation.oaep = true;
    emulation.oaep_key = key;
    emulation.modulus_bytes = modulus.ulValueLen;
    emulation.oaep_label.assign(static_cast<const char*>(params->pSourceData), params->ulSourceDataLen);
  } else {
    rv = state().wrapped().C_DecryptInit(session, mechanism, key);
  }
  if (rv == CKR_OK) state().set_emulation(session, std::move(emulation));
  return rv;
}

CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE* data, CK_ULONG data_bytes, CK_BYTE* plain, CK_ULONG* bytes) {
  const Emulation emulation = state().emulation(session);
  if (!emulation.oaep || bytes == nullptr) {
    return state().wrapped().C_Decrypt(session, data, data_bytes, plain, bytes);
  }
  return oaep_decrypt(session, emulation, data, data_bytes, plain, bytes);
}

CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* count) {
  if (count == nullptr) return CKR_ARGUMENTS_BAD;
  CK_ULONG wrapped_count = 0;
  if (const CK_RV rv = state().wrapped().C_GetMechanismList(slot, nullptr, &wrapped_count); rv != CKR_OK) return rv;
  std::vector<CK_MECHANISM_TYPE> types(wrapped_count);
  if (const CK_RV rv = state().wrapped().C_GetMechanismList(slot, types.data(), &wrapped_count); rv != CKR_OK) {
    return rv;
  }
  types.resize(wrapped_count);
  std::erase_if(types, [](CK_MECHANISM_TYPE type) { return state().hidden(type); });
  for (const CK_MECHANISM_TYPE type : state().added()) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  }
  const CK_ULONG room = *count;
  *count = types.size();
  if (list == nullptr) return CKR_OK;
  if (room < types.size()) return CKR_BUFFER_TOO_SMALL;
  std::ranges::copy(types, list);
  return CKR_OK;
}

CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  if (state().hidden(type)) return CKR_MECHANISM_INVALID;
  const bool hashed = is_hashed_ecdsa(type) && state().added(type);
  const CK_RV rv = state().wrapped().C_GetMechanismInfo(slot, hashed ? CKM_ECDSA : type, info);
  if (rv != CKR_MECHANISM_INVALID || info == nullptr || !state().added(type)) return rv;
  // Listed only: the module knows nothing of it.
  *info = {};
  return CKR_OK;
}

} // namespace hsmux::shim
