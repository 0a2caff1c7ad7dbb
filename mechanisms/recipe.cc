#include "mechanisms/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mechanisms/ecdsa_der.h"
#include "mechanisms/gcm_iv.h"
#include "mechanisms/oaep.h"
#include "mechanisms/parameters.h"
#include "mechanisms/secure_bytes.h"

namespace hsmux {
namespace {

constexpr std::size_t kRawSignatureBytesMax = 512; // RSA of 4096 bits

// What C_Sign gives: r‖s of ECDSA (PKCS#11 2.40, 2.3.1), R‖S of Ed25519 (RFC 8032, 5.1.6), a number of RSA.
std::size_t raw_signature_bytes(const AlgorithmSpec& spec, const SignInput& input) {
  switch (key_family(spec.key)) {
  case KeyFamily::kEc: return 2 * field_bytes(curve_of(spec.key));
  case KeyFamily::kRsa: return input.modulus_bytes;
  default: return 64;
  }
}

bool signs_whole_message(RecipeId recipe) {
  return recipe != RecipeId::kEcdsaHostDigest && recipe != RecipeId::kPkcs1HostDigest &&
         recipe != RecipeId::kPssHostDigest;
}

// What a token may pad onto a decryption: some answer CKR_BUFFER_TOO_SMALL for a buffer of the plaintext's exact size
// (PKCS#11 3.1, 5.2).
std::size_t decrypt_buffer_bytes(std::size_t ciphertext_bytes) { return ciphertext_bytes + kTagBytes; }

Status room(std::size_t needed, std::size_t given) {
  if (given >= needed) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("the output buffer has {} bytes and needs {}", given, needed));
}

Result<std::size_t> sign_raw(const RecipeSpec& recipe, Session& session, ObjectHandle key, const SignInput& input,
                             std::span<std::uint8_t> raw) {
  const ByteView data = signs_whole_message(recipe.id) ? input.message : input.digest;
  if (recipe.id == RecipeId::kPssHostDigest || recipe.id == RecipeId::kPssHashed) {
    const PssMechanism pss(recipe.mechanism);
    return session.sign(pss.mechanism, key, data, raw);
  }
  if (recipe.id == RecipeId::kPkcs1HostDigest) {
    HSMUX_TRY(const auto info, sha256_digest_info(data));
    return session.sign({.type = recipe.mechanism}, key, info, raw);
  }
  return session.sign({.type = recipe.mechanism}, key, data, raw);
}

Result<std::size_t> decrypt_gcm(const Quirks& quirks, Session& session, ObjectHandle key, const CipherInput& input,
                                std::span<std::uint8_t> out) {
  HSMUX_TRY(const EnvelopeView envelope, parse_envelope(input.data));
  HSMUX_TRY(const Bytes aad, envelope_aad(input.key_id, input.aad));
  const GcmMechanism gcm(quirks, envelope.iv, aad);
  SecureBytes plaintext(decrypt_buffer_bytes(envelope.ciphertext_and_tag.size()));
  HSMUX_TRY(const std::size_t size, session.decrypt(gcm.mechanism, key, envelope.ciphertext_and_tag, plaintext.span()));
  HSMUX_CHECK(room(size, out.size()));
  std::copy_n(plaintext.view().begin(), size, out.begin());
  return size;
}

Error wrong_encryption(std::string_view what) {
  Error error = make_error(ErrorKind::kDevice, fmt::format("C_Encrypt {} for AES-GCM", what), Retry::kElsewhere);
  error.call = Call::kEncrypt;
  return error;
}

Result<std::size_t> decrypt_oaep_token(Session& session, ObjectHandle key, const CipherInput& input,
                                       std::span<std::uint8_t> out) {
  const OaepMechanism oaep;
  SecureBytes plaintext(input.modulus_bytes);
  HSMUX_TRY(const std::size_t size, session.decrypt(oaep.mechanism, key, input.data, plaintext.span()));
  HSMUX_CHECK(room(size, out.size()));
  std::copy_n(plaintext.view().begin(), size, out.begin());
  return size;
}

Result<std::size_t> decrypt_oaep_host(Session& session, ObjectHandle key, const CipherInput& input,
                                      std::span<std::uint8_t> out) {
  SecureBytes raw(input.modulus_bytes);
  HSMUX_TRY(const std::size_t size, session.decrypt({CKM_RSA_X_509, nullptr, 0}, key, input.data, raw.span()));
  // Some tokens strip leading zeros of the result.
  HSMUX_TRY(const SecureBytes block, pad_to_modulus(raw.view().first(size), input.modulus_bytes));
  return oaep_decode_sha256(block.view(), out);
}

Result<std::size_t> decrypt_ecies(Session& session, ObjectHandle key, const CipherInput& input,
                                  std::span<std::uint8_t> out) {
  HSMUX_TRY(const EciesView ecies, parse_ecies(input.data)); // the point never reaches the token unchecked
  HSMUX_CHECK(room(ecies_plaintext_bytes_max(ecies), out.size()));
  const EcdhMechanism ecdh(ecies.point);
  SecureBytes shared(kEciesSharedBytes);
  HSMUX_TRY(const std::size_t size, session.derive_secret(ecdh.mechanism, key, ecdh.secret, shared.span()));
  if (size != shared.size()) {
    Error error =
        make_error(ErrorKind::kDevice,
                   fmt::format("C_DeriveKey gave {} bytes for ECDH on P-256 instead of {}", size, shared.size()),
                   Retry::kElsewhere);
    error.call = Call::kDeriveKey;
    return fail(std::move(error));
  }
  return ecies_open(ecies, shared.view(), out);
}

} // namespace

RecipeChoice choose_recipe(const AlgorithmSpec& spec, std::span<const MechanismOffer> offers,
                           const std::function<ProbeResult(const RecipeSpec&)>& probe) {
  RecipeChoice choice;
  const auto note = [&](const RecipeSpec& recipe, std::string_view why) {
    if (!choice.reason.empty()) choice.reason += "; ";
    choice.reason += fmt::format("{}: {}", recipe.name, why);
  };
  for (const RecipeSpec& recipe : spec.recipes) {
    const auto offer = std::find_if(offers.begin(), offers.end(), [&](const MechanismOffer& candidate) {
      return candidate.type == recipe.mechanism && (candidate.flags & recipe.flags) == recipe.flags;
    });
    if (offer == offers.end()) {
      note(recipe, "not offered by the token");
      continue;
    }
    const ProbeResult result = probe(recipe);
    if (result.outcome == Probe::kRefused) {
      note(recipe, "offered, but refused: " + result.detail);
      continue;
    }
    if (result.outcome == Probe::kUndecided) note(recipe, "taken from the mechanism list, not tried: " + result.detail);
    choice.recipe = &recipe;
    return choice;
  }
  return choice;
}

std::size_t signature_bytes_max(const AlgorithmSpec& spec) { return spec.result_bytes_max; }

Status verify_signature(const AlgorithmSpec& spec, ByteView spki, ByteView message, ByteView digest,
                        ByteView signature) {
  switch (key_family(spec.key)) {
  case KeyFamily::kEc: return verify_ecdsa(spki, digest, signature);
  case KeyFamily::kRsa: {
    const bool pss = spec.algorithm == Algorithm::kRsaPssSha256;
    return verify_rsa(spki, pss ? RsaPadding::kPss : RsaPadding::kPkcs1, digest, signature);
  }
  default: return verify_ed25519(spki, message, signature);
  }
}

Result<Bytes> encrypt_on_host(const AlgorithmSpec& spec, ByteView spki, ByteView plaintext) {
  return spec.agrees ? ecies_seal(spki, plaintext) : rsa_oaep_sha256_encrypt(spki, plaintext);
}

std::size_t plaintext_bytes_max(const AlgorithmSpec& spec, const CipherInput& input) {
  if (key_family(spec.key) == KeyFamily::kRsa) return input.modulus_bytes < 66 ? 0 : input.modulus_bytes - 66;
  return input.data.size();
}

std::size_t ciphertext_bytes(const AlgorithmSpec& spec, const CipherInput& input) {
  if (key_family(spec.key) == KeyFamily::kRsa) return input.modulus_bytes;
  if (spec.agrees) return ecies_bytes(input.data.size());
  return envelope_bytes(input.key_id.size(), input.data.size());
}

Result<std::size_t> run_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, ObjectHandle key,
                             const SignInput& input, std::span<std::uint8_t> out) {
  HSMUX_CHECK(room(signature_bytes_max(spec), out.size()));
  if (signs_whole_message(recipe.id) && !input.has_message) {
    return fail(ErrorKind::kUnsupported, fmt::format("this token signs messages only ({}): give the message instead of "
                                                     "its digest",
                                                     recipe.name));
  }
  std::array<std::uint8_t, kRawSignatureBytesMax> buffer; // not zeroed: the token writes what is read
  const std::size_t raw_bytes = raw_signature_bytes(spec, input);
  if (raw_bytes > buffer.size()) return fail(ErrorKind::kInternal, "a signature longer than any algorithm's");
  const std::span<std::uint8_t> raw = std::span(buffer).first(raw_bytes);
  HSMUX_TRY(const std::size_t size, sign_raw(recipe, session, key, input, raw));
  if (size != raw.size()) {
    Error error =
        make_error(ErrorKind::kDevice,
                   fmt::format("C_Sign gave {} bytes for a signature of {} instead of {}", size, spec.name, raw.size()),
                   Retry::kElsewhere);
    error.call = Call::kSign;
    return fail(std::move(error));
  }
  if (key_family(spec.key) == KeyFamily::kEc) return ecdsa_der_encode(raw, out);
  std::ranges::copy(raw, out.begin());
  return size;
}

Result<std::size_t> run_decrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out) {
  switch (recipe.id) {
  case RecipeId::kGcmHostIv:
  case RecipeId::kGcmTokenIv: return decrypt_gcm(quirks, session, key, input, out);
  case RecipeId::kOaepToken: return decrypt_oaep_token(session, key, input, out);
  case RecipeId::kOaepHost: return decrypt_oaep_host(session, key, input, out);
  case RecipeId::kEciesHost: return decrypt_ecies(session, key, input, out);
  case RecipeId::kEcdsaHostDigest:
  case RecipeId::kEcdsaHashed:
  case RecipeId::kEddsa:
  case RecipeId::kPkcs1HostDigest:
  case RecipeId::kPkcs1Hashed:
  case RecipeId::kPssHostDigest:
  case RecipeId::kPssHashed: break;
  }
  return fail(ErrorKind::kInternal, "a recipe that does not decrypt was chosen for decryption");
}

Result<std::size_t> run_encrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out) {
  if (recipe.id != RecipeId::kGcmHostIv && recipe.id != RecipeId::kGcmTokenIv) {
    return fail(ErrorKind::kInternal, "a recipe that does not encrypt was chosen for encryption");
  }
  const std::size_t total = envelope_bytes(input.key_id.size(), input.data.size());
  HSMUX_CHECK(room(total, out.size()));
  const std::size_t sealed = input.data.size() + kTagBytes;
  // A fresh IV for every attempt: an IV is never used twice with one key, also not by a retry.
  IvBytes iv{};
  if (recipe.id == RecipeId::kGcmHostIv) {
    HSMUX_TRY(iv, fresh_gcm_iv());
  }
  HSMUX_TRY(const Bytes aad, envelope_aad(input.key_id, input.aad));
  const GcmMechanism gcm(quirks, iv, aad);
  HSMUX_TRY(const std::size_t size,
            session.encrypt(gcm.mechanism, key, input.data, out.subspan(total - sealed, sealed)));
  if (size != sealed) return fail(wrong_encryption(fmt::format("gave {} bytes instead of {}", size, sealed)));
  // As it was given: the token used the zeros. As many as such encryptions are, the IV is the same.
  if (recipe.id == RecipeId::kGcmTokenIv && iv == decltype(iv){}) {
    wipe(out.first(total));
    return fail(wrong_encryption("made no IV"));
  }
  write_envelope_header(input.key_id, iv, out);
  return total;
}

} // namespace hsmux
