#include "mechanisms/raw_operation.h"

#include <array>

#include "slots/pkcs11.h"

namespace hsmux {

Result<std::size_t> run_raw(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                            ObjectHandle key, ByteView in, std::span<std::uint8_t> out) {
  if (recipe.id == RecipeId::kGcmHostIv) {
    std::array<std::uint8_t, 12> iv{};
    CK_GCM_PARAMS parameters{};
    parameters.pIv = iv.data();
    parameters.ulIvLen = iv.size();
    parameters.ulIvBits = quirks.gcm_iv_bits == GcmIvBits::kEightTimesLength ? 8 * iv.size() : 0;
    parameters.ulTagBits = 128;
    return session.encrypt({recipe.mechanism, &parameters, sizeof parameters}, key, in, out);
  }
  if (recipe.id == RecipeId::kOaepToken) {
    CK_RSA_PKCS_OAEP_PARAMS parameters{CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, nullptr, 0};
    return session.decrypt({recipe.mechanism, &parameters, sizeof parameters}, key, in, out);
  }
  if (spec.decrypts) return session.decrypt({.type = recipe.mechanism}, key, in, out);
  return session.sign({.type = recipe.mechanism}, key, in, out);
}

} // namespace hsmux
