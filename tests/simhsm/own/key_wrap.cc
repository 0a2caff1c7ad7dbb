#include "tests/simhsm/own/key_wrap.h"

#include "tests/simhsm/own/cipher.h"
#include "tests/simhsm/own/key_codec.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

constexpr std::size_t kHalfBlock = 8;

bool is_key_wrap(const MechanismRow& row) {
  return row.type == CKM_AES_KEY_WRAP || row.type == CKM_AES_KEY_WRAP_PAD || row.type == CKM_AES_KEY_WRAP_KWP;
}

// RFC 3394 without padding and RFC 5649 with it. Nothing when OpenSSL refuses.
std::optional<Bytes> key_wrap(const CK_MECHANISM& mechanism, const MechanismRow& row, const Key& key, View input,
                              bool encrypt) {
  const bool padded = row.type != CKM_AES_KEY_WRAP;
  const std::size_t start_bytes = padded ? kHalfBlock / 2 : kHalfBlock;
  require(mechanism.ulParameterLen == 0 || mechanism.ulParameterLen == start_bytes, CKR_MECHANISM_PARAM_INVALID);
  const auto context = allocated(CipherContext(EVP_CIPHER_CTX_new()));
  EVP_CIPHER_CTX_set_flags(context.get(), EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
  const EVP_CIPHER* const cipher = aes(padded ? AesMode::kWrapPad : AesMode::kWrap, key.secret.size());
  const auto* const start = static_cast<const unsigned char*>(mechanism.pParameter); // NULL: the RFC's
  Bytes output(input.size() + 2 * kHalfBlock);
  int written = 0;
  if (EVP_CipherInit_ex2(context.get(), cipher, key.secret.data(), start, encrypt ? 1 : 0, nullptr) != 1 ||
      EVP_CipherUpdate(context.get(), output.data(), &written, input.data(), static_cast<int>(input.size())) != 1) {
    return std::nullopt;
  }
  output.resize(static_cast<std::size_t>(written));
  return output;
}

} // namespace

Bytes wrap(const CK_MECHANISM& mechanism, const MechanismRow& row, const SharedObject& wrapping, const Object& key) {
  const bool is_private = key.object_class() == CKO_PRIVATE_KEY;
  require(!is_private || row.key_type != CKK_RSA, CKR_KEY_NOT_WRAPPABLE);
  const Bytes plain = is_private ? to_pkcs8(*key.key) : key.key->secret;
  if (is_key_wrap(row)) {
    const bool whole = plain.size() % kHalfBlock == 0 && plain.size() >= 2 * kHalfBlock;
    require(whole || row.type != CKM_AES_KEY_WRAP, CKR_KEY_SIZE_RANGE);
    std::optional<Bytes> wrapped = key_wrap(mechanism, row, *wrapping->key, plain, true);
    require(wrapped.has_value(), CKR_DEVICE_ERROR);
    return std::move(*wrapped);
  }
  try {
    return Cipher(Cipher::Direction::kEncrypt, mechanism, row, wrapping).process(plain);
  } catch (const Refusal& refusal) {
    refuse(refusal.rv == CKR_DATA_LEN_RANGE ? CKR_KEY_SIZE_RANGE : refusal.rv);
  }
}

Bytes unwrap(const CK_MECHANISM& mechanism, const MechanismRow& row, const SharedObject& unwrapping, View wrapped) {
  if (is_key_wrap(row)) {
    const std::size_t least = row.type == CKM_AES_KEY_WRAP ? 3 * kHalfBlock : 2 * kHalfBlock;
    require(wrapped.size() % kHalfBlock == 0 && wrapped.size() >= least, CKR_WRAPPED_KEY_LEN_RANGE);
    std::optional<Bytes> plain = key_wrap(mechanism, row, *unwrapping->key, wrapped, false);
    require(plain.has_value(), CKR_WRAPPED_KEY_INVALID);
    return std::move(*plain);
  }
  try {
    return Cipher(Cipher::Direction::kDecrypt, mechanism, row, unwrapping).process(wrapped);
  } catch (const Refusal& refusal) {
    switch (refusal.rv) {
    case CKR_ENCRYPTED_DATA_INVALID: refuse(CKR_WRAPPED_KEY_INVALID);
    case CKR_ENCRYPTED_DATA_LEN_RANGE: refuse(CKR_WRAPPED_KEY_LEN_RANGE);
    default: throw;
    }
  }
}

} // namespace hsmux::sim::own
