#include "mechanisms/probe.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "mechanisms/envelope.h"
#include "mechanisms/key_object.h"
#include "mechanisms/trial.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::array<std::uint8_t, 16> kProbeId{'h', 's', 'm', 'u', 'x', ' ', 'p', 'r',
                                                'o', 'b', 'e', ' ', 'k', 'e', 'y'};
constexpr std::array<std::uint8_t, 32> kProbeData{0x42};

} // namespace

// A session key of the token for one algorithm, with its public half.
class ProbeKey {
public:
  ProbeKey(Session& session, const AlgorithmSpec& spec, const Quirks& quirks) {
    const KeyRequest request{.spec = &spec,
                             .bits = spec.key_bits_default,
                             .id = kProbeId,
                             .label = "hsmux probe",
                             .token_object = false,
                             .quirks = &quirks};
    Result<MadeKey> made = generate_in_token(session, request);
    if (!made && !made.error().retryable()) {
      if (Result<MadeKey> imported = import_software_key(session, request)) made = *imported;
    }
    if (!made) {
      error_ = std::move(made).error();
      return;
    }
    key_.emplace(session, *made);
    if (key_->public_key()) read_public_key(session, spec);
  }

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  [[nodiscard]] ObjectHandle handle() const { return key_->handle(); }
  [[nodiscard]] ByteView spki() const { return spki_; }

private:
  // For tokens that make no session keys but take them.
  static Result<MadeKey> import_software_key(Session& session, const KeyRequest& request) {
    HSMUX_TRY(const SoftwareKey key, make_software_key(*request.spec, request.bits));
    return import_into_token(session, request, key);
  }
  void read_public_key(Session& session, const AlgorithmSpec& spec) {
    Result<Bytes> spki = read_spki(session, *key_->public_key(), spec.key);
    if (spki) {
      spki_ = std::move(*spki);
    } else {
      error_ = std::move(spki).error();
    }
  }

  std::optional<TemporaryKey> key_;
  std::optional<Error> error_;
  Bytes spki_;
};

namespace {

Status try_round_trip(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                      const ProbeKey& key) {
  const CipherInput plain{.data = kProbeData, .aad = {}, .key_id = kProbeId};
  Bytes envelope(ciphertext_bytes(spec, plain));
  HSMUX_TRY(const std::size_t bytes, run_encrypt(recipe, quirks, session, key.handle(), plain, envelope));
  const CipherInput input{.data = ByteView(envelope).first(bytes), .aad = {}, .key_id = kProbeId};
  return try_decrypt(spec, recipe, quirks, session, key.handle(), input, kProbeData);
}

Status try_recipe(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                  const ProbeKey& key) {
  if (recipe.id == RecipeId::kGcmHostIv && quirks.gcm_iv == GcmIv::kToken) {
    return fail(ErrorKind::kUnsupported, fmt::format("tokens of the row {} make the IV themselves", quirks.name));
  }
  if (spec.signs) return try_sign(spec, recipe, session, key.handle(), key.spki(), kProbeData);
  if (key_family(spec.key) == KeyFamily::kAes) return try_round_trip(spec, recipe, quirks, session, key);
  return try_decrypt_from_host(spec, recipe, quirks, session, key.handle(), key.spki(), kProbeData);
}

} // namespace

RecipeProbe::RecipeProbe(std::span<const MechanismOffer> offers, const Quirks& quirks, Session& session)
    : offers_(offers), quirks_(quirks), session_(session) {}

RecipeProbe::~RecipeProbe() = default;

Result<RecipeChoice> RecipeProbe::choose(const AlgorithmSpec& spec) {
  std::optional<Error> lost;
  const auto undecided = [&](const Error& error) -> ProbeResult {
    if (error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kForked) lost = error;
    return {Probe::kUndecided, "no session key for a trial: " + error.text()};
  };
  // A fault of the moment is no refusal. The unspecific codes are: modules refuse with them too.
  const auto momentary = [](const Error& error) {
    return error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kForked || error.rv == CKR_DEVICE_ERROR;
  };
  RecipeChoice choice = choose_recipe(spec, offers_, [&](const RecipeSpec& recipe) -> ProbeResult {
    if (!key_) key_ = std::make_unique<ProbeKey>(session_, spec, quirks_);
    if (key_->error()) return undecided(*key_->error());
    const Status status = try_recipe(spec, recipe, quirks_, session_, *key_);
    if (status) return {Probe::kWorks, ""};
    if (momentary(status.error())) {
      lost = status.error();
      return {Probe::kUndecided, ""};
    }
    return {Probe::kRefused, status.error().text()};
  });
  if (lost) return fail(std::move(*lost));
  return choice;
}

} // namespace hsmux
