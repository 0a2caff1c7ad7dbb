#include "tests/simhsm/own/derive.h"

#include <cstring>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

// PKCS#11 2.40, 2.3.9: the point comes raw or as DER OCTET STRING; both begin with 4, so the length tells.
View raw_point(const Curve& curve, View point) {
  const std::size_t uncompressed = 1 + 2 * curve.bytes(), compressed = 1 + curve.bytes();
  if (point.size() == uncompressed || point.size() == compressed) return point;
  return octet_string_content(point).value_or(point);
}

} // namespace

Bytes ecdh(const CK_MECHANISM& mechanism, const Key& base) {
  CK_ECDH1_DERIVE_PARAMS parameter{};
  require(mechanism.ulParameterLen == sizeof parameter, CKR_MECHANISM_PARAM_INVALID);
  std::memcpy(&parameter, mechanism.pParameter, sizeof parameter);
  // "With the key derivation function CKD_NULL, pSharedData must be NULL and ulSharedDataLen must be zero."
  require(parameter.kdf == CKD_NULL && parameter.ulSharedDataLen == 0, CKR_MECHANISM_PARAM_INVALID);
  require(parameter.pPublicData != nullptr, CKR_MECHANISM_PARAM_INVALID);
  const View point = raw_point(*base.curve, {parameter.pPublicData, parameter.ulPublicDataLen});
  const PKey peer = public_key_at(*base.curve, point);
  require(peer != nullptr, CKR_MECHANISM_PARAM_INVALID);
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_pkey(nullptr, base.pkey.get(), nullptr)));
  Bytes secret(base.curve->bytes());
  std::size_t written = secret.size();
  require(EVP_PKEY_derive_init(context.get()) == 1 && EVP_PKEY_derive_set_peer(context.get(), peer.get()) == 1 &&
              EVP_PKEY_derive(context.get(), secret.data(), &written) == 1 && written == secret.size(),
          CKR_DEVICE_ERROR);
  return secret;
}

} // namespace hsmux::sim::own
