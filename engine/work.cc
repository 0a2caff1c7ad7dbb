#include "engine/work.h"

#include <fmt/format.h>

#include <algorithm>

#include "mechanisms/ecies.h"
#include "mechanisms/envelope.h"

namespace hsmux {
namespace {

std::size_t modulus_bytes(const Key& key) { return (key.info.bits + 7) / 8; }

} // namespace

Status check_operation(const AlgorithmSpec& spec, Operation operation) {
  if (supports(spec, operation)) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("{} is not an algorithm to {} with", spec.name, operation_name(operation)));
}

Status check_random(std::size_t size) {
  constexpr std::size_t kRandomBytesMax = 65'536;
  if (size <= kRandomBytesMax) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("at most {} random bytes at once", kRandomBytesMax));
}

Status check_plaintext(const AlgorithmSpec& spec, std::size_t size, std::size_t max) {
  if (size <= max) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("the plaintext has {} bytes; {} takes at most {} with this key", size, spec.name, max));
}

Status prepare_digest(Work& work, ByteView message, bool prehashed) {
  const AlgorithmSpec& spec = *work.spec;
  work.data = message;
  work.has_message = !prehashed;
  if (!spec.hash && prehashed) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{} signs whole messages: give the message instead of its digest", spec.name));
  }
  if (prehashed) {
    if (message.size() != hash_bytes(*spec.hash)) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("a digest for {} has {} bytes, not {}", spec.name,
                                                           hash_bytes(*spec.hash), message.size()));
    }
    work.digest_bytes = message.size();
    std::ranges::copy(message, work.digest.begin());
    return {};
  }
  if (message.size() > spec.input_bytes_max) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("the message has {} bytes; {} takes at most {}",
                                                         message.size(), spec.name, spec.input_bytes_max));
  }
  if (!spec.hash) return {};
  HSMUX_TRY(work.digest_bytes, digest(*spec.hash, message, work.digest));
  return {};
}

Status prepare_sign(Work& work, ByteView message, bool prehashed) {
  work.modulus_bytes = modulus_bytes(*work.key);
  work.output_bytes_max = signature_bytes_max(*work.spec);
  return prepare_digest(work, message, prehashed);
}

Status prepare_decrypt(Work& work, ByteView ciphertext, ByteView aad, ByteView bound_to) {
  const AlgorithmSpec& spec = *work.spec;
  work.data = ciphertext;
  work.aad = aad;
  work.key_id = bound_to.empty() ? ByteView(work.key->id) : bound_to;
  if (key_family(spec.key) == KeyFamily::kRsa) {
    work.modulus_bytes = modulus_bytes(*work.key);
    if (ciphertext.size() != work.modulus_bytes) return fail(decrypt_failed());
    work.output_bytes_max = plaintext_bytes_max(
        spec, {.data = ciphertext, .aad = aad, .key_id = work.key_id, .modulus_bytes = work.modulus_bytes});
    return {};
  }
  if (spec.agrees) { // no session is taken for what no key could decrypt
    HSMUX_TRY(const EciesView ecies, parse_ecies(ciphertext));
    work.output_bytes_max = ecies_plaintext_bytes_max(ecies);
    return {};
  }
  const std::size_t max = envelope_bytes(kEnvelopeIdBytesMax, spec.input_bytes_max);
  if (ciphertext.size() > max) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("the ciphertext has {} bytes; {} takes at most {}", ciphertext.size(), spec.name, max));
  }
  HSMUX_TRY(const EnvelopeView envelope, parse_envelope(ciphertext));
  // The envelope's header is public: naming another key is a mix-up, which deserves its own answer.
  if (!std::ranges::equal(envelope.key_id, work.key_id)) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("the ciphertext was made with the key of id {}, not with id {}; after a migration, give "
                            "the old id as bound_to",
                            to_hex(envelope.key_id), to_hex(work.key_id)));
  }
  work.output_bytes_max = envelope.ciphertext_and_tag.size() - kTagBytes;
  return {};
}

Status prepare_encrypt(Work& work, ByteView plaintext, ByteView aad) {
  HSMUX_CHECK(check_plaintext(*work.spec, plaintext.size(), work.spec->input_bytes_max));
  work.data = plaintext;
  work.aad = aad;
  work.key_id = work.key->id;
  work.output_bytes_max = ciphertext_bytes(*work.spec, {.data = plaintext, .aad = aad, .key_id = work.key_id});
  return {};
}

Result<std::size_t> carry_out(const Work& work, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                              ObjectHandle key, std::span<std::uint8_t> out) {
  if (work.operation == Operation::kSign) {
    const SignInput input{.message = work.has_message ? work.data : ByteView(),
                          .digest = ByteView(work.digest).first(work.digest_bytes),
                          .has_message = work.has_message,
                          .modulus_bytes = work.modulus_bytes};
    return run_sign(*work.spec, recipe, session, key, input, out);
  }
  const CipherInput input{
      .data = work.data, .aad = work.aad, .key_id = work.key_id, .modulus_bytes = work.modulus_bytes};
  return work.operation == Operation::kDecrypt ? run_decrypt(recipe, quirks, session, key, input, out)
                                               : run_encrypt(recipe, quirks, session, key, input, out);
}

} // namespace hsmux
