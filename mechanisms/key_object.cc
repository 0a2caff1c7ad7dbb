#include "mechanisms/key_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mechanisms/spki.h"
#include "mechanisms/unfinished_key.h"
#include "slots/key_copies.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::array kClasses{CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY};

constexpr auto kRead = std::to_array<unsigned long>(
    {CKA_ID, CKA_LABEL, CKA_KEY_TYPE, CKA_EC_PARAMS, CKA_MODULUS, CKA_VALUE_LEN, CKA_SIGN, CKA_DECRYPT, CKA_ENCRYPT,
     CKA_WRAP, CKA_UNWRAP, CKA_DERIVE, CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_ALWAYS_AUTHENTICATE});
enum Position : std::uint8_t {
  kId,
  kLabel,
  kType,
  kParams,
  kModulus,
  kValueLength,
  kSign,
  kDecrypt,
  kEncrypt,
  kWrap,
  kUnwrap,
  kDerive,
  kSensitive,
  kExtractable,
  kAlwaysAuthenticate,
};

using Values = std::vector<std::optional<Bytes>>;

bool flag(const Values& values, Position position) {
  return values[position] && as_flag(*values[position]).value_or(false);
}

std::uint32_t modulus_bits(ByteView modulus) {
  while (!modulus.empty() && modulus.front() == 0) modulus = modulus.subspan(1);
  if (modulus.empty()) return 0;
  return static_cast<std::uint32_t>(8 * modulus.size()) -
         static_cast<std::uint32_t>(__builtin_clz(modulus.front()) - 24);
}

void read_kind(const Values& values, KeyObject& key) {
  const auto type = values[kType] ? as_number(*values[kType]) : std::nullopt;
  if (!type) {
    key.kind_text = "unknown";
  } else if (*type == CKK_EC && values[kParams]) {
    if (const Result<Curve> curve = curve_from_params(*values[kParams])) key.kind = kind_of(*curve);
    key.kind_text = "ec, another curve";
  } else if (*type == CKK_EC_EDWARDS && values[kParams]) {
    if (is_ed25519_params(*values[kParams])) key.kind = KeyKind::kEd25519;
    key.kind_text = "edwards, another curve";
  } else if (*type == CKK_RSA) {
    key.kind = KeyKind::kRsa;
    if (values[kModulus]) key.bits = modulus_bits(*values[kModulus]);
  } else if (*type == CKK_AES) {
    const auto bytes = values[kValueLength] ? as_number(*values[kValueLength]) : std::nullopt;
    key.bits = static_cast<std::uint32_t>(8 * std::min(bytes.value_or(0), 64UL));
    key.kind = aes_kind(key.bits);
    key.kind_text = fmt::format("aes-{}", key.bits);
  } else {
    key.kind_text = fmt::format("CKK {:#x}", *type);
  }
  if (!key.kind) return;
  key.kind_text = key_kind_name(*key.kind);
  if (key_kind_bits(*key.kind) != 0) key.bits = key_kind_bits(*key.kind);
}

std::string printable(const Bytes& label) {
  std::string text(label.begin(), label.end());
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

} // namespace

Result<std::optional<KeyObject>> read_key_object(Session& session, ObjectHandle handle, ObjectClass object_class) {
  Result<Values> values = session.attributes(handle, kRead);
  if (!values) {
    if (values.error().rv == CKR_OBJECT_HANDLE_INVALID) return std::optional<KeyObject>();
    return fail(std::move(values).error());
  }
  KeyObject key;
  key.handle = handle;
  key.object_class = object_class;
  key.id = (*values)[kId].value_or(Bytes{});
  key.label = printable((*values)[kLabel].value_or(Bytes{}));
  key.purposes = {.sign = flag(*values, kSign),
                  .decrypt = flag(*values, kDecrypt),
                  .encrypt = flag(*values, kEncrypt),
                  .wrap = flag(*values, kWrap),
                  .unwrap = flag(*values, kUnwrap),
                  .derive = flag(*values, kDerive)};
  key.sensitive = flag(*values, kSensitive);
  key.extractable = flag(*values, kExtractable);
  key.always_authenticate = flag(*values, kAlwaysAuthenticate);
  read_kind(*values, key);
  return key;
}

Result<std::vector<KeyObject>> find_key_objects(Session& session, ObjectClass object_class, const KeyQuery& query) {
  Template wanted;
  wanted.flag(CKA_TOKEN, true).number(CKA_CLASS, kClasses[static_cast<std::size_t>(object_class)]);
  if (query.id) wanted.bytes(CKA_ID, *query.id);
  if (query.label) wanted.text(CKA_LABEL, *query.label);
  HSMUX_TRY(const std::vector<ObjectHandle> handles, session.find(wanted));

  std::vector<KeyObject> keys;
  for (const ObjectHandle handle : handles) {
    HSMUX_TRY(std::optional<KeyObject> key, read_key_object(session, handle, object_class));
    if (!key) continue;
    if (is_copy_id(key->id) || is_unfinished_id(key->id)) continue; // seen while it was being made
    keys.push_back(std::move(*key));
  }
  return keys;
}

Result<std::vector<KeyObject>> find_objects_labelled(Session& session, std::string_view label) {
  constexpr std::array<unsigned long, 1> kClass{CKA_CLASS};
  Template wanted;
  wanted.flag(CKA_TOKEN, true).text(CKA_LABEL, label);
  HSMUX_TRY(const std::vector<ObjectHandle> handles, session.find(wanted));
  std::vector<KeyObject> objects;
  for (const ObjectHandle handle : handles) {
    HSMUX_TRY(const Values value, session.attributes(handle, kClass));
    const auto type = value[0] ? as_number(*value[0]) : std::nullopt;
    const auto* const known = std::ranges::find(kClasses, type);
    if (!type || known == kClasses.end()) continue;
    HSMUX_TRY(std::optional<KeyObject> object,
              read_key_object(session, handle, static_cast<ObjectClass>(known - kClasses.begin())));
    if (object) objects.push_back(std::move(*object));
  }
  return objects;
}

Status rename_object(Session& session, ObjectHandle object, ByteView id, std::string_view label) {
  Template changes;
  changes.bytes(CKA_ID, id).text(CKA_LABEL, label);
  return session.set_attributes(object, changes);
}

Result<Bytes> read_spki(Session& session, const KeyObject& public_key) {
  if (public_key.kind) return read_spki(session, public_key.handle, *public_key.kind);
  return fail(ErrorKind::kUnsupported, fmt::format("the public key of kind {} cannot be read", public_key.kind_text));
}

Result<Bytes> read_spki(Session& session, ObjectHandle public_key, KeyKind kind) {
  constexpr auto kParts = std::to_array<unsigned long>({CKA_EC_PARAMS, CKA_EC_POINT, CKA_MODULUS, CKA_PUBLIC_EXPONENT});
  HSMUX_TRY(const Values values, session.attributes(public_key, kParts));
  const KeyFamily family = key_family(kind);
  if (family == KeyFamily::kEc && values[1]) {
    HSMUX_TRY(const Bytes point, ec_point_from_attribute(curve_of(kind), *values[1]));
    return ec_spki(curve_of(kind), point);
  }
  if (family == KeyFamily::kEdwards && values[1]) {
    HSMUX_TRY(const Bytes point, ed25519_point_from_attribute(*values[1]));
    return ed25519_spki(point);
  }
  if (family == KeyFamily::kRsa && values[2] && values[3]) return rsa_spki(*values[2], *values[3]);
  return fail(ErrorKind::kUnsupported, fmt::format("the public key of kind {} cannot be read", key_kind_name(kind)));
}

} // namespace hsmux
