#include "mechanisms/oaep.h"

// RSA_padding_check_PKCS1_OAEP_mgf1 is deprecated in OpenSSL 3.0 without a successor for a block that is decrypted
// elsewhere. Defined before OpenSSL's first header, which reads it.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>

#include "mechanisms/host_crypto.h"

namespace hsmux {
namespace {

constexpr std::size_t kOverheadBytes = 66; // two SHA-256 digests and two bytes
constexpr std::size_t kModulusBytesMax = 2048;

} // namespace

Result<std::size_t> oaep_decode_sha256(ByteView block, std::span<std::uint8_t> out) {
  if (block.size() < kOverheadBytes || block.size() > kModulusBytesMax) return fail(decrypt_failed());
  if (out.size() < block.size() - kOverheadBytes) {
    return fail(ErrorKind::kInvalidArgument, "the output buffer is too small for a decrypted RSA block");
  }
  SecureBytes plaintext(block.size());
  const auto size = static_cast<int>(block.size());
  // Constant time inside, whatever is wrong; it writes the plaintext only when all is right.
  const int result = RSA_padding_check_PKCS1_OAEP_mgf1(plaintext.span().data(), size, block.data(), size, size, nullptr,
                                                       0, EVP_sha256(), EVP_sha256());
  // Always, so that neither the time nor what OpenSSL left in this thread's error queue tells good from bad.
  ERR_clear_error();
  if (result < 0) return fail(decrypt_failed());
  std::copy_n(plaintext.view().begin(), result, out.begin());
  return static_cast<std::size_t>(result);
}

Result<SecureBytes> pad_to_modulus(ByteView raw, std::size_t modulus_bytes) {
  if (modulus_bytes > kModulusBytesMax) {
    return fail(ErrorKind::kUnsupported, "RSA keys have at most 16384 bits: use a smaller key");
  }
  if (raw.size() > modulus_bytes) return fail(decrypt_failed());
  SecureBytes padded(modulus_bytes);
  std::ranges::copy(raw, padded.span().last(raw.size()).begin());
  return padded;
}

} // namespace hsmux
