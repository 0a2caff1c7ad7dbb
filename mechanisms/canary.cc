#include "mechanisms/canary.h"

#include <array>

#include "mechanisms/key_object.h"
#include "mechanisms/trial.h"

namespace hsmux {
namespace {

Status random_canary(Session& session) {
  std::array<std::uint8_t, 16> random{};
  HSMUX_CHECK(session.state());
  return session.random(random);
}

} // namespace

std::span<const Algorithm> canary_algorithms() {
  static constexpr std::array kAll{Algorithm::kEcdsaP256Sha256, Algorithm::kEd25519, Algorithm::kEcdsaSecp256k1Sha256,
                                   Algorithm::kEcdsaP384Sha384};
  return kAll;
}

Status run_canary(Session& session, const AlgorithmSpec* spec, const RecipeSpec* recipe, const Quirks& quirks) {
  static constexpr std::array<std::uint8_t, 1> kId{0xca};
  static constexpr std::array<std::uint8_t, 6> kMessage{'c', 'a', 'n', 'a', 'r', 'y'};
  if (spec == nullptr || recipe == nullptr) return random_canary(session);
  const KeyRequest request{.spec = spec,
                           .bits = spec->key_bits_default,
                           .id = kId,
                           .label = "hsmux canary",
                           .token_object = false,
                           .quirks = &quirks};
  Result<MadeKey> made = generate_in_token(session, request);
  if (!made && made.error().retry == Retry::kNever) return random_canary(session);
  if (!made) return fail(std::move(made).error());
  const TemporaryKey key(session, *made);
  if (!key.public_key()) return random_canary(session);
  KeyObject object;
  object.handle = *key.public_key();
  object.object_class = ObjectClass::kPublicKey;
  object.kind = spec->key;
  HSMUX_TRY(const Bytes spki, read_spki(session, object));
  Status answer = try_sign(*spec, *recipe, session, key.handle(), spki, kMessage);
  if (!answer && answer.error().rv == 0) {
    Error error = make_error(ErrorKind::kDevice, "a signature that the slot made for its canary is wrong");
    error.call = Call::kSign;
    return fail(std::move(error));
  }
  return answer;
}

} // namespace hsmux
