#include "tests/simhsm/own/openssl_objects.h"

#include <array>
#include <new>
#include <string>

namespace hsmux::sim::own {
namespace {

// They are never freed: threads may still compute while the process ends.
struct Algorithms {
  const EVP_MD* sha1 = EVP_MD_fetch(nullptr, "SHA1", nullptr);
  const EVP_MD* sha224 = EVP_MD_fetch(nullptr, "SHA224", nullptr);
  const EVP_MD* sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  const EVP_MD* sha384 = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  const EVP_MD* sha512 = EVP_MD_fetch(nullptr, "SHA512", nullptr);
  EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  std::array<std::array<const EVP_CIPHER*, 3>, 5> aes{};

  Algorithms() {
    constexpr std::array kModes = {"-ECB", "-CBC", "-GCM", "-WRAP", "-WRAP-PAD"};
    constexpr std::array kSizes = {"AES-128", "AES-192", "AES-256"};
    for (std::size_t mode = 0; mode < kModes.size(); ++mode) {
      for (std::size_t size = 0; size < kSizes.size(); ++size) {
        const std::string name = std::string(kSizes.at(size)) + kModes.at(mode);
        aes.at(mode).at(size) = EVP_CIPHER_fetch(nullptr, name.c_str(), nullptr);
      }
    }
  }
};

const Algorithms& algorithms() {
  static const Algorithms all;
  return all;
}

} // namespace

Number number_from(View big_endian) {
  return allocated(Number(BN_bin2bn(big_endian.data(), static_cast<int>(big_endian.size()), nullptr)));
}

Bytes bytes_of(const BIGNUM* number) { return bytes_of(number, static_cast<std::size_t>(BN_num_bytes(number))); }

Bytes bytes_of(const BIGNUM* number, std::size_t width) {
  Bytes bytes(width);
  BN_bn2binpad(number, bytes.data(), static_cast<int>(width));
  return bytes;
}

const EVP_MD* digest(CK_MECHANISM_TYPE hash) {
  switch (hash) {
  case CKM_SHA_1: return algorithms().sha1;
  case CKM_SHA224: return algorithms().sha224;
  case CKM_SHA256: return algorithms().sha256;
  case CKM_SHA384: return algorithms().sha384;
  case CKM_SHA512: return algorithms().sha512;
  default: return nullptr;
  }
}

const EVP_MD* mask_digest(CK_RSA_PKCS_MGF_TYPE mask) {
  switch (mask) {
  case CKG_MGF1_SHA1: return digest(CKM_SHA_1);
  case CKG_MGF1_SHA224: return digest(CKM_SHA224);
  case CKG_MGF1_SHA256: return digest(CKM_SHA256);
  case CKG_MGF1_SHA384: return digest(CKM_SHA384);
  case CKG_MGF1_SHA512: return digest(CKM_SHA512);
  default: return nullptr;
  }
}

Bytes digest_of(const EVP_MD* digest, View data) {
  Bytes result(static_cast<std::size_t>(EVP_MD_get_size(digest)));
  if (EVP_Digest(data.data(), data.size(), result.data(), nullptr, digest, nullptr) != 1) throw std::bad_alloc();
  return result;
}

const EVP_CIPHER* aes(AesMode mode, std::size_t key_bytes) {
  return algorithms().aes.at(static_cast<std::size_t>(mode)).at(key_bytes / 8 - 2);
}

EVP_MAC* hmac() { return algorithms().hmac; }

} // namespace hsmux::sim::own
