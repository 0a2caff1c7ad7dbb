#include "mechanisms/software_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include <algorithm>
#include <string_view>

#include "mechanisms/openssl_handles.h"

namespace hsmux {
namespace {

using openssl::Key;
using openssl::KeyContext;
using Pkcs8 = openssl::Handle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>;
using Number = openssl::SecretNumber;

Error failed(std::string_view what) {
  ERR_clear_error();
  return make_error(ErrorKind::kInternal, "OpenSSL could not " + std::string(what));
}

Result<Number> number(const Key& key, const char* name) {
  BIGNUM* value = BN_secure_new();
  if (value == nullptr || EVP_PKEY_get_bn_param(key.get(), name, &value) != 1) {
    BN_clear_free(value);
    return fail(failed("read a key that it made"));
  }
  return Number(value);
}

Result<SecureBytes> secret(const Key& key, const char* name, std::size_t size = 0) {
  HSMUX_TRY(const Number value, number(key, name));
  SecureBytes bytes(size != 0 ? size : static_cast<std::size_t>(BN_num_bytes(value.get())));
  if (BN_bn2binpad(value.get(), bytes.span().data(), static_cast<int>(bytes.size())) < 0) {
    return fail(failed("write a key that it made"));
  }
  return bytes;
}

Result<Bytes> open_value(const Key& key, const char* name) {
  HSMUX_TRY(const SecureBytes bytes, secret(key, name));
  return Bytes(bytes.view().begin(), bytes.view().end());
}

Result<SoftwareKey> ec_parts(Curve curve, const Key& key) {
  EcPrivateParts parts;
  parts.curve = curve;
  HSMUX_TRY(parts.value, secret(key, OSSL_PKEY_PARAM_PRIV_KEY, field_bytes(curve)));
  HSMUX_TRY(const SecureBytes x, secret(key, OSSL_PKEY_PARAM_EC_PUB_X, field_bytes(curve)));
  HSMUX_TRY(const SecureBytes y, secret(key, OSSL_PKEY_PARAM_EC_PUB_Y, field_bytes(curve)));
  parts.point.push_back(0x04); // uncompressed
  parts.point.insert(parts.point.end(), x.view().begin(), x.view().end());
  parts.point.insert(parts.point.end(), y.view().begin(), y.view().end());
  return parts;
}

Result<SoftwareKey> ed25519_parts(const Key& key) {
  constexpr std::size_t kBytes = 32;
  EdPrivateParts parts{.point = Bytes(kBytes), .value = SecureBytes(kBytes)};
  std::size_t point_bytes = kBytes, value_bytes = kBytes;
  if (EVP_PKEY_get_raw_public_key(key.get(), parts.point.data(), &point_bytes) != 1 || point_bytes != kBytes ||
      EVP_PKEY_get_raw_private_key(key.get(), parts.value.span().data(), &value_bytes) != 1 || value_bytes != kBytes) {
    return fail(failed("read an Ed25519 key"));
  }
  return parts;
}

Result<SoftwareKey> rsa_parts(const Key& key) {
  RsaPrivateParts parts;
  HSMUX_TRY(parts.modulus, open_value(key, OSSL_PKEY_PARAM_RSA_N));
  HSMUX_TRY(parts.public_exponent, open_value(key, OSSL_PKEY_PARAM_RSA_E));
  HSMUX_TRY(parts.private_exponent, secret(key, OSSL_PKEY_PARAM_RSA_D));
  HSMUX_TRY(parts.prime1, secret(key, OSSL_PKEY_PARAM_RSA_FACTOR1));
  HSMUX_TRY(parts.prime2, secret(key, OSSL_PKEY_PARAM_RSA_FACTOR2));
  HSMUX_TRY(parts.exponent1, secret(key, OSSL_PKEY_PARAM_RSA_EXPONENT1));
  HSMUX_TRY(parts.exponent2, secret(key, OSSL_PKEY_PARAM_RSA_EXPONENT2));
  HSMUX_TRY(parts.coefficient, secret(key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1));
  return parts;
}

Error refused(std::string why) {
  ERR_clear_error();
  return make_error(ErrorKind::kInvalidArgument, std::move(why));
}

Result<Key> parse_pkcs8(ByteView der) {
  constexpr std::size_t kDerBytesMax = 65'536;
  prepare_secure_heap();
  const unsigned char* position = der.data();
  const Pkcs8 info(
      der.size() > kDerBytesMax ? nullptr : d2i_PKCS8_PRIV_KEY_INFO(nullptr, &position, static_cast<long>(der.size())));
  Key key(info && position == der.data() + der.size() ? EVP_PKCS82PKEY(info.get()) : nullptr);
  if (!key) return fail(refused("not an unencrypted PKCS#8 private key"));
  return key;
}

Result<Curve> curve_of(const Key& key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.get(), &der);
  const Bytes spki(der, der + (size > 0 ? size : 0));
  OPENSSL_free(der);
  HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
  if (facts.curve) return *facts.curve;
  return fail(refused("only EC keys (P-256, P-384, secp256k1), Ed25519 and RSA keys are taken"));
}

// Before any arithmetic: a check of a huge key would take minutes.
Status check_rsa_shape(const Key& key) {
  const int bits = EVP_PKEY_get_bits(key.get());
  if (bits < 1024 || bits > 4096) return fail(refused("RSA keys have 1024 to 4096 bits"));
  BIGNUM* third = nullptr;
  const bool multi_prime = EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1;
  BN_clear_free(third);
  ERR_clear_error();
  // PKCS#11 has attributes for two primes only.
  if (multi_prime) return fail(refused("RSA keys of more than two primes cannot be imported into a token"));
  return {};
}

Status check_whole(const Key& key) {
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  const bool whole = context && EVP_PKEY_check(context.get()) == 1;
  ERR_clear_error();
  if (whole) return {};
  return fail(refused("the parts of the private key do not belong together"));
}

struct PublicHalf {
  Result<Bytes> operator()(const EcPrivateParts& key) const { return ec_spki(key.curve, key.point); }
  Result<Bytes> operator()(const EdPrivateParts& key) const { return ed25519_spki(key.point); }
  Result<Bytes> operator()(const RsaPrivateParts& key) const { return rsa_spki(key.modulus, key.public_exponent); }
  Result<Bytes> operator()(const AesParts&) const {
    return fail(ErrorKind::kUnsupported, "an AES key has no public half");
  }
};

} // namespace

Result<SoftwareKey> generate_ec(Curve curve) {
  prepare_secure_heap();
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", openssl_group(curve)));
  if (!key) return fail(failed("make an EC key"));
  return ec_parts(curve, key);
}

Result<SoftwareKey> generate_ed25519() {
  prepare_secure_heap();
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (!key) return fail(failed("make an Ed25519 key"));
  return ed25519_parts(key);
}

Result<SoftwareKey> generate_rsa(std::size_t bits) {
  if (bits != 2048 && bits != 3072 && bits != 4096) {
    return fail(ErrorKind::kInvalidArgument, "RSA keys have 2048, 3072 or 4096 bits");
  }
  prepare_secure_heap();
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", bits));
  if (!key) return fail(failed("make an RSA key"));
  return rsa_parts(key);
}

Result<SoftwareKey> generate_aes(std::size_t bytes) {
  if (bytes != 16 && bytes != 32) return fail(ErrorKind::kInvalidArgument, "AES keys have 16 or 32 bytes");
  AesParts parts{SecureBytes(bytes)};
  if (RAND_priv_bytes(parts.value.span().data(), static_cast<int>(bytes)) != 1) return fail(failed("make an AES key"));
  return parts;
}

Result<Bytes> software_key_spki(const SoftwareKey& key) { return std::visit(PublicHalf{}, key); }

Result<SoftwareKey> software_key_from_pkcs8(ByteView der) {
  HSMUX_TRY(const Key key, parse_pkcs8(der));
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA) {
    HSMUX_CHECK(check_rsa_shape(key));
    HSMUX_CHECK(check_whole(key));
    return rsa_parts(key);
  }
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519) return ed25519_parts(key);
  HSMUX_TRY(const Curve curve, curve_of(key));
  HSMUX_CHECK(check_whole(key));
  return ec_parts(curve, key);
}

Result<SecureBytes> pkcs8_der(ByteView pem_or_der) {
  prepare_secure_heap();
  const std::string_view text(reinterpret_cast<const char*>(pem_or_der.data()), pem_or_der.size());
  if (text.find("-----BEGIN ") == std::string_view::npos) {
    SecureBytes der(pem_or_der.size());
    std::ranges::copy(pem_or_der, der.span().begin());
    return der;
  }
  const openssl::Handle<BIO, BIO_free> memory(BIO_new_mem_buf(pem_or_der.data(), static_cast<int>(pem_or_der.size())));
  unsigned char* read = nullptr;
  long size = 0;
  if (!memory ||
      PEM_bytes_read_bio_secmem(&read, &size, nullptr, PEM_STRING_PKCS8INF, memory.get(), nullptr, nullptr) != 1) {
    return fail(
        refused("not a PKCS#8 private key (PRIVATE KEY); openssl pkcs8 -topk8 -nocrypt makes one of an encrypted "
                "key or of an older form"));
  }
  SecureBytes der(static_cast<std::size_t>(size));
  std::copy_n(read, size, der.span().begin());
  OPENSSL_secure_clear_free(read, static_cast<std::size_t>(size));
  return der;
}

} // namespace hsmux
