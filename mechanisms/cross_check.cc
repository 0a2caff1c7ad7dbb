#include "mechanisms/cross_check.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "mechanisms/envelope.h"
#include "mechanisms/openssl_handles.h"
#include "mechanisms/trial.h"

namespace hsmux {
namespace {

using openssl::CipherContext;

constexpr std::array<std::uint8_t, 16> kTestKeyId{'h', 's', 'm', 'u', 'x', ' ', 's', 'e',
                                                  'l', 'f', '-', 't', 'e', 's', 't'};
constexpr std::array<std::uint8_t, 5> kTestAad{'c', 'h', 'e', 'c', 'k'};

Bytes message() {
  Bytes bytes(100);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  return bytes;
}

Error wrong(const char* what) { return make_error(ErrorKind::kDevice, what); }

// The host's own AES-GCM. `tag` is written when encrypting and checked when decrypting.
Result<Bytes> gcm_on_host(bool encrypt, ByteView key, ByteView iv, ByteView aad, ByteView in,
                          std::span<std::uint8_t> tag) {
  const CipherContext context(EVP_CIPHER_CTX_new());
  Bytes out(in.size() + 1);
  int size = 0;
  int last = 0;
  const auto length = [](ByteView bytes) { return static_cast<int>(bytes.size()); };
  bool fine = context && EVP_CipherInit_ex(context.get(), key.size() == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(),
                                           nullptr, key.data(), iv.data(), encrypt ? 1 : 0) == 1;
  fine = fine && EVP_CipherUpdate(context.get(), nullptr, &size, aad.data(), length(aad)) == 1;
  fine = fine && EVP_CipherUpdate(context.get(), out.data(), &size, in.data(), length(in)) == 1;
  if (!encrypt) fine = fine && EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1;
  fine = fine && EVP_CipherFinal_ex(context.get(), out.data() + size, &last) == 1;
  if (encrypt) fine = fine && EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) == 1;
  ERR_clear_error();
  if (!fine) return fail(wrong("OpenSSL does not accept the token's AES-GCM ciphertext"));
  out.resize(static_cast<std::size_t>(size) + static_cast<std::size_t>(last));
  return out;
}

Status check_token_encrypts(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                            ObjectHandle handle, ByteView key) {
  const Bytes plaintext = message();
  const CipherInput input{.data = plaintext, .aad = kTestAad, .key_id = kTestKeyId};
  Bytes sealed(ciphertext_bytes(spec, input));
  HSMUX_CHECK(run_encrypt(recipe, quirks, session, handle, input, sealed));
  HSMUX_TRY(const EnvelopeView view, parse_envelope(sealed));
  HSMUX_TRY(const Bytes aad, envelope_aad(kTestKeyId, kTestAad));
  std::array<std::uint8_t, kTagBytes> tag{};
  std::ranges::copy(view.ciphertext_and_tag.last(kTagBytes), tag.begin());
  const ByteView ciphertext = view.ciphertext_and_tag.first(view.ciphertext_and_tag.size() - kTagBytes);
  HSMUX_TRY(const Bytes opened, gcm_on_host(false, key, view.iv, aad, ciphertext, tag));
  if (opened == plaintext) return {};
  return fail(wrong("OpenSSL's decryption of what the token encrypted is wrong"));
}

Status check_token_decrypts(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                            ObjectHandle handle, ByteView key) {
  const Bytes plaintext = message();
  std::array<std::uint8_t, kIvBytes> iv{};
  HSMUX_CHECK(random_bytes(iv));
  HSMUX_TRY(const Bytes aad, envelope_aad(kTestKeyId, kTestAad));
  std::array<std::uint8_t, kTagBytes> tag{};
  HSMUX_TRY(const Bytes ciphertext, gcm_on_host(true, key, iv, aad, plaintext, tag));
  Bytes sealed(envelope_bytes(kTestKeyId.size(), plaintext.size()));
  const std::size_t header = write_envelope_header(kTestKeyId, iv, sealed);
  std::ranges::copy(ciphertext, std::span(sealed).subspan(header).begin());
  std::ranges::copy(tag, std::span(sealed).last(kTagBytes).begin());
  const CipherInput input{.data = sealed, .aad = kTestAad, .key_id = kTestKeyId};
  return try_decrypt(spec, recipe, quirks, session, handle, input, plaintext);
}

} // namespace

Status cross_check(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session) {
  HSMUX_TRY(const SoftwareKey key, make_software_key(spec, spec.key_bits_default));
  const KeyRequest request{.spec = &spec,
                           .bits = spec.key_bits_default,
                           .id = kTestKeyId,
                           .label = "hsmux self-test",
                           .token_object = false,
                           .quirks = &quirks};
  HSMUX_TRY(const MadeKey made, import_into_token(session, request, key));
  const TemporaryKey imported(session, made);
  if (const auto* aes = std::get_if<AesParts>(&key)) {
    HSMUX_CHECK(check_token_encrypts(spec, recipe, quirks, session, imported.handle(), aes->value.view()));
    return check_token_decrypts(spec, recipe, quirks, session, imported.handle(), aes->value.view());
  }
  HSMUX_TRY(const Bytes spki, software_key_spki(key));
  if (spec.signs) return try_sign(spec, recipe, session, imported.handle(), spki, message());
  return try_decrypt_from_host(spec, recipe, quirks, session, imported.handle(), spki, message());
}

} // namespace hsmux
