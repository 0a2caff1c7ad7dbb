// ECIES ciphertexts: parsing, and opening with a shared secret that the fuzzer knows. Where the first byte is odd the
// MAC is made right, so that what is behind it is reached.
#include "mechanisms/ecies.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>

#include <algorithm>
#include <optional>

#include "mechanisms/host_crypto.h"
#include "mechanisms/openssl_handles.h"
#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

const Bytes kKnownShared(kEciesSharedBytes, 0x5a);

// Cipher key ‖ MAC key.
Bytes ecies_keys(ByteView point) {
  Bytes secret(point.begin(), point.end()), keys(16 + 64);
  secret.insert(secret.end(), kKnownShared.begin(), kKnownShared.end());
  static EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_X963KDF, nullptr);
  const openssl::Handle<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf));
  char hash[] = "SHA256";
  const std::array params{OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
                          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
                          OSSL_PARAM_construct_end()};
  fuzz::promise(EVP_KDF_derive(context.get(), keys.data(), keys.size(), params.data()) == 1, "OpenSSL has KDF2");
  return keys;
}

Bytes ecies_mac(const Bytes& keys, ByteView ciphertext) {
  Bytes covered(ciphertext.begin(), ciphertext.end()), tag(32);
  covered.resize(covered.size() + 8);
  HMAC(EVP_sha256(), keys.data() + 16, 64, covered.data(), covered.size(), tag.data(), nullptr);
  return tag;
}

// By OpenSSL's own check of the padding.
std::optional<Bytes> cbc_plaintext(const Bytes& keys, const EciesView& view) {
  const openssl::CipherContext context(EVP_CIPHER_CTX_new());
  Bytes out(view.ciphertext.size() + 16);
  int size = 0, last = 0;
  EVP_DecryptInit_ex(context.get(), EVP_aes_128_cbc(), nullptr, keys.data(), view.iv.data());
  EVP_DecryptUpdate(context.get(), out.data(), &size, view.ciphertext.data(), static_cast<int>(view.ciphertext.size()));
  if (EVP_DecryptFinal_ex(context.get(), out.data() + size, &last) != 1) return std::nullopt;
  out.resize(static_cast<std::size_t>(size + last));
  return out;
}

// Plaintext blocks of the fuzzer's choice become the ciphertext: chance does not find a padding.
void encrypt_in_place(const Bytes& keys, ByteView iv, std::span<std::uint8_t> blocks) {
  const openssl::CipherContext context(EVP_CIPHER_CTX_new());
  Bytes out(blocks.size() + 16);
  int size = 0;
  EVP_EncryptInit_ex(context.get(), EVP_aes_128_cbc(), nullptr, keys.data(), iv.data());
  EVP_CIPHER_CTX_set_padding(context.get(), 0);
  EVP_EncryptUpdate(context.get(), out.data(), &size, blocks.data(), static_cast<int>(blocks.size()));
  std::copy_n(out.begin(), blocks.size(), blocks.begin());
}

} // namespace

HSMUX_FUZZ(ecies) {
  fuzz::Pieces pieces(input);
  const std::uint8_t mode = pieces.byte();
  Bytes sealed(pieces.rest().begin(), pieces.rest().end());
  const Result<EciesView> view = parse_ecies(sealed);
  if (!view) {
    fuzz::promise(view.error().message == decrypt_failed().message, "all mistakes look the same");
    return;
  }
  fuzz::promise(view->iv.size() + view->point.size() + view->ciphertext.size() + view->tag.size() == sealed.size() &&
                    view->iv.data() == sealed.data() && view->tag.data() + view->tag.size() == &*sealed.end(),
                "the parts are the whole");
  const Bytes keys = ecies_keys(view->point);
  if ((mode & 2) != 0) encrypt_in_place(keys, view->iv, std::span(sealed).subspan(81, view->ciphertext.size()));
  if ((mode & 1) != 0) std::ranges::copy(ecies_mac(keys, view->ciphertext), sealed.end() - 32);

  const bool authentic = std::ranges::equal(ecies_mac(keys, view->ciphertext), view->tag);
  const std::optional<Bytes> plaintext = authentic ? cbc_plaintext(keys, *view) : std::nullopt;
  Bytes out(ecies_plaintext_bytes_max(*view), 0xee);
  const Result<std::size_t> size = ecies_open(*view, kKnownShared, out);
  fuzz::promise(size.has_value() == plaintext.has_value(), "what is right is accepted, and nothing else");
  if (size) {
    out.resize(*size);
    fuzz::promise(out == *plaintext, "the plaintext comes out");
  } else {
    fuzz::promise(size.error().message == decrypt_failed().message, "all mistakes look the same");
    fuzz::promise(std::ranges::all_of(out, [](std::uint8_t byte) { return byte == 0xee; }), "nothing is written");
  }
}

} // namespace hsmux
