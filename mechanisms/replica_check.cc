#include "mechanisms/replica_check.h"

#include <algorithm>
#include <string_view>

#include "mechanisms/trial.h"

namespace hsmux {
namespace {

// Before the random part, so that what a replica signs can never be anything else.
constexpr std::string_view kPurpose = "hsmux replica check: this signature says nothing.";
constexpr std::size_t kRandomBytes = 32;

Error another_key() { return make_error(ErrorKind::kKeyUnusable, "it is another key than in the slots before it"); }

} // namespace

const AlgorithmSpec* spec_for(KeyKind kind, const KeyPurposes& purposes) {
  for (const AlgorithmSpec& spec : spec_table()) {
    if (kind == KeyKind::kAes ? spec.key != KeyKind::kAes256 : spec.key != kind) continue;
    // Of an AES key that does not tell its length either algorithm will do: the token uses it as it is.
    const bool decrypts = purposes.decrypt && spec.decrypts && !spec.agrees;
    if ((purposes.sign && spec.signs) || decrypts || (purposes.derive && spec.agrees)) return &spec;
  }
  return nullptr;
}

ReplicaCheck::ReplicaCheck(const AlgorithmSpec& spec, std::uint32_t bits, ByteView key_id, std::optional<Bytes> spki)
    : spec_(spec), bits_(bits), key_id_(key_id.begin(), key_id.end()), spki_(std::move(spki)) {}

Status ReplicaCheck::check(const RecipeChoice& choice, const Quirks& quirks, Session& session, ObjectHandle key) {
  if (choice.recipe == nullptr) {
    return fail(ErrorKind::kUnsupported, "the slot cannot carry " + std::string(spec_.name) + " out: " + choice.reason);
  }
  if (challenge_.empty()) {
    Bytes challenge(kRandomBytes);
    HSMUX_CHECK(random_bytes(challenge));
    if (spec_.signs) challenge.insert(challenge.begin(), kPurpose.begin(), kPurpose.end());
    challenge_ = std::move(challenge);
  }
  if (!spki_) return check_secret(*choice.recipe, quirks, session, key);
  Status same = spec_.signs ? try_sign(spec_, *choice.recipe, session, key, *spki_, challenge_, bits_)
                            : try_decrypt_from_host(spec_, *choice.recipe, quirks, session, key, *spki_, challenge_);
  if (same) return same;
  const ErrorKind kind = same.error().kind;
  if (kind == ErrorKind::kSignatureInvalid || kind == ErrorKind::kDecryptFailed) return fail(another_key());
  return same;
}

Status ReplicaCheck::check_secret(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key) {
  if (envelope_.empty()) {
    const CipherInput input{.data = challenge_, .aad = {}, .key_id = key_id_};
    Bytes envelope(ciphertext_bytes(spec_, input));
    HSMUX_CHECK(run_encrypt(recipe, quirks, session, key, input, envelope));
    envelope_ = std::move(envelope);
    return {};
  }
  const CipherInput input{.data = envelope_, .aad = {}, .key_id = key_id_};
  Bytes opened(plaintext_bytes_max(spec_, input));
  const Result<std::size_t> size = run_decrypt(recipe, quirks, session, key, input, opened);
  if (size && std::ranges::equal(std::span(opened).first(*size), challenge_)) return {};
  if (!size && size.error().kind != ErrorKind::kDecryptFailed) return fail(size.error());
  return fail(another_key());
}

} // namespace hsmux
