#include "tests/simhsm/own/curve.h"

#include <openssl/objects.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

constexpr unsigned char kTagOctetString = 0x04, kTagOid = 0x06, kTagPrintableString = 0x13;

constexpr std::array<unsigned char, 10> kP256 = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
constexpr std::array<unsigned char, 7> kP384 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
constexpr std::array<unsigned char, 7> kP521 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23};
constexpr std::array<unsigned char, 7> kSecp256k1 = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};
constexpr std::array<unsigned char, 5> kEd25519 = {0x06, 0x03, 0x2b, 0x65, 0x70};
constexpr std::array<unsigned char, 14> kEd25519Name = {
    kTagPrintableString, 12, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};

constexpr std::array kCurves = {
    Curve{CKK_EC, "prime256v1", NID_X9_62_prime256v1, kP256, 256},
    Curve{CKK_EC, "secp384r1", NID_secp384r1, kP384, 384},
    Curve{CKK_EC, "secp521r1", NID_secp521r1, kP521, 521},
    Curve{CKK_EC, "secp256k1", NID_secp256k1, kSecp256k1, 256},
    Curve{CKK_EC_EDWARDS, "ED25519", NID_ED25519, kEd25519, 255},
};

bool same(View left, View right) { return std::ranges::equal(left, right); }

// RFC 8032, 5.1.3: x² = (y² - 1) / (d y² + 1) must be a square modulo p = 2^255 - 19.
bool on_edwards25519(View point) {
  if (point.size() != 32) return false;
  Bytes big_endian(point.rbegin(), point.rend());
  big_endian.front() &= 0x7f;
  const auto context = allocated(NumberContext(BN_CTX_new()));
  const Number y = number_from(big_endian), p = allocated(Number(BN_new())), d = allocated(Number(BN_new()));
  const Number u = allocated(Number(BN_new())), v = allocated(Number(BN_new()));
  BN_CTX* const c = context.get();
  BN_set_bit(p.get(), 255);
  BN_sub_word(p.get(), 19);
  if (BN_cmp(y.get(), p.get()) >= 0) return false;
  // d = -121665 / 121666
  BN_set_word(v.get(), 121666);
  BN_mod_inverse(d.get(), v.get(), p.get(), c);
  BN_mul_word(d.get(), 121665);
  BN_mod_sub(d.get(), p.get(), d.get(), p.get(), c);
  BN_mod_sqr(u.get(), y.get(), p.get(), c);
  BN_mod_mul(v.get(), d.get(), u.get(), p.get(), c);
  BN_sub_word(u.get(), 1);
  BN_add_word(v.get(), 1);
  BN_nnmod(u.get(), u.get(), p.get(), c);
  BN_mod_inverse(v.get(), v.get(), p.get(), c); // d is no square: v is never 0
  BN_mod_mul(u.get(), u.get(), v.get(), p.get(), c);
  return BN_kronecker(u.get(), p.get(), c) != -1;
}

} // namespace

const Curve& curve_of(CK_KEY_TYPE type, View ec_params) {
  const bool name = ec_params.size() > 2 && ec_params[1] == ec_params.size() - 2 &&
                    (ec_params[0] == kTagOid || ec_params[0] == kTagPrintableString);
  require(name, CKR_DOMAIN_PARAMS_INVALID);
  const auto* curve = std::ranges::find_if(kCurves, [&](const Curve& each) {
    const bool by_name = each.type == CKK_EC_EDWARDS && same(ec_params, kEd25519Name);
    return each.type == type && (by_name || same(ec_params, each.object_identifier));
  });
  require(curve != kCurves.end(), CKR_CURVE_NOT_SUPPORTED);
  return *curve;
}

const Curve* curve_named(const char* name) {
  const auto* curve = std::ranges::find_if(kCurves, [&](const Curve& each) { return !std::strcmp(each.name, name); });
  return curve == kCurves.end() ? nullptr : curve;
}

Bytes der_octet_string(View content) {
  Bytes der{kTagOctetString};
  if (content.size() > 0xff) throw std::bad_alloc();
  if (content.size() > 0x7f) der.push_back(0x81);
  der.push_back(static_cast<unsigned char>(content.size()));
  der.insert(der.end(), content.begin(), content.end());
  return der;
}

std::optional<View> octet_string_content(View der) {
  if (der.size() < 2 || der[0] != kTagOctetString) return std::nullopt;
  const std::size_t header = der[1] == 0x81 ? 3 : 2;
  if (der.size() < header || der[1] > 0x81 || der[1] == 0x80) return std::nullopt;
  if (der[header - 1] != der.size() - header) return std::nullopt;
  return der.subspan(header);
}

bool on_curve(const Curve& curve, View point) {
  if (curve.type == CKK_EC_EDWARDS) return on_edwards25519(point);
  const auto group = allocated(Group(EC_GROUP_new_by_curve_name(curve.nid)));
  const auto decoded = allocated(Point(EC_POINT_new(group.get())));
  return EC_POINT_oct2point(group.get(), decoded.get(), point.data(), point.size(), nullptr) == 1 &&
         EC_POINT_is_at_infinity(group.get(), decoded.get()) == 0;
}

} // namespace hsmux::sim::own
