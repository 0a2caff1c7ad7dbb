#include "mechanisms/spki.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

#include "mechanisms/openssl_handles.h"

namespace hsmux {
namespace {

struct CurveRow {
  Curve curve;
  const char* group;
  std::size_t field_bytes;
  std::array<std::uint8_t, 10> params; // DER OBJECT IDENTIFIER
  std::size_t params_bytes;
};
// OIDs: RFC 5480, 2.1.1.1; SEC 2, A.2.
constexpr std::array kCurves{
    CurveRow{Curve::kP256, "P-256", 32, {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, 10},
    CurveRow{Curve::kP384, "P-384", 48, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}, 7},
    CurveRow{Curve::kSecp256k1, "secp256k1", 32, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}, 7},
};
const CurveRow& row(Curve curve) { return kCurves[static_cast<std::size_t>(curve)]; }

constexpr std::uint8_t kOctetString = 0x04, kUncompressed = 0x04;

constexpr std::array<std::uint8_t, 5> kEd25519Oid{0x06, 0x03, 0x2b, 0x65, 0x70}; // 1.3.101.112
constexpr std::array<std::uint8_t, 14> kEd25519Name{0x13, 12,  'e', 'd', 'w', 'a', 'r',
                                                    'd',  's', '2', '5', '5', '1', '9'};
constexpr std::size_t kEd25519PointBytes = 32;

using openssl::Key;
using openssl::KeyContext;
using Builder = openssl::Handle<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using Params = openssl::Handle<OSSL_PARAM, OSSL_PARAM_free>;
using openssl::PublicNumber;

Error spki_refused(std::string why) {
  ERR_clear_error();
  return make_error(ErrorKind::kUnsupported, std::move(why));
}

Key from_params(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return nullptr;
  }
  return Key(key);
}

Result<Bytes> to_der(const Key& key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.get(), &der);
  if (size <= 0) return fail(spki_refused("OpenSSL does not encode this public key"));
  Bytes bytes(der, der + size);
  OPENSSL_free(der);
  return bytes;
}

Result<Key> parse_spki(ByteView spki) {
  const unsigned char* position = spki.data();
  Key key(spki.size() > 16'384 ? nullptr : d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size())));
  if (key && position == spki.data() + spki.size()) return key;
  ERR_clear_error();
  return fail(ErrorKind::kInvalidArgument, "not a DER SubjectPublicKeyInfo");
}

// Big-endian; `size` 0: as long as it needs.
Result<Bytes> public_number(const Key& key, const char* name, std::size_t size = 0) {
  BIGNUM* value = nullptr;
  const bool read = EVP_PKEY_get_bn_param(key.get(), name, &value) == 1;
  const PublicNumber owner(value);
  Bytes bytes(read && size == 0 ? static_cast<std::size_t>(BN_num_bytes(value)) : size);
  if (read && BN_bn2binpad(value, bytes.data(), static_cast<int>(bytes.size())) >= 0) return bytes;
  return fail(spki_refused("OpenSSL does not tell the parts of this public key"));
}

} // namespace

std::size_t field_bytes(Curve curve) { return row(curve).field_bytes; }
const char* openssl_group(Curve curve) { return row(curve).group; }
ByteView ec_params(Curve curve) { return ByteView(row(curve).params).first(row(curve).params_bytes); }

Result<Curve> curve_from_params(ByteView cka_ec_params) {
  for (const CurveRow& candidate : kCurves) {
    if (std::ranges::equal(cka_ec_params, ec_params(candidate.curve))) return candidate.curve;
  }
  return fail(ErrorKind::kUnsupported, "the key's curve is none of P-256, P-384 and secp256k1 as a named curve");
}

Result<Bytes> ec_point_from_attribute(Curve curve, ByteView cka_ec_point) {
  const std::size_t point_bytes = 1 + 2 * field_bytes(curve);
  ByteView point = cka_ec_point;
  // By exact length, never by trying one form and then the other: a raw point may look like DER.
  if (point.size() == point_bytes + 2 && point[0] == kOctetString && point[1] == point_bytes) point = point.subspan(2);
  if (point.size() != point_bytes || point[0] != kUncompressed) {
    return fail(ErrorKind::kUnsupported, "the key's EC point is compressed or malformed");
  }
  return Bytes(point.begin(), point.end());
}

Result<Bytes> ec_spki(Curve curve, ByteView point) {
  if (point.size() != 1 + 2 * field_bytes(curve) || point[0] != kUncompressed) {
    return fail(spki_refused("the EC point is not an uncompressed point of its curve"));
  }
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!builder ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, openssl_group(curve), 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1) {
    return fail(spki_refused("OpenSSL does not take this EC key"));
  }
  const Key key = from_params("EC", builder.get());
  if (!key) return fail(spki_refused("the EC point is not on its curve"));
  const KeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!check || EVP_PKEY_public_check(check.get()) != 1) return fail(spki_refused("the EC point is not on its curve"));
  return to_der(key);
}

ByteView ed25519_params_oid() { return kEd25519Oid; }
ByteView ed25519_params_name() { return kEd25519Name; }
bool is_ed25519_params(ByteView cka_ec_params) {
  return std::ranges::equal(cka_ec_params, kEd25519Oid) || std::ranges::equal(cka_ec_params, kEd25519Name);
}

Result<Bytes> ed25519_point_from_attribute(ByteView cka_ec_point) {
  ByteView point = cka_ec_point;
  if (point.size() == kEd25519PointBytes + 2 && point[0] == kOctetString && point[1] == kEd25519PointBytes) {
    point = point.subspan(2);
  }
  if (point.size() != kEd25519PointBytes) return fail(spki_refused("the key's Ed25519 point is malformed"));
  return Bytes(point.begin(), point.end());
}

Result<Bytes> ed25519_spki(ByteView point) {
  const Key key(EVP_PKEY_new_raw_public_key_ex(nullptr, "ED25519", nullptr, point.data(), point.size()));
  if (!key) return fail(spki_refused("OpenSSL does not take this Ed25519 key"));
  return to_der(key);
}

Result<Bytes> rsa_spki(ByteView modulus, ByteView exponent) {
  constexpr std::size_t kNumberBytesMax = 2049;
  if (modulus.size() > kNumberBytesMax || exponent.size() > kNumberBytesMax) {
    return fail(spki_refused("the RSA public key is too long"));
  }
  const PublicNumber n(BN_bin2bn(modulus.data(), static_cast<int>(modulus.size()), nullptr));
  const PublicNumber e(BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr));
  if (!n || !e || BN_num_bits(n.get()) < 1024 || BN_num_bits(n.get()) > 16'384 || BN_is_odd(n.get()) != 1 ||
      BN_is_odd(e.get()) != 1 || BN_is_one(e.get()) == 1 || BN_cmp(e.get(), n.get()) >= 0) {
    return fail(spki_refused(
        "an RSA public key has an odd modulus of 1024 to 16384 bits and an odd, smaller exponent from 3 on"));
  }
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return fail(spki_refused("OpenSSL does not take this RSA key"));
  }
  const Key key = from_params("RSA", builder.get());
  if (!key) return fail(spki_refused("OpenSSL does not take this RSA key"));
  return to_der(key);
}

Result<PublicParts> public_parts(ByteView spki) {
  HSMUX_TRY(const Key key, parse_spki(spki));
  HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
  if (facts.kind == PublicKeyFacts::Kind::kEd25519) {
    EdPublicParts parts{Bytes(kEd25519PointBytes)};
    std::size_t size = parts.point.size();
    if (EVP_PKEY_get_raw_public_key(key.get(), parts.point.data(), &size) == 1 && size == parts.point.size()) {
      return parts;
    }
  }
  if (facts.kind == PublicKeyFacts::Kind::kRsa) {
    HSMUX_TRY(Bytes modulus, public_number(key, OSSL_PKEY_PARAM_RSA_N));
    HSMUX_TRY(Bytes exponent, public_number(key, OSSL_PKEY_PARAM_RSA_E));
    return RsaPublicParts{std::move(modulus), std::move(exponent)};
  }
  if (facts.curve) {
    const std::size_t field = field_bytes(*facts.curve);
    EcPublicParts parts{*facts.curve, Bytes(1 + 2 * field)};
    parts.point[0] = kUncompressed;
    HSMUX_TRY(const Bytes x, public_number(key, OSSL_PKEY_PARAM_EC_PUB_X, field));
    HSMUX_TRY(const Bytes y, public_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, field));
    std::ranges::copy(x, parts.point.begin() + 1);
    std::ranges::copy(y, parts.point.begin() + 1 + static_cast<std::ptrdiff_t>(field));
    return parts;
  }
  return fail(spki_refused("only EC keys (P-256, P-384, secp256k1), Ed25519 and RSA keys are taken"));
}

Result<PublicKeyFacts> describe_spki(ByteView spki) {
  HSMUX_TRY(const Key key, parse_spki(spki));
  PublicKeyFacts facts;
  facts.bits = static_cast<std::size_t>(EVP_PKEY_get_bits(key.get()));
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA) facts.kind = PublicKeyFacts::Kind::kRsa;
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519) facts.kind = PublicKeyFacts::Kind::kEd25519;
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC) return facts;
  facts.kind = PublicKeyFacts::Kind::kEc;
  std::array<char, 64> name{};
  if (EVP_PKEY_get_group_name(key.get(), name.data(), name.size(), nullptr) != 1) return facts;
  const int nid = OBJ_txt2nid(name.data());
  for (const CurveRow& candidate : kCurves) {
    const int candidate_nid = EC_curve_nist2nid(candidate.group);
    if (nid == (candidate_nid != NID_undef ? candidate_nid : OBJ_txt2nid(candidate.group))) {
      facts.curve = candidate.curve;
    }
  }
  return facts;
}

Result<std::string> spki_to_pem(ByteView spki) {
  HSMUX_TRY(const Key key, parse_spki(spki));
  const openssl::Handle<BIO, BIO_free> memory(BIO_new(BIO_s_mem()));
  if (!memory || PEM_write_bio_PUBKEY(memory.get(), key.get()) != 1) {
    return fail(spki_refused("OpenSSL does not encode this public key"));
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

} // namespace hsmux
