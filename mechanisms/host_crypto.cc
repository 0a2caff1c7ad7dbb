#include "mechanisms/host_crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <climits>

#include "mechanisms/ecdsa_der.h"
#include "mechanisms/openssl_handles.h"

namespace hsmux {
namespace {

using PublicKey = openssl::Key;
using openssl::KeyContext;

// OpenSSL's ECDSA takes its sizes as int: a longer input would be cut to its beginning, and that might verify.
constexpr std::size_t kDigestBytesMax = 64, kSignatureBytesMax = ecdsa_der_bytes_max(66);

// Fetched once: a fetch per digest would cost more than the digest. Never freed, since digests may run during exit.
const EVP_MD* fetched(Hash hash) {
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  static const EVP_MD* const sha384 = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  return hash == Hash::kSha256 ? sha256 : sha384;
}

Result<PublicKey> parse(ByteView spki) {
  if (spki.size() > 16'384) return fail(ErrorKind::kInvalidArgument, "the public key is too long");
  const unsigned char* position = spki.data();
  PublicKey key(d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size())));
  if (key && position == spki.data() + spki.size()) return key;
  ERR_clear_error();
  return fail(ErrorKind::kInvalidArgument, "the public key is not a DER SubjectPublicKeyInfo");
}

} // namespace

std::size_t hash_bytes(Hash hash) { return hash == Hash::kSha256 ? 32 : 48; }

Result<std::size_t> digest(Hash hash, ByteView message, std::span<std::uint8_t> out) {
  if (out.size() < hash_bytes(hash)) {
    return fail(ErrorKind::kInvalidArgument, "the output buffer is too small for a digest");
  }
  unsigned int size = 0;
  if (EVP_Digest(message.data(), message.size(), out.data(), &size, fetched(hash), nullptr) == 1) return size;
  ERR_clear_error();
  return fail(ErrorKind::kInternal, "OpenSSL could not make a digest");
}

Status random_bytes(std::span<std::uint8_t> out) {
  if (out.size() > INT_MAX) return fail(ErrorKind::kInvalidArgument, "ask for fewer random bytes at once");
  if (RAND_bytes(out.data(), static_cast<int>(out.size())) == 1) return {};
  ERR_clear_error();
  return fail(ErrorKind::kInternal, "OpenSSL gave no random bytes");
}

Status verify_ecdsa(ByteView spki, ByteView digest, ByteView der_signature) {
  HSMUX_TRY(const PublicKey key, parse(spki));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC) {
    return fail(ErrorKind::kInvalidArgument, "the public key is not an EC key");
  }
  if (digest.empty() || digest.size() > kDigestBytesMax) {
    return fail(ErrorKind::kInvalidArgument, "a digest has 1 to 64 bytes");
  }
  const KeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
  const bool valid =
      context && der_signature.size() <= kSignatureBytesMax && EVP_PKEY_verify_init(context.get()) == 1 &&
      EVP_PKEY_verify(context.get(), der_signature.data(), der_signature.size(), digest.data(), digest.size()) == 1;
  ERR_clear_error();
  if (valid) return {};
  return fail(ErrorKind::kSignatureInvalid, "the signature does not belong to this message and key");
}

Status verify_ed25519(ByteView spki, ByteView message, ByteView signature) {
  HSMUX_TRY(const PublicKey key, parse(spki));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    return fail(ErrorKind::kInvalidArgument, "the public key is not an Ed25519 key");
  }
  const openssl::DigestContext context(EVP_MD_CTX_new());
  const bool valid =
      context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
  ERR_clear_error();
  if (valid) return {};
  return fail(ErrorKind::kSignatureInvalid, "the signature does not belong to this message and key");
}

Status verify_rsa(ByteView spki, RsaPadding padding, ByteView digest, ByteView signature) {
  HSMUX_TRY(const PublicKey key, parse(spki));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) {
    return fail(ErrorKind::kInvalidArgument, "the public key is not an RSA key");
  }
  if (digest.size() != hash_bytes(Hash::kSha256)) {
    return fail(ErrorKind::kInvalidArgument, "a SHA-256 digest has 32 bytes");
  }
  const KeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
  const bool pss = padding == RsaPadding::kPss;
  bool valid = context && EVP_PKEY_verify_init(context.get()) == 1 &&
               EVP_PKEY_CTX_set_rsa_padding(context.get(), pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
               EVP_PKEY_CTX_set_signature_md(context.get(), EVP_sha256()) == 1;
  if (pss) {
    valid = valid && EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), EVP_sha256()) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(context.get(), RSA_PSS_SALTLEN_DIGEST) == 1;
  }
  valid =
      valid && EVP_PKEY_verify(context.get(), signature.data(), signature.size(), digest.data(), digest.size()) == 1;
  ERR_clear_error();
  if (valid) return {};
  return fail(ErrorKind::kSignatureInvalid, "the signature does not belong to this message and key");
}

Result<std::array<std::uint8_t, 51>> sha256_digest_info(ByteView digest) {
  constexpr std::array<std::uint8_t, 19> kPrefix{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                                 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
  if (digest.size() != hash_bytes(Hash::kSha256)) {
    return fail(ErrorKind::kInvalidArgument, "a SHA-256 digest has 32 bytes");
  }
  std::array<std::uint8_t, 51> info{};
  std::ranges::copy(digest, std::ranges::copy(kPrefix, info.begin()).out);
  return info;
}

Result<Bytes> rsa_oaep_sha256_encrypt(ByteView spki, ByteView plaintext) {
  HSMUX_TRY(const PublicKey key, parse(spki));
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) {
    return fail(ErrorKind::kInvalidArgument, "the public key is not an RSA key");
  }
  const auto modulus_bytes = static_cast<std::size_t>(EVP_PKEY_get_size(key.get()));
  if (modulus_bytes < 66 || plaintext.size() > modulus_bytes - 66) {
    return fail(ErrorKind::kInvalidArgument, "the plaintext is too long for this RSA key");
  }
  const KeyContext context(EVP_PKEY_CTX_new(key.get(), nullptr));
  Bytes ciphertext(modulus_bytes);
  std::size_t size = ciphertext.size();
  const bool done = context && EVP_PKEY_encrypt_init(context.get()) == 1 &&
                    EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) == 1 &&
                    EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), EVP_sha256()) == 1 &&
                    EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), EVP_sha256()) == 1 &&
                    EVP_PKEY_encrypt(context.get(), ciphertext.data(), &size, plaintext.data(), plaintext.size()) == 1;
  ERR_clear_error();
  if (!done) return fail(ErrorKind::kInvalidArgument, "OpenSSL cannot encrypt for this RSA key: is it malformed?");
  ciphertext.resize(size);
  return ciphertext;
}

Error decrypt_failed() {
  return make_error(ErrorKind::kDecryptFailed, "the ciphertext could not be decrypted with this key");
}

bool equal_constant_time(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string to_hex(ByteView bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Result<Bytes> from_hex(std::string_view text) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) break;
    bytes.push_back(static_cast<std::uint8_t>(16 * high + low));
  }
  if (2 * bytes.size() != text.size()) return fail(ErrorKind::kInvalidArgument, "not hexadecimal (pairs of 0-9, a-f)");
  return bytes;
}

} // namespace hsmux
