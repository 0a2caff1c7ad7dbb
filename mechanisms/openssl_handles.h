// OpenSSL's objects as unique_ptrs that free them.
#pragma once

#include <openssl/bn.h>
#include <openssl/evp.h>

#include <memory>

namespace hsmux::openssl {

template <auto Free> struct Freed {
  template <class T> void operator()(T* object) const { Free(object); }
};
template <class T, auto Free> using Handle = std::unique_ptr<T, Freed<Free>>;

using Key = Handle<EVP_PKEY, EVP_PKEY_free>;
using KeyContext = Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using DigestContext = Handle<EVP_MD_CTX, EVP_MD_CTX_free>;
using CipherContext = Handle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using PublicNumber = Handle<BIGNUM, BN_free>;
using SecretNumber = Handle<BIGNUM, BN_clear_free>;

} // namespace hsmux::openssl
