#include "mechanisms/ecies.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

#include "mechanisms/host_crypto.h"
#include "mechanisms/openssl_handles.h"
#include "mechanisms/secure_bytes.h"
#include "mechanisms/spki.h"

namespace hsmux {
namespace {

using openssl::CipherContext;
using openssl::Key;
using openssl::KeyContext;
using Point = openssl::Handle<EC_POINT, EC_POINT_free>;
using KdfContext = openssl::Handle<EVP_KDF_CTX, EVP_KDF_CTX_free>;

constexpr std::size_t kBlockBytes = 16, kPointBytes = 65, kMacBytes = 32, kCipherKeyBytes = 16, kMacKeyBytes = 64;
constexpr std::size_t kDataBytesMax = 1UL << 20; // OpenSSL counts with int; the spec table allows less
constexpr std::uint8_t kUncompressedPoint = 0x04;

Error openssl_failed(std::string what) {
  ERR_clear_error();
  return make_error(ErrorKind::kInternal, "OpenSSL could not " + std::move(what));
}

// EC_POINT_oct2point refuses what is not on the curve. The order is prime and the form excludes infinity, so every
// point that is left has that order.
bool on_p256(ByteView point) {
  static const EC_GROUP* const group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1); // never freed, as digests
  const Point parsed(group == nullptr ? nullptr : EC_POINT_new(group));
  const bool is = parsed && EC_POINT_oct2point(group, parsed.get(), point.data(), point.size(), nullptr) == 1;
  ERR_clear_error();
  return is;
}

// Cipher key ‖ MAC key. X9.63's function without shared info is KDF2.
Result<SecureBytes> derive_keys(ByteView point, ByteView shared) {
  static EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_X963KDF, nullptr);
  SecureBytes secret(point.size() + shared.size());
  std::ranges::copy(point, secret.span().begin());
  std::ranges::copy(shared, secret.span().subspan(point.size()).begin());
  char hash[] = "SHA256";
  const std::array params{OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
                          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.span().data(), secret.size()),
                          OSSL_PARAM_construct_end()};
  const KdfContext context(kdf == nullptr ? nullptr : EVP_KDF_CTX_new(kdf));
  SecureBytes keys(kCipherKeyBytes + kMacKeyBytes);
  if (context && EVP_KDF_derive(context.get(), keys.span().data(), keys.size(), params.data()) == 1) return keys;
  return fail(openssl_failed("derive a key"));
}

Result<std::array<std::uint8_t, kMacBytes>> mac(const SecureBytes& keys, ByteView ciphertext) {
  Bytes covered(ciphertext.begin(), ciphertext.end());
  covered.resize(covered.size() + 8); // the length of the encoding vector, which is empty
  const ByteView key = keys.view().subspan(kCipherKeyBytes);
  std::array<std::uint8_t, kMacBytes> tag{};
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), covered.data(), covered.size(), tag.data(), &size) !=
          nullptr &&
      size == tag.size()) {
    return tag;
  }
  return fail(openssl_failed("make a MAC"));
}

// Whole blocks, without OpenSSL's padding: its check takes as long as it finds something wrong.
Result<SecureBytes> cbc(bool encrypt, const SecureBytes& keys, ByteView iv, ByteView in) {
  const CipherContext context(EVP_CIPHER_CTX_new());
  SecureBytes out(in.size() + kBlockBytes);
  int size = 0, last = 0;
  const bool done =
      context &&
      EVP_CipherInit_ex(context.get(), EVP_aes_128_cbc(), nullptr, keys.view().data(), iv.data(), encrypt ? 1 : 0) ==
          1 &&
      EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1 &&
      EVP_CipherUpdate(context.get(), out.span().data(), &size, in.data(), static_cast<int>(in.size())) == 1 &&
      EVP_CipherFinal_ex(context.get(), out.span().data() + size, &last) == 1;
  if (!done) return fail(openssl_failed("run AES-CBC"));
  out.resize_down(in.size());
  return out;
}

// All ones when a < b, else zero; both below 2^31.
constexpr std::uint32_t mask_less(std::uint32_t a, std::uint32_t b) { return 0U - ((a - b) >> 31); }

struct Padding {
  std::uint32_t wrong = 0; // zero: well formed
  std::size_t bytes = 0;
};
// PKCS#7 (RFC 5652, 6.3) of the last block, looking at all of it whatever it holds.
Padding padding_of(ByteView blocks) {
  const ByteView last = blocks.last(kBlockBytes);
  const std::uint32_t count = last[kBlockBytes - 1];
  std::uint32_t wrong = mask_less(count, 1) | mask_less(kBlockBytes, count);
  for (std::uint32_t i = 0; i < kBlockBytes; ++i) wrong |= mask_less(i, count) & (last[kBlockBytes - 1 - i] ^ count);
  return {wrong, count};
}

Result<Key> parse_p256(ByteView spki) {
  HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
  if (facts.curve != Curve::kP256) return fail(ErrorKind::kInvalidArgument, "the public key is not a P-256 key");
  const unsigned char* position = spki.data();
  return Key(d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size())));
}

struct Ephemeral {
  std::array<std::uint8_t, kPointBytes> point{};
  SecureBytes shared;
};
Result<Ephemeral> agree(const Key& peer) {
  prepare_secure_heap();
  const Key own(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  Ephemeral result{.point = {}, .shared = SecureBytes(kEciesSharedBytes)};
  std::size_t point_bytes = 0, shared_bytes = kEciesSharedBytes;
  const KeyContext context(own ? EVP_PKEY_CTX_new_from_pkey(nullptr, own.get(), nullptr) : nullptr);
  const bool done = context &&
                    EVP_PKEY_get_octet_string_param(own.get(), OSSL_PKEY_PARAM_PUB_KEY, result.point.data(),
                                                    kPointBytes, &point_bytes) == 1 &&
                    point_bytes == kPointBytes && result.point[0] == kUncompressedPoint &&
                    EVP_PKEY_derive_init(context.get()) == 1 &&
                    EVP_PKEY_derive_set_peer(context.get(), peer.get()) == 1 &&
                    EVP_PKEY_derive(context.get(), result.shared.span().data(), &shared_bytes) == 1 &&
                    shared_bytes == kEciesSharedBytes;
  if (!done) return fail(openssl_failed("agree on a key with this public key"));
  return result;
}

} // namespace

Result<EciesView> parse_ecies(ByteView sealed) {
  if (sealed.size() < ecies_bytes(0) || sealed.size() > kDataBytesMax) return fail(decrypt_failed());
  const ByteView rest = sealed.subspan(kBlockBytes + kPointBytes);
  const EciesView view{.iv = sealed.first(kBlockBytes),
                       .point = sealed.subspan(kBlockBytes, kPointBytes),
                       .ciphertext = rest.first(rest.size() - kMacBytes),
                       .tag = rest.last(kMacBytes)};
  const bool well_formed = view.ciphertext.size() % kBlockBytes == 0 && view.point[0] == kUncompressedPoint;
  if (!well_formed || !on_p256(view.point)) return fail(decrypt_failed());
  return view;
}

std::size_t ecies_bytes(std::size_t plaintext_bytes) {
  return kBlockBytes + kPointBytes + (plaintext_bytes / kBlockBytes + 1) * kBlockBytes + kMacBytes;
}

std::size_t ecies_plaintext_bytes_max(const EciesView& view) { return view.ciphertext.size() - 1; }

Result<std::size_t> ecies_open(const EciesView& view, ByteView shared, std::span<std::uint8_t> out) {
  if (shared.size() != kEciesSharedBytes || out.size() < ecies_plaintext_bytes_max(view)) {
    return fail(ErrorKind::kInvalidArgument, "the shared secret or the output buffer has not the size for ECIES");
  }
  HSMUX_TRY(const SecureBytes keys, derive_keys(view.point, shared));
  HSMUX_TRY(const auto tag, mac(keys, view.ciphertext));
  HSMUX_TRY(const SecureBytes blocks, cbc(false, keys, view.iv, view.ciphertext));
  // Both are looked at before either decides.
  const bool authentic = equal_constant_time(tag, view.tag);
  const Padding padding = padding_of(blocks.view());
  if ((static_cast<unsigned>(!authentic) | padding.wrong) != 0) return fail(decrypt_failed());
  const std::size_t size = blocks.size() - padding.bytes;
  std::copy_n(blocks.view().begin(), size, out.begin());
  return size;
}

Result<Bytes> ecies_seal(ByteView spki, ByteView plaintext) {
  if (plaintext.size() > kDataBytesMax / 2) return fail(ErrorKind::kInvalidArgument, "the plaintext is too long");
  HSMUX_TRY(const Key peer, parse_p256(spki));
  HSMUX_TRY(const Ephemeral ephemeral, agree(peer));
  HSMUX_TRY(const SecureBytes keys, derive_keys(ephemeral.point, ephemeral.shared.view()));
  std::array<std::uint8_t, kBlockBytes> iv{};
  HSMUX_CHECK(random_bytes(iv));
  const auto pad = static_cast<std::uint8_t>(kBlockBytes - plaintext.size() % kBlockBytes);
  SecureBytes padded(plaintext.size() + pad);
  std::ranges::fill(padded.span(), pad);
  std::ranges::copy(plaintext, padded.span().begin());
  HSMUX_TRY(const SecureBytes ciphertext, cbc(true, keys, iv, padded.view()));
  HSMUX_TRY(const auto tag, mac(keys, ciphertext.view()));
  Bytes sealed(iv.begin(), iv.end());
  const auto append = [&sealed](ByteView part) { sealed.insert(sealed.end(), part.begin(), part.end()); };
  append(ephemeral.point);
  append(ciphertext.view());
  append(tag);
  return sealed;
}

} // namespace hsmux
