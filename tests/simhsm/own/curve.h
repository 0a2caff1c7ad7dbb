// The elliptic curves that the HSM knows, and how points on them are written. Constants and pure functions; any thread.
#pragma once

#include <optional>

#include "tests/simhsm/own/openssl_objects.h"

namespace hsmux::sim::own {

struct Curve {
  CK_KEY_TYPE type; // CKK_EC or CKK_EC_EDWARDS
  const char* name; // OpenSSL's
  int nid;
  View object_identifier; // DER
  std::size_t bits;       // of the field; the order of each of them has as many
  [[nodiscard]] std::size_t bytes() const { return (bits + 7) / 8; }
};

// The curve that CKA_EC_PARAMS names, for a key of `type`. Refuses with CKR_DOMAIN_PARAMS_INVALID what is no name of a
// curve and with CKR_CURVE_NOT_SUPPORTED other curves.
const Curve& curve_of(CK_KEY_TYPE type, View ec_params);
// As OpenSSL names it; nullptr: none of ours.
const Curve* curve_named(const char* name);

Bytes der_octet_string(View content);
// The content of a DER OCTET STRING; nothing where `der` is none.
std::optional<View> octet_string_content(View der);

// Is `point` (of EC as in SEC 1, of Edwards as in RFC 8032) on the curve?
bool on_curve(const Curve& curve, View point);

} // namespace hsmux::sim::own
