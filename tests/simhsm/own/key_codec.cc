#include "tests/simhsm/own/key_codec.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include <array>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

using ParamBuilder = Handle<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using Params = Handle<OSSL_PARAM, OSSL_PARAM_free>;
using Pkcs8 = Handle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>;

struct RsaPart {
  CK_ATTRIBUTE_TYPE type;
  const char* name;
};
constexpr std::array kRsaParts = {RsaPart{CKA_MODULUS, OSSL_PKEY_PARAM_RSA_N},
                                  RsaPart{CKA_PUBLIC_EXPONENT, OSSL_PKEY_PARAM_RSA_E},
                                  RsaPart{CKA_PRIVATE_EXPONENT, OSSL_PKEY_PARAM_RSA_D},
                                  RsaPart{CKA_PRIME_1, OSSL_PKEY_PARAM_RSA_FACTOR1},
                                  RsaPart{CKA_PRIME_2, OSSL_PKEY_PARAM_RSA_FACTOR2},
                                  RsaPart{CKA_EXPONENT_1, OSSL_PKEY_PARAM_RSA_EXPONENT1},
                                  RsaPart{CKA_EXPONENT_2, OSSL_PKEY_PARAM_RSA_EXPONENT2},
                                  RsaPart{CKA_COEFFICIENT, OSSL_PKEY_PARAM_RSA_COEFFICIENT1}};
constexpr std::size_t kRsaPublicParts = 2;

PKey build(const char* algorithm, OSSL_PARAM_BLD* builder, int selection) {
  const auto params = allocated(Params(OSSL_PARAM_BLD_to_param(builder)));
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_name(nullptr, algorithm, nullptr)));
  EVP_PKEY* made = nullptr;
  if (EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, selection, params.get()) != 1) {
    return nullptr;
  }
  return PKey(made);
}

std::shared_ptr<const Key> checked(PKey pkey, CK_KEY_TYPE type, const Curve* curve) {
  require(pkey != nullptr, CKR_ATTRIBUTE_VALUE_INVALID);
  Key key;
  key.type = type;
  key.curve = curve;
  key.bits = static_cast<std::size_t>(EVP_PKEY_get_bits(pkey.get()));
  key.pkey = std::move(pkey);
  if (type == CKK_EC) {
    key.signer = allocated(KeyContext(EVP_PKEY_CTX_new_from_pkey(nullptr, key.pkey.get(), nullptr)));
    if (EVP_PKEY_sign_init(key.signer.get()) != 1) key.signer.reset();
  }
  return std::make_shared<const Key>(std::move(key));
}

// nullptr when the scalar is out of range.
PKey ec_private(const Curve& curve, View scalar) {
  const auto group = allocated(Group(EC_GROUP_new_by_curve_name(curve.nid)));
  const Number number = number_from(scalar);
  BN_set_flags(number.get(), BN_FLG_CONSTTIME);
  const BIGNUM* order = EC_GROUP_get0_order(group.get());
  if (BN_is_zero(number.get()) || BN_cmp(number.get(), order) >= 0) return nullptr;
  const auto point = allocated(Point(EC_POINT_new(group.get())));
  Bytes encoded(1 + 2 * curve.bytes());
  if (EC_POINT_mul(group.get(), point.get(), number.get(), nullptr, nullptr, nullptr) != 1 ||
      EC_POINT_point2oct(group.get(), point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded.data(), encoded.size(),
                         nullptr) != encoded.size()) {
    return nullptr;
  }
  const auto builder = allocated(ParamBuilder(OSSL_PARAM_BLD_new()));
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.name, 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, encoded.data(), encoded.size());
  OSSL_PARAM_BLD_push_BN_pad(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, number.get(), curve.bytes());
  return build("EC", builder.get(), EVP_PKEY_KEYPAIR);
}

PKey private_from(const Curve& curve, View value) {
  if (curve.type == CKK_EC) return ec_private(curve, value);
  return PKey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, value.data(), value.size()));
}

// Do the parts of a private RSA key belong together? Not whether its primes are prime: that is slow.
bool consistent(const std::array<Number, kRsaParts.size()>& part) {
  const auto& [n, e, d, p, q, dp, dq, qinv] = part;
  const auto context = allocated(NumberContext(BN_CTX_new()));
  BN_CTX* const c = context.get();
  const Number left = allocated(Number(BN_new())), modulus = allocated(Number(BN_new()));
  if (BN_mul(left.get(), p.get(), q.get(), c) != 1 || BN_cmp(left.get(), n.get()) != 0) return false;
  const auto inverse = [&](const Number& factor, const BIGNUM* other, const BIGNUM* of) {
    return !BN_is_zero(of) && BN_mod_mul(left.get(), factor.get(), other, of, c) == 1 && BN_is_one(left.get());
  };
  if (BN_sub(modulus.get(), p.get(), BN_value_one()) != 1 || !inverse(e, d.get(), modulus.get()) ||
      !inverse(e, dp.get(), modulus.get())) {
    return false;
  }
  if (BN_sub(modulus.get(), q.get(), BN_value_one()) != 1 || !inverse(e, d.get(), modulus.get()) ||
      !inverse(e, dq.get(), modulus.get())) {
    return false;
  }
  return inverse(qinv, q.get(), p.get());
}

PKey rsa_from(const Attributes& attributes, std::size_t parts) {
  const auto builder = allocated(ParamBuilder(OSSL_PARAM_BLD_new()));
  std::array<Number, kRsaParts.size()> numbers;
  for (std::size_t i = 0; i < parts; ++i) {
    numbers.at(i) = number_from(attributes.view(kRsaParts.at(i).type));
    OSSL_PARAM_BLD_push_BN(builder.get(), kRsaParts.at(i).name, numbers.at(i).get());
  }
  const auto bits = static_cast<std::size_t>(BN_num_bits(numbers[0].get()));
  const BIGNUM* exponent = numbers[1].get();
  if (bits < kRsaBitsMin || bits > kRsaBitsMax || !BN_is_odd(exponent) || BN_is_one(exponent)) return nullptr;
  if (parts == kRsaParts.size() && !consistent(numbers)) return nullptr;
  return build("RSA", builder.get(), parts > kRsaPublicParts ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
}

std::shared_ptr<const Key> rsa_key(const Attributes& attributes, bool is_private) {
  std::size_t parts = kRsaPublicParts;
  if (is_private) parts = attributes.contains(CKA_PRIME_1) ? kRsaParts.size() : kRsaPublicParts + 1;
  return checked(rsa_from(attributes, parts), CKK_RSA, nullptr);
}

Bytes number_of(const Key& key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key.pkey.get(), name, &number) != 1) return {};
  return bytes_of(Number(number).get());
}

Bytes public_point(const Key& key) {
  Bytes point(key.curve->type == CKK_EC ? 1 + 2 * key.curve->bytes() : 32);
  std::size_t written = point.size();
  if (key.curve->type == CKK_EC) {
    EVP_PKEY_get_octet_string_param(key.pkey.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(), &written);
  } else {
    EVP_PKEY_get_raw_public_key(key.pkey.get(), point.data(), &written);
  }
  point.resize(written);
  return point;
}

Bytes private_value(const Key& key) {
  Bytes value(key.curve->bytes());
  std::size_t written = value.size();
  if (key.curve->type == CKK_EC_EDWARDS) {
    EVP_PKEY_get_raw_private_key(key.pkey.get(), value.data(), &written);
    return value;
  }
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key.pkey.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number) != 1) throw std::bad_alloc();
  return bytes_of(Number(number).get(), key.curve->bytes());
}

// PKCS#11 2.40, 4.10.2: of AES the first bytes of an encrypted block of zeros, of other secrets those of their SHA-1.
Bytes check_value(const Key& key) {
  constexpr std::size_t kCheckBytes = 3;
  Bytes value(16);
  if (key.type == CKK_AES) {
    const auto context = allocated(CipherContext(EVP_CIPHER_CTX_new()));
    int written = 0;
    EVP_EncryptInit_ex2(context.get(), aes(AesMode::kEcb, key.secret.size()), key.secret.data(), nullptr, nullptr);
    EVP_EncryptUpdate(context.get(), value.data(), &written, Bytes(16).data(), 16);
  } else {
    value = digest_of(digest(CKM_SHA_1), key.secret);
  }
  value.resize(kCheckBytes);
  return value;
}

void describe_pair(const Key& key, bool is_private, Attributes& attributes) {
  if (key.type == CKK_RSA) {
    for (std::size_t i = 0; i < (is_private ? kRsaParts.size() : kRsaPublicParts); ++i) {
      const Bytes number = number_of(key, kRsaParts.at(i).name);
      if (!number.empty()) attributes.set(kRsaParts.at(i).type, number);
    }
    if (!is_private) attributes.set_number(CKA_MODULUS_BITS, key.bits);
  } else {
    if (!attributes.contains(CKA_EC_PARAMS)) attributes.set(CKA_EC_PARAMS, key.curve->object_identifier);
    if (is_private) attributes.set(CKA_VALUE, private_value(key));
    if (!is_private && !attributes.contains(CKA_EC_POINT)) {
      attributes.set(CKA_EC_POINT, der_octet_string(public_point(key)));
    }
  }
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.pkey.get(), &der);
  if (size <= 0) return;
  attributes.set(CKA_PUBLIC_KEY_INFO, {der, static_cast<std::size_t>(size)});
  OPENSSL_free(der);
}

} // namespace

bool is_aes_size(std::size_t bytes) { return bytes == 16 || bytes == 24 || bytes == 32; }

std::shared_ptr<const Key> secret_key(CK_KEY_TYPE type, View bytes) {
  const bool fits = type == CKK_AES ? is_aes_size(bytes.size()) : !bytes.empty() && bytes.size() <= kSecretBytesMax;
  require(fits, CKR_ATTRIBUTE_VALUE_INVALID);
  Key key;
  key.type = type;
  key.secret = copy_of(bytes);
  return std::make_shared<const Key>(std::move(key));
}

PKey public_key_at(const Curve& curve, View point) {
  if (!on_curve(curve, point)) return nullptr;
  if (curve.type == CKK_EC_EDWARDS) {
    return PKey(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, point.data(), point.size()));
  }
  const auto builder = allocated(ParamBuilder(OSSL_PARAM_BLD_new()));
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.name, 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  return build("EC", builder.get(), EVP_PKEY_PUBLIC_KEY);
}

std::shared_ptr<const Key> key_from(const Attributes& attributes) {
  const CK_OBJECT_CLASS kind = attributes.number(CKA_CLASS).value_or(CKO_DATA);
  const CK_KEY_TYPE type = attributes.number(CKA_KEY_TYPE).value_or(0);
  if (kind == CKO_SECRET_KEY) return secret_key(type, attributes.view(CKA_VALUE));
  if (type == CKK_RSA) return rsa_key(attributes, kind == CKO_PRIVATE_KEY);
  const Curve& curve = curve_of(type, attributes.view(CKA_EC_PARAMS));
  if (kind == CKO_PRIVATE_KEY) return checked(private_from(curve, attributes.view(CKA_VALUE)), type, &curve);
  const std::optional<View> point = octet_string_content(attributes.view(CKA_EC_POINT));
  require(point.has_value(), CKR_ATTRIBUTE_VALUE_INVALID);
  return checked(public_key_at(curve, *point), type, &curve);
}

std::shared_ptr<const Key> generate_rsa(std::size_t bits, View public_exponent) {
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)));
  const Number exponent = number_from(public_exponent);
  require(BN_is_odd(exponent.get()) && !BN_is_one(exponent.get()), CKR_ATTRIBUTE_VALUE_INVALID);
  EVP_PKEY* made = nullptr;
  require(EVP_PKEY_keygen_init(context.get()) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_bits(context.get(), static_cast<int>(bits)) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context.get(), exponent.get()) == 1 &&
              EVP_PKEY_generate(context.get(), &made) == 1,
          CKR_ATTRIBUTE_VALUE_INVALID);
  return checked(PKey(made), CKK_RSA, nullptr);
}

std::shared_ptr<const Key> generate_ec(const Curve& curve) {
  const char* const algorithm = curve.type == CKK_EC ? "EC" : curve.name;
  const auto context = allocated(KeyContext(EVP_PKEY_CTX_new_from_name(nullptr, algorithm, nullptr)));
  EVP_PKEY* made = nullptr;
  require(EVP_PKEY_keygen_init(context.get()) == 1, CKR_DEVICE_ERROR);
  if (curve.type == CKK_EC) {
    require(EVP_PKEY_CTX_set_group_name(context.get(), curve.name) == 1, CKR_DEVICE_ERROR);
  }
  require(EVP_PKEY_generate(context.get(), &made) == 1, CKR_DEVICE_ERROR);
  return checked(PKey(made), curve.type, &curve);
}

void describe(const Key& key, Attributes& attributes) {
  const CK_OBJECT_CLASS kind = attributes.number(CKA_CLASS).value_or(CKO_DATA);
  if (kind != CKO_SECRET_KEY) return describe_pair(key, kind == CKO_PRIVATE_KEY, attributes);
  attributes.set(CKA_VALUE, key.secret);
  attributes.set_number(CKA_VALUE_LEN, key.secret.size());
  attributes.set(CKA_CHECK_VALUE, check_value(key));
}

Bytes to_pkcs8(const Key& key) {
  const auto info = allocated(Pkcs8(EVP_PKEY2PKCS8(key.pkey.get())));
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
  require(size > 0, CKR_DEVICE_ERROR);
  Bytes der(static_cast<std::size_t>(size));
  unsigned char* at = der.data();
  i2d_PKCS8_PRIV_KEY_INFO(info.get(), &at);
  return der;
}

std::shared_ptr<const Key> from_pkcs8(View der, CK_KEY_TYPE type) {
  const unsigned char* at = der.data();
  const Pkcs8 info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(der.size())));
  PKey pkey(info ? EVP_PKCS82PKEY(info.get()) : nullptr);
  if (!pkey) return nullptr;
  if (type == CKK_RSA) {
    const auto bits = static_cast<std::size_t>(EVP_PKEY_get_bits(pkey.get()));
    if (!EVP_PKEY_is_a(pkey.get(), "RSA") || bits < kRsaBitsMin || bits > kRsaBitsMax) return nullptr;
    return checked(std::move(pkey), type, nullptr);
  }
  const bool edwards = type == CKK_EC_EDWARDS;
  if (!EVP_PKEY_is_a(pkey.get(), edwards ? "ED25519" : "EC")) return nullptr;
  std::array<char, 64> group{"ED25519"};
  if (!edwards && EVP_PKEY_get_group_name(pkey.get(), group.data(), group.size(), nullptr) != 1) return nullptr;
  const Curve* const curve = curve_named(group.data());
  if (curve == nullptr) return nullptr;
  Key key;
  key.curve = curve;
  key.pkey = std::move(pkey);
  // The public half is computed, not believed.
  PKey rebuilt = private_from(*curve, private_value(key));
  return rebuilt ? checked(std::move(rebuilt), type, curve) : nullptr;
}

} // namespace hsmux::sim::own
