#include "mechanisms/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mechanisms/ecdsa_der.h"
#include "mechanisms/envelope.h"
#include "mechanisms/oaep.h"
#include "mechanisms/secure_bytes.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::size_t kRawSignatureBytesMax = 96; // r‖s of P-384

// What C_Sign gives: r‖s of ECDSA (PKCS#11 2.40, 2.3.1), R‖S of Ed25519 (RFC 8032, 5.1.6).
std::size_t raw_signature_bytes(const AlgorithmSpec& spec) {
  return key_family(spec.key) == KeyFamily::kEc ? 2 * field_bytes(curve_of(spec.key)) : 64;
}

// What a token may pad onto a decryption: some answer CKR_BUFFER_TOO_SMALL for a buffer of the plaintext's exact size
// (PKCS#11 3.1, 5.2).
std::size_t decrypt_buffer_bytes(std::size_t ciphertext_bytes) { return ciphertext_bytes + kTagBytes; }

Status room(std::size_t needed, std::size_t given) {
  if (given >= needed) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("the output buffer has {} bytes and needs {}", given, needed));
}

struct GcmMechanism {
  CK_GCM_PARAMS params{};
  Mechanism mechanism;

  GcmMechanism(const Quirks& quirks, ByteView iv, Bytes& aad) {
    params.pIv = const_cast<unsigned char*>(iv.data());
    params.ulIvLen = iv.size();
    params.ulIvBits = quirks.gcm_iv_bits == GcmIvBits::kEightTimesLength ? 8 * iv.size() : 0;
    params.pAAD = aad.data();
    params.ulAADLen = aad.size();
    params.ulTagBits = 8 * kTagBytes;
    mechanism = {CKM_AES_GCM, &params, sizeof params};
  }
};

Result<std::size_t> decrypt_gcm(const Quirks& quirks, Session& session, ObjectHandle key, const CipherInput& input,
                                std::span<std::uint8_t> out) {
  HSMUX_TRY(const EnvelopeView envelope, parse_envelope(input.data));
  HSMUX_TRY(Bytes aad, envelope_aad(input.key_id, input.aad));
  GcmMechanism gcm(quirks, envelope.iv, aad);
  SecureBytes plaintext(decrypt_buffer_bytes(envelope.ciphertext_and_tag.size()));
  HSMUX_TRY(const std::size_t size, session.decrypt(gcm.mechanism, key, envelope.ciphertext_and_tag, plaintext.span()));
  HSMUX_CHECK(room(size, out.size()));
  std::copy_n(plaintext.view().begin(), size, out.begin());
  return size;
}

Result<std::size_t> decrypt_oaep_token(Session& session, ObjectHandle key, const CipherInput& input,
                                       std::span<std::uint8_t> out) {
  CK_RSA_PKCS_OAEP_PARAMS params{CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, nullptr, 0};
  SecureBytes plaintext(input.modulus_bytes);
  HSMUX_TRY(const std::size_t size,
            session.decrypt({CKM_RSA_PKCS_OAEP, &params, sizeof params}, key, input.data, plaintext.span()));
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

std::size_t plaintext_bytes_max(const AlgorithmSpec& spec, const CipherInput& input) {
  if (key_family(spec.key) == KeyFamily::kRsa) return input.modulus_bytes < 66 ? 0 : input.modulus_bytes - 66;
  return input.data.size();
}

std::size_t ciphertext_bytes(const AlgorithmSpec& spec, const CipherInput& input) {
  if (key_family(spec.key) == KeyFamily::kRsa) return input.modulus_bytes;
  return envelope_bytes(input.key_id.size(), input.data.size());
}

Status verify_signature(const AlgorithmSpec& spec, ByteView spki, ByteView message, ByteView digest,
                        ByteView signature) {
  return spec.hash ? verify_ecdsa(spki, digest, signature) : verify_ed25519(spki, message, signature);
}

Result<std::size_t> run_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, ObjectHandle key,
                             const SignInput& input, std::span<std::uint8_t> out) {
  HSMUX_CHECK(room(signature_bytes_max(spec), out.size()));
  const bool whole_message = recipe.id != RecipeId::kEcdsaHostDigest;
  if (whole_message && !input.has_message) {
    return fail(ErrorKind::kUnsupported, fmt::format("this token signs messages only ({}): give the message instead of "
                                                     "its digest",
                                                     recipe.name));
  }
  std::array<std::uint8_t, kRawSignatureBytesMax> buffer{};
  const std::span<std::uint8_t> raw = std::span(buffer).first(raw_signature_bytes(spec));
  HSMUX_TRY(const std::size_t size,
            session.sign({recipe.mechanism, nullptr, 0}, key, whole_message ? input.message : input.digest, raw));
  if (size != raw.size()) {
    Error error =
        make_error(ErrorKind::kDevice,
                   fmt::format("C_Sign gave {} bytes for a signature of {} instead of {}", size, spec.name, raw.size()),
                   Retry::kElsewhere);
    error.call = Call::kSign;
    return fail(std::move(error));
  }
  if (recipe.id != RecipeId::kEddsa) return ecdsa_der_encode(raw, out);
  std::ranges::copy(raw, out.begin());
  return size;
}

Result<std::size_t> run_decrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out) {
  switch (recipe.id) {
  case RecipeId::kGcmHostIv: return decrypt_gcm(quirks, session, key, input, out);
  case RecipeId::kOaepToken: return decrypt_oaep_token(session, key, input, out);
  case RecipeId::kOaepHost: return decrypt_oaep_host(session, key, input, out);
  case RecipeId::kEcdsaHostDigest:
  case RecipeId::kEcdsaHashed:
  case RecipeId::kEddsa: break;
  }
  return fail(ErrorKind::kInternal, "a recipe that does not decrypt was chosen for decryption");
}

Result<std::size_t> run_encrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out) {
  if (recipe.id != RecipeId::kGcmHostIv) {
    return fail(ErrorKind::kInternal, "a recipe that does not encrypt was chosen for encryption");
  }
  const std::size_t total = envelope_bytes(input.key_id.size(), input.data.size());
  HSMUX_CHECK(room(total, out.size()));
  // A fresh IV for every attempt: an IV is never used twice with one key, also not by a retry.
  std::array<std::uint8_t, kIvBytes> iv{};
  HSMUX_CHECK(random_bytes(iv));
  HSMUX_TRY(Bytes aad, envelope_aad(input.key_id, input.aad));
  GcmMechanism gcm(quirks, iv, aad);
  const std::size_t header = write_envelope_header(input.key_id, iv, out);
  HSMUX_TRY(const std::size_t size,
            session.encrypt(gcm.mechanism, key, input.data, out.subspan(header, total - header)));
  if (header + size != total) {
    Error error = make_error(ErrorKind::kDevice,
                             fmt::format("C_Encrypt gave {} bytes for AES-GCM instead of {}", size, total - header),
                             Retry::kElsewhere);
    error.call = Call::kEncrypt;
    return fail(std::move(error));
  }
  return total;
}

} // namespace hsmux
