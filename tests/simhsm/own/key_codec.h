// Keys between PKCS#11's attributes, PKCS#8 and OpenSSL. Pure functions; any thread.
#pragma once

#include "tests/simhsm/own/curve.h"
#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

constexpr std::size_t kRsaBitsMin = 2048, kRsaBitsMax = 4096;
constexpr std::size_t kSecretBytesMax = 1024;

bool is_aes_size(std::size_t bytes);

// The key that the attributes of C_CreateObject describe; they are complete. Refuses with CKR_ATTRIBUTE_VALUE_INVALID
// values that make no key.
std::shared_ptr<const Key> key_from(const Attributes& attributes);

std::shared_ptr<const Key> generate_rsa(std::size_t bits, View public_exponent);
std::shared_ptr<const Key> generate_ec(const Curve& curve);
std::shared_ptr<const Key> secret_key(CK_KEY_TYPE type, View bytes);
// The public key of `point`, or nothing where it is not on the curve.
PKey public_key_at(const Curve& curve, View point);

// Adds the attributes that follow from the key, those of CKA_CLASS: the key's parts, CKA_PUBLIC_KEY_INFO,
// CKA_VALUE_LEN, CKA_CHECK_VALUE.
void describe(const Key& key, Attributes& attributes);

// A private key as the DER of a PrivateKeyInfo (RFC 5208), as C_WrapKey and C_UnwrapKey have it.
Bytes to_pkcs8(const Key& key);
// nullptr where `der` holds no key of `type` that the HSM knows.
std::shared_ptr<const Key> from_pkcs8(View der, CK_KEY_TYPE type);

} // namespace hsmux::sim::own
