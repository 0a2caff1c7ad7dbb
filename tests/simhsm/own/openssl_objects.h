// OpenSSL's objects as unique_ptrs that free them, and its algorithms, each fetched once for the process (a fetch at
// every use would take locks of OpenSSL's). Any thread.
#pragma once

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include <memory>
#include <vector>

#include "slots/pkcs11.h"
#include "tests/simhsm/own/bytes.h"

namespace hsmux::sim::own {

template <auto Free> struct Freed {
  template <class T> void operator()(T* object) const { Free(object); }
};
template <class T, auto Free> using Handle = std::unique_ptr<T, Freed<Free>>;

using PKey = Handle<EVP_PKEY, EVP_PKEY_free>;
using KeyContext = Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using DigestContext = Handle<EVP_MD_CTX, EVP_MD_CTX_free>;
using MacContext = Handle<EVP_MAC_CTX, EVP_MAC_CTX_free>;
using CipherContext = Handle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using Number = Handle<BIGNUM, BN_clear_free>;
using NumberContext = Handle<BN_CTX, BN_CTX_free>;
using Group = Handle<EC_GROUP, EC_GROUP_free>;
using Point = Handle<EC_POINT, EC_POINT_free>;

// A null pointer is OpenSSL's way to say that memory is short.
template <class Owner> Owner allocated(Owner owner) {
  if (!owner) throw std::bad_alloc();
  return owner;
}

Number number_from(View big_endian);
Bytes bytes_of(const BIGNUM* number);                    // without leading zeros
Bytes bytes_of(const BIGNUM* number, std::size_t width); // with leading zeros

// The digest that CKM_SHA_1, CKM_SHA256, ... name; nullptr for others.
const EVP_MD* digest(CK_MECHANISM_TYPE hash);
// The digest that CKG_MGF1_SHA1, ... name; nullptr for others.
const EVP_MD* mask_digest(CK_RSA_PKCS_MGF_TYPE mask);
Bytes digest_of(const EVP_MD* digest, View data);

enum class AesMode : std::uint8_t { kEcb, kCbc, kGcm, kWrap, kWrapPad };
const EVP_CIPHER* aes(AesMode mode, std::size_t key_bytes);

EVP_MAC* hmac();

} // namespace hsmux::sim::own
