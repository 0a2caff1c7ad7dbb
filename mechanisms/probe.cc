#include "mechanisms/probe.h"

#include <algorithm>
#include <array>
#include <optional>

#include "mechanisms/envelope.h"
#include "mechanisms/key_object.h"
#include "mechanisms/key_template.h"
#include "mechanisms/secure_bytes.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::array<std::uint8_t, 16> kProbeId{'h', 's', 'm', 'u', 'x', ' ', 'p', 'r',
                                                'o', 'b', 'e', ' ', 'k', 'e', 'y'};
constexpr std::array<std::uint8_t, 32> kProbeData{0x42};

// A session key for one algorithm, destroyed at the end.
class ProbeKey {
public:
  ProbeKey(Session& session, const AlgorithmSpec& spec) : session_(session) {
    const KeyRequest request{
        .spec = &spec, .bits = spec.key_bits_default, .id = kProbeId, .label = "hsmux probe", .token_object = false};
    Result<MadeKey> made = generate_in_token(session, request);
    if (!made && !made.error().retryable()) {
      if (Result<MadeKey> imported = import_software_key(session, request)) made = *imported;
    }
    if (!made) {
      error_ = std::move(made).error();
      return;
    }
    made_ = *made;
    if (made_->public_key) read_public_key(spec);
  }
  ProbeKey(const ProbeKey&) = delete;
  ProbeKey& operator=(const ProbeKey&) = delete;
  ~ProbeKey() {
    if (!made_) return;
    (void)session_.destroy(made_->handle); // session objects: they end with the session at the latest
    if (made_->public_key) (void)session_.destroy(*made_->public_key);
  }

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  [[nodiscard]] ObjectHandle handle() const { return made_->handle; }
  [[nodiscard]] ByteView spki() const { return spki_; }

private:
  // For tokens that make no session keys but take them.
  static Result<MadeKey> import_software_key(Session& session, const KeyRequest& request) {
    HSMUX_TRY(const SoftwareKey key, make_software_key(*request.spec, request.bits));
    return import_into_token(session, request, key);
  }
  void read_public_key(const AlgorithmSpec& spec) {
    KeyObject object;
    object.handle = *made_->public_key;
    object.object_class = ObjectClass::kPublicKey;
    object.kind = spec.key;
    Result<Bytes> spki = read_spki(session_, object);
    if (spki) {
      spki_ = std::move(*spki);
    } else {
      error_ = std::move(spki).error();
    }
  }

  Session& session_;
  std::optional<MadeKey> made_;
  std::optional<Error> error_;
  Bytes spki_;
};

Status try_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, const ProbeKey& key) {
  std::array<std::uint8_t, 64> digest_bytes{};
  HSMUX_TRY(const std::size_t digest_size, digest(*spec.hash, kProbeData, digest_bytes));
  const ByteView hashed = std::span(digest_bytes).first(digest_size);
  Bytes signature(signature_bytes_max(spec));
  HSMUX_TRY(const std::size_t size,
            run_sign(recipe, session, key.handle(), {.message = kProbeData, .digest = hashed}, signature));
  return verify_ecdsa(key.spki(), hashed, ByteView(signature).first(size));
}

Status compare(ByteView plaintext) {
  if (std::ranges::equal(plaintext, kProbeData)) return {};
  return fail(ErrorKind::kDevice, "the result is wrong");
}

Status try_rsa_decrypt(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                       const ProbeKey& key) {
  HSMUX_TRY(const Bytes ciphertext, rsa_oaep_sha256_encrypt(key.spki(), kProbeData));
  const CipherInput input{.data = ciphertext, .aad = {}, .key_id = {}, .modulus_bytes = ciphertext.size()};
  Bytes plaintext(plaintext_bytes_max(spec, input));
  HSMUX_TRY(const std::size_t size, run_decrypt(recipe, quirks, session, key.handle(), input, plaintext));
  return compare(ByteView(plaintext).first(size));
}

Status try_round_trip(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                      const ProbeKey& key) {
  const CipherInput plain{.data = kProbeData, .aad = {}, .key_id = kProbeId};
  Bytes envelope(ciphertext_bytes(spec, plain));
  HSMUX_TRY(const std::size_t bytes, run_encrypt(recipe, quirks, session, key.handle(), plain, envelope));
  const CipherInput input{.data = ByteView(envelope).first(bytes), .aad = {}, .key_id = kProbeId};
  Bytes plaintext(plaintext_bytes_max(spec, input));
  HSMUX_TRY(const std::size_t size, run_decrypt(recipe, quirks, session, key.handle(), input, plaintext));
  return compare(ByteView(plaintext).first(size));
}

Status try_recipe(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                  const ProbeKey& key) {
  switch (spec.key) {
  case KeyKind::kEcP256: return try_sign(spec, recipe, session, key);
  case KeyKind::kRsa: return try_rsa_decrypt(spec, recipe, quirks, session, key);
  case KeyKind::kAes256: return try_round_trip(spec, recipe, quirks, session, key);
  }
  return fail(ErrorKind::kInternal, "a kind of key without a probe");
}

} // namespace

Result<RecipeChoice> choose_by_probe(const AlgorithmSpec& spec, std::span<const MechanismOffer> offers,
                                     const Quirks& quirks, Session& session) {
  std::optional<ProbeKey> key;
  std::optional<Error> lost;
  const auto undecided = [&](const Error& error) -> ProbeResult {
    if (error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kForked) lost = error;
    return {Probe::kUndecided, "no session key for a trial: " + error.text()};
  };
  // A fault of the moment is no refusal. The unspecific codes are: modules refuse with them too.
  const auto momentary = [](const Error& error) {
    return error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kForked || error.rv == CKR_DEVICE_ERROR;
  };
  RecipeChoice choice = choose_recipe(spec, offers, [&](const RecipeSpec& recipe) -> ProbeResult {
    if (!key) key.emplace(session, spec);
    if (key->error()) return undecided(*key->error());
    const Status status = try_recipe(spec, recipe, quirks, session, *key);
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
