#include "mechanisms/trial.h"

#include <algorithm>
#include <array>
#include <utility>

#include "mechanisms/host_crypto.h"

namespace hsmux {

TemporaryKey::TemporaryKey(TemporaryKey&& other) noexcept
    : session_(std::exchange(other.session_, nullptr)), made_(other.made_) {}

TemporaryKey::~TemporaryKey() {
  if (session_ == nullptr || session_->lost()) return;
  (void)session_->destroy(made_.handle); // session objects: they end with the session at the latest
  if (made_.public_key) (void)session_->destroy(*made_.public_key);
}

Status try_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, ObjectHandle key, ByteView spki,
                ByteView message, std::uint32_t bits) {
  Bytes hashed;
  if (spec.hash) {
    hashed.resize(hash_bytes(*spec.hash));
    HSMUX_CHECK(digest(*spec.hash, message, hashed));
  }
  Bytes signature(signature_bytes_max(spec));
  if (bits == 0) bits = spec.key_bits_default;
  const SignInput input{.message = message, .digest = hashed, .modulus_bytes = (bits + 7) / 8};
  HSMUX_TRY(const std::size_t size, run_sign(spec, recipe, session, key, input, signature));
  return verify_signature(spec, spki, message, hashed, ByteView(signature).first(size));
}

Status try_decrypt_from_host(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks,
                             Session& session, ObjectHandle key, ByteView spki, ByteView message) {
  HSMUX_TRY(const Bytes ciphertext, encrypt_on_host(spec, spki, message));
  const CipherInput input{.data = ciphertext, .aad = {}, .key_id = {}, .modulus_bytes = ciphertext.size()};
  return try_decrypt(spec, recipe, quirks, session, key, input, message);
}

Status try_decrypt(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                   ObjectHandle key, const CipherInput& input, ByteView expected) {
  Bytes opened(plaintext_bytes_max(spec, input));
  HSMUX_TRY(const std::size_t size, run_decrypt(recipe, quirks, session, key, input, opened));
  if (std::ranges::equal(std::span(opened).first(size), expected)) return {};
  return fail(ErrorKind::kDevice, "what the token decrypted is not what was encrypted");
}

} // namespace hsmux
