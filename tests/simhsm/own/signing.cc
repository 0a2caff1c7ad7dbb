#include "tests/simhsm/own/signing.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>

#include <cstring>

#include "tests/simhsm/own/curve.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

using EcdsaSignature = Handle<ECDSA_SIG, ECDSA_SIG_free>;

constexpr std::size_t kMacBytes = 32;
constexpr std::size_t kPkcs1SignatureOverhead = 11; // RFC 8017, 9.2

// PKCS#11 has r and s one after the other, each as long as the order.
Bytes joined(View der, std::size_t half) {
  const unsigned char* at = der.data();
  const EcdsaSignature signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  require(signature != nullptr, CKR_DEVICE_ERROR);
  Bytes result(2 * half);
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), result.data(), static_cast<int>(half));
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), result.data() + half, static_cast<int>(half));
  return result;
}

Bytes der_of(View signature) {
  const auto made = allocated(EcdsaSignature(ECDSA_SIG_new()));
  const std::size_t half = signature.size() / 2;
  ECDSA_SIG_set0(made.get(), number_from(signature.first(half)).release(),
                 number_from(signature.subspan(half)).release());
  const int size = i2d_ECDSA_SIG(made.get(), nullptr);
  require(size > 0, CKR_SIGNATURE_INVALID);
  Bytes der(static_cast<std::size_t>(size));
  unsigned char* at = der.data();
  i2d_ECDSA_SIG(made.get(), &at);
  return der;
}

} // namespace

Signing::Signing(const CK_MECHANISM& mechanism, const MechanismRow& row, std::shared_ptr<const Object> object)
    : row_(&row), object_(std::move(object)), key_(object_->key.get()), hash_(digest(row.hash)) {
  if (!row.padded) {
    require(mechanism.ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
    return;
  }
  CK_RSA_PKCS_PSS_PARAMS parameter{};
  require(mechanism.ulParameterLen == sizeof parameter, CKR_MECHANISM_PARAM_INVALID);
  std::memcpy(&parameter, mechanism.pParameter, sizeof parameter);
  require(row.hash == 0 || parameter.hashAlg == row.hash, CKR_MECHANISM_PARAM_INVALID);
  hash_ = digest(parameter.hashAlg);
  mask_ = mask_digest(parameter.mgf);
  require(hash_ != nullptr && mask_ != nullptr, CKR_MECHANISM_PARAM_INVALID);
  // RFC 8017, 9.1.1
  const std::size_t room = (key_->bits - 1 + 7) / 8 - static_cast<std::size_t>(EVP_MD_get_size(hash_)) - 2;
  require(parameter.sLen <= room, CKR_MECHANISM_PARAM_INVALID);
  salt_bytes_ = static_cast<int>(parameter.sLen);
}

std::size_t Signing::signature_bytes() const {
  switch (row_->key_type) {
  case CKK_RSA: return (key_->bits + 7) / 8;
  case CKK_GENERIC_SECRET: return kMacBytes;
  default: return 2 * (edwards() ? std::size_t{32} : key_->curve->bytes());
  }
}

MacContext Signing::new_mac() const {
  auto context = allocated(MacContext(EVP_MAC_CTX_new(hmac())));
  char name[] = "SHA256";
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                               OSSL_PARAM_construct_end()};
  require(EVP_MAC_init(context.get(), key_->secret.data(), key_->secret.size(), params) == 1, CKR_DEVICE_ERROR);
  return context;
}

Bytes Signing::sign(View data) const {
  if (mac()) {
    Bytes result(kMacBytes);
    const MacContext context = new_mac();
    EVP_MAC_update(context.get(), data.data(), data.size());
    EVP_MAC_final(context.get(), result.data(), nullptr, result.size());
    return result;
  }
  if (edwards()) {
    Bytes result(signature_bytes());
    std::size_t written = result.size();
    const auto context = allocated(DigestContext(EVP_MD_CTX_new()));
    require(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_->pkey.get()) == 1 &&
                EVP_DigestSign(context.get(), result.data(), &written, data.data(), data.size()) == 1,
            CKR_DEVICE_ERROR);
    return result;
  }
  return row_->hash != 0 ? sign_input(digest_of(hash_, data)) : sign_input(input_of(data));
}

void Signing::verify(View data, View signature) const {
  require(signature.size() == signature_bytes(), CKR_SIGNATURE_LEN_RANGE);
  if (mac()) {
    require(CRYPTO_memcmp(sign(data).data(), signature.data(), kMacBytes) == 0, CKR_SIGNATURE_INVALID);
  } else if (edwards()) {
    const auto context = allocated(DigestContext(EVP_MD_CTX_new()));
    require(EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key_->pkey.get()) == 1, CKR_DEVICE_ERROR);
    require(EVP_DigestVerify(context.get(), signature.data(), signature.size(), data.data(), data.size()) == 1,
            CKR_SIGNATURE_INVALID);
  } else {
    verify_input(row_->hash != 0 ? digest_of(hash_, data) : input_of(data), signature);
  }
}

void Signing::update(View part) {
  if (mac()) {
    if (!mac_) mac_ = new_mac();
    require(EVP_MAC_update(mac_.get(), part.data(), part.size()) == 1, CKR_DEVICE_ERROR);
  } else if (row_->hash != 0) {
    if (!digest_) {
      digest_ = allocated(DigestContext(EVP_MD_CTX_new()));
      require(EVP_DigestInit_ex2(digest_.get(), hash_, nullptr) == 1, CKR_DEVICE_ERROR);
    }
    require(EVP_DigestUpdate(digest_.get(), part.data(), part.size()) == 1, CKR_DEVICE_ERROR);
  } else {
    collected_.insert(collected_.end(), part.begin(), part.end());
  }
}

// The digest or MAC of the parts.
Bytes Signing::finish_parts() {
  update({}); // begins it where there were no parts
  Bytes result(mac() ? kMacBytes : static_cast<std::size_t>(EVP_MD_get_size(hash_)));
  if (mac()) {
    EVP_MAC_final(mac_.get(), result.data(), nullptr, result.size());
  } else {
    EVP_DigestFinal_ex(digest_.get(), result.data(), nullptr);
  }
  return result;
}

Bytes Signing::finish() {
  if (mac()) return finish_parts();
  return row_->hash != 0 ? sign_input(finish_parts()) : sign(collected_);
}

void Signing::finish_verify(View signature) {
  require(signature.size() == signature_bytes(), CKR_SIGNATURE_LEN_RANGE);
  if (mac()) {
    require(CRYPTO_memcmp(finish_parts().data(), signature.data(), kMacBytes) == 0, CKR_SIGNATURE_INVALID);
  } else if (row_->hash != 0) {
    verify_input(finish_parts(), signature);
  } else {
    verify(collected_, signature);
  }
}

Bytes Signing::input_of(View data) const {
  const std::size_t modulus_bytes = (key_->bits + 7) / 8;
  switch (row_->type) {
  case CKM_RSA_PKCS: require(data.size() <= modulus_bytes - kPkcs1SignatureOverhead, CKR_DATA_LEN_RANGE); break;
  case CKM_RSA_PKCS_PSS:
    require(data.size() == static_cast<std::size_t>(EVP_MD_get_size(hash_)), CKR_DATA_LEN_RANGE);
    break;
  case CKM_RSA_X_509: {
    require(data.size() <= modulus_bytes, CKR_DATA_LEN_RANGE);
    Bytes padded(modulus_bytes - data.size());
    padded.insert(padded.end(), data.begin(), data.end());
    return padded;
  }
  default: break; // ECDSA: OpenSSL takes the leading bits that the order has, as PKCS#11 2.40, 2.3.6 does
  }
  return copy_of(data);
}

void Signing::set_rsa_padding(EVP_PKEY_CTX* context) const {
  const auto set = [](int result) { require(result > 0, CKR_DEVICE_ERROR); };
  if (row_->key_type != CKK_RSA) return;
  if (row_->type == CKM_RSA_X_509) return set(EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING));
  set(EVP_PKEY_CTX_set_rsa_padding(context, row_->padded ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING));
  if (hash_ != nullptr) set(EVP_PKEY_CTX_set_signature_md(context, hash_));
  if (!row_->padded) return;
  set(EVP_PKEY_CTX_set_rsa_mgf1_md(context, mask_));
  set(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt_bytes_));
}

Bytes Signing::sign_input(View input) const {
  const bool ready = key_->signer != nullptr;
  const auto context = allocated(KeyContext(ready ? EVP_PKEY_CTX_dup(key_->signer.get())
                                                  : EVP_PKEY_CTX_new_from_pkey(nullptr, key_->pkey.get(), nullptr)));
  require(ready || EVP_PKEY_sign_init(context.get()) == 1, CKR_DEVICE_ERROR);
  set_rsa_padding(context.get());
  constexpr std::size_t kDerOverhead = 16;
  Bytes result(signature_bytes() + kDerOverhead);
  std::size_t written = result.size();
  const int done = EVP_PKEY_sign(context.get(), result.data(), &written, input.data(), input.size());
  // Of what was checked before, only a raw value above the modulus is left.
  require(done == 1, row_->type == CKM_RSA_X_509 ? CKR_DATA_INVALID : CKR_DEVICE_ERROR);
  result.resize(written);
  return row_->key_type == CKK_EC ? joined(result, key_->curve->bytes()) : result;
}

void Signing::verify_input(View input, View signature) const {
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_pkey(nullptr, key_->pkey.get(), nullptr)));
  require(EVP_PKEY_verify_init(context.get()) == 1, CKR_DEVICE_ERROR);
  set_rsa_padding(context.get());
  const Bytes der = row_->key_type == CKK_EC ? der_of(signature) : copy_of(signature);
  require(EVP_PKEY_verify(context.get(), der.data(), der.size(), input.data(), input.size()) == 1,
          CKR_SIGNATURE_INVALID);
}

} // namespace hsmux::sim::own
