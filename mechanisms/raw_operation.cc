#include "mechanisms/raw_operation.h"

#include <array>

#include "mechanisms/parameters.h"

namespace hsmux {

Result<std::size_t> run_raw(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                            ObjectHandle key, ByteView in, std::span<std::uint8_t> out) {
  switch (recipe.id) {
  case RecipeId::kGcmHostIv:
  case RecipeId::kGcmTokenIv: {
    std::array<std::uint8_t, kIvBytes> iv{}; // some tokens write to it
    const GcmMechanism gcm(quirks, iv, {});
    return session.encrypt(gcm.mechanism, key, in, out);
  }
  case RecipeId::kOaepToken: {
    const OaepMechanism oaep;
    return session.decrypt(oaep.mechanism, key, in, out);
  }
  case RecipeId::kPssHostDigest:
  case RecipeId::kPssHashed: {
    const PssMechanism pss(recipe.mechanism);
    return session.sign(pss.mechanism, key, in, out);
  }
  case RecipeId::kEciesHost: {
    const EcdhMechanism ecdh(in);
    return session.derive_secret(ecdh.mechanism, key, ecdh.secret, out);
  }
  default: break;
  }
  if (spec.decrypts) return session.decrypt({.type = recipe.mechanism}, key, in, out);
  return session.sign({.type = recipe.mechanism}, key, in, out);
}

} // namespace hsmux
