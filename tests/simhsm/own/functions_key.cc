// The entry points that make keys or carry them in and out.
#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "tests/simhsm/own/derive.h"
#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/key_wrap.h"
#include "tests/simhsm/own/operation.h"
#include "tests/simhsm/own/template_rules.h"

namespace hsmux::sim::own {
namespace {

constexpr std::array<unsigned char, 3> kUsualExponent = {0x01, 0x00, 0x01};

CK_OBJECT_HANDLE insert(Session& session, Object object) {
  std::vector<Object> objects;
  objects.push_back(std::move(object));
  return session.insert(std::move(objects)).front();
}

Attributes new_key_template(Session& session, const CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_CLASS kind,
                            CK_KEY_TYPE type) {
  Attributes given = read_template(list, count);
  imply(given, CKA_CLASS, kind);
  imply(given, CKA_KEY_TYPE, type);
  check_new(given, Origin::kGenerate, session.by_so());
  return given;
}

std::shared_ptr<const Key> generate_pair(const MechanismRow& row, const Attributes& of_public,
                                         const Attributes& of_private) {
  if (row.key_type == CKK_RSA) {
    const auto bits = of_public.number(CKA_MODULUS_BITS);
    require(bits.has_value(), CKR_TEMPLATE_INCOMPLETE);
    require(*bits >= row.min && *bits <= row.max, CKR_KEY_SIZE_RANGE);
    const View exponent = of_public.view(CKA_PUBLIC_EXPONENT);
    return generate_rsa(*bits, exponent.empty() ? View(kUsualExponent) : exponent);
  }
  const View params = of_public.view(CKA_EC_PARAMS);
  require(!params.empty(), CKR_TEMPLATE_INCOMPLETE);
  const View repeated = of_private.view(CKA_EC_PARAMS);
  require(repeated.empty() || std::ranges::equal(params, repeated), CKR_TEMPLATE_INCONSISTENT);
  return generate_ec(curve_of(row.key_type, params));
}

// The same refusals as of any use of a key, under the names that they have for a wrapping or unwrapping key.
struct KeyRefusals {
  CK_RV type, size;
};

void check_wrapping_key(const Object& object, const MechanismRow& row, CK_OBJECT_CLASS pair_class,
                        CK_ATTRIBUTE_TYPE usage, const KeyRefusals& names) {
  try {
    check_key_use(object, row, pair_class, usage);
  } catch (const Refusal& refusal) {
    switch (refusal.rv) {
    case CKR_KEY_TYPE_INCONSISTENT: refuse(names.type);
    case CKR_KEY_SIZE_RANGE: refuse(names.size);
    default: throw;
    }
  }
}

std::shared_ptr<const Key> unwrapped_key(const Attributes& given, View plain) {
  const CK_KEY_TYPE type = given.number(CKA_KEY_TYPE).value_or(0);
  if (given.number(CKA_CLASS) == CKO_PRIVATE_KEY) {
    auto key = from_pkcs8(plain, type);
    require(key != nullptr, CKR_WRAPPED_KEY_INVALID);
    return key;
  }
  require(type != CKK_AES || is_aes_size(plain.size()), CKR_WRAPPED_KEY_INVALID);
  require(!plain.empty() && plain.size() <= kSecretBytesMax, CKR_WRAPPED_KEY_INVALID);
  const auto expected = given.number(CKA_VALUE_LEN);
  require(!expected || *expected == plain.size(), CKR_TEMPLATE_INCONSISTENT);
  return secret_key(type, plain);
}

} // namespace

void generate_key(Session& session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* list, CK_ULONG count,
                  CK_OBJECT_HANDLE* made) {
  const MechanismRow& row = mechanism_row(mechanism, CKF_GENERATE);
  require(made != nullptr, CKR_ARGUMENTS_BAD);
  require(mechanism->ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
  Attributes given = new_key_template(session, list, count, CKO_SECRET_KEY, row.key_type);
  const auto bytes = given.number(CKA_VALUE_LEN);
  require(bytes.has_value(), CKR_TEMPLATE_INCOMPLETE);
  const bool fits = row.key_type == CKK_AES ? is_aes_size(*bytes) : *bytes >= 1 && *bytes <= kSecretBytesMax;
  require(fits, CKR_KEY_SIZE_RANGE);
  Bytes value(*bytes);
  require(RAND_priv_bytes(value.data(), static_cast<int>(value.size())) == 1, CKR_DEVICE_ERROR);
  auto key = secret_key(row.key_type, value);
  *made = insert(session, complete(std::move(given), std::move(key), {true, row.type, true, true}));
}

void generate_key_pair(Session& session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* public_list, CK_ULONG public_count,
                       CK_ATTRIBUTE* private_list, CK_ULONG private_count, CK_OBJECT_HANDLE* public_key,
                       CK_OBJECT_HANDLE* private_key) {
  const MechanismRow& row = mechanism_row(mechanism, CKF_GENERATE_KEY_PAIR);
  require(public_key != nullptr && private_key != nullptr, CKR_ARGUMENTS_BAD);
  require(mechanism->ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
  Attributes of_public = new_key_template(session, public_list, public_count, CKO_PUBLIC_KEY, row.key_type);
  Attributes of_private = new_key_template(session, private_list, private_count, CKO_PRIVATE_KEY, row.key_type);
  const auto pair = generate_pair(row, of_public, of_private);
  if (row.key_type != CKK_RSA) of_private.set(CKA_EC_PARAMS, of_public.view(CKA_EC_PARAMS));
  std::vector<Object> objects;
  const Provenance provenance{true, row.type, true, true};
  objects.push_back(complete(std::move(of_public), pair, provenance));
  objects.push_back(complete(std::move(of_private), pair, provenance));
  const std::vector<CK_OBJECT_HANDLE> handles = session.insert(std::move(objects));
  *public_key = handles.front();
  *private_key = handles.back();
}

void wrap_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key, CK_BYTE* out,
              CK_ULONG* out_bytes) {
  const MechanismRow& row = mechanism_row(mechanism, CKF_WRAP);
  require(out_bytes != nullptr, CKR_ARGUMENTS_BAD);
  const auto with = session.object(wrapping, CKR_WRAPPING_KEY_HANDLE_INVALID);
  const auto wrapped = session.object(key, CKR_KEY_HANDLE_INVALID);
  check_wrapping_key(*with, row, CKO_PUBLIC_KEY, CKA_WRAP,
                     {CKR_WRAPPING_KEY_TYPE_INCONSISTENT, CKR_WRAPPING_KEY_SIZE_RANGE});
  const CK_OBJECT_CLASS kind = wrapped->object_class();
  require(kind == CKO_SECRET_KEY || kind == CKO_PRIVATE_KEY, CKR_KEY_NOT_WRAPPABLE);
  require(wrapped->attributes.flag(CKA_EXTRACTABLE), CKR_KEY_UNEXTRACTABLE);
  require(!wrapped->attributes.flag(CKA_WRAP_WITH_TRUSTED) || with->attributes.flag(CKA_TRUSTED),
          CKR_KEY_NOT_WRAPPABLE);
  const Bytes bytes = wrap(*mechanism, row, with, *wrapped);
  const bool enough = *out_bytes >= bytes.size();
  *out_bytes = bytes.size();
  if (out == nullptr) return;
  require(enough, CKR_BUFFER_TOO_SMALL);
  hand_over(bytes, out, out_bytes);
}

void unwrap_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE unwrapping, CK_BYTE* wrapped,
                CK_ULONG wrapped_bytes, CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_HANDLE* made) {
  const MechanismRow& row = mechanism_row(mechanism, CKF_UNWRAP);
  require(made != nullptr && wrapped != nullptr, CKR_ARGUMENTS_BAD);
  const auto with = session.object(unwrapping, CKR_UNWRAPPING_KEY_HANDLE_INVALID);
  check_wrapping_key(*with, row, CKO_PRIVATE_KEY, CKA_UNWRAP,
                     {CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, CKR_UNWRAPPING_KEY_SIZE_RANGE});
  Attributes given = read_template(list, count);
  check_new(given, Origin::kUnwrap, session.by_so());
  const auto kind = given.number(CKA_CLASS);
  const bool possible = kind == CKO_SECRET_KEY || (kind == CKO_PRIVATE_KEY && row.key_type != CKK_RSA);
  require(possible, CKR_TEMPLATE_INCONSISTENT);
  auto key = unwrapped_key(given, unwrap(*mechanism, row, with, {wrapped, wrapped_bytes}));
  *made = insert(session, complete(std::move(given), std::move(key), {}));
}

void derive_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE* list, CK_ULONG count,
                CK_OBJECT_HANDLE* made) {
  const MechanismRow& row = mechanism_row(mechanism, CKF_DERIVE);
  require(made != nullptr, CKR_ARGUMENTS_BAD);
  const auto from = session.key_for(row, base, CKO_PRIVATE_KEY, CKA_DERIVE);
  Attributes given = read_template(list, count);
  imply(given, CKA_CLASS, CKO_SECRET_KEY);
  check_new(given, Origin::kDerive, session.by_so());
  const CK_KEY_TYPE type = given.number(CKA_KEY_TYPE).value_or(0);
  const auto wanted = given.number(CKA_VALUE_LEN);
  require(wanted.has_value() || type != CKK_AES, CKR_TEMPLATE_INCOMPLETE);
  const Bytes secret = ecdh(*mechanism, *from->key);
  const std::size_t bytes = wanted.value_or(secret.size());
  require(bytes <= secret.size(), CKR_ATTRIBUTE_VALUE_INVALID);
  // "The truncation removes bytes from the leading end of the secret value." (PKCS#11 2.40, 2.3.9)
  auto key = secret_key(type, View(secret).last(bytes));
  const Provenance provenance{false, kUnavailable, from->attributes.flag(CKA_ALWAYS_SENSITIVE),
                              from->attributes.flag(CKA_NEVER_EXTRACTABLE)};
  *made = insert(session, complete(std::move(given), std::move(key), provenance));
}

} // namespace hsmux::sim::own
