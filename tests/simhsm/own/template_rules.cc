#include "tests/simhsm/own/template_rules.h"

#include <algorithm>
#include <array>

#include "tests/simhsm/own/key_codec.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

enum class Form : std::uint8_t { kFlag, kNumber, kBytes, kDate, kMechanisms };

// What an object is, as far as its attributes depend on it.
constexpr unsigned kData = 1, kCertificate = 2, kEcPublic = 4, kEcPrivate = 8, kRsaPublic = 16, kRsaPrivate = 32,
                   kSecret = 64;
constexpr unsigned kPublic = kEcPublic | kRsaPublic, kPrivate = kEcPrivate | kRsaPrivate;
constexpr unsigned kKeys = kPublic | kPrivate | kSecret, kAll = kData | kCertificate | kKeys;

constexpr unsigned kCreate = 1, kGenerate = 2, kUnwrap = 4, kDerive = 8, kCopy = 16, kSet = 32;
constexpr unsigned kNew = kCreate | kGenerate | kUnwrap | kDerive, kChange = kCopy | kSet, kAlways = kNew | kChange;

struct Rule {
  CK_ATTRIBUTE_TYPE type;
  Form form;
  unsigned shapes;  // the objects that have it
  unsigned origins; // the templates that may name it
};

// clang-format off
constexpr std::array kRules = {
    Rule{CKA_CLASS,                       Form::kNumber,     kAll,                    kNew},
    Rule{CKA_TOKEN,                       Form::kFlag,       kAll,                    kNew | kCopy},
    Rule{CKA_PRIVATE,                     Form::kFlag,       kAll,                    kNew | kCopy},
    Rule{CKA_MODIFIABLE,                  Form::kFlag,       kAll,                    kNew | kCopy},
    Rule{CKA_COPYABLE,                    Form::kFlag,       kAll,                    kAlways},
    Rule{CKA_DESTROYABLE,                 Form::kFlag,       kAll,                    kNew | kCopy},
    Rule{CKA_LABEL,                       Form::kBytes,      kAll,                    kAlways},
    Rule{CKA_APPLICATION,                 Form::kBytes,      kData,                   kAlways},
    Rule{CKA_OBJECT_ID,                   Form::kBytes,      kData,                   kAlways},
    Rule{CKA_VALUE,                       Form::kBytes,      kData,                   kAlways},
    Rule{CKA_VALUE,                       Form::kBytes,      kCertificate | kEcPrivate | kSecret, kCreate},
    Rule{CKA_CERTIFICATE_TYPE,            Form::kNumber,     kCertificate,            kCreate},
    Rule{CKA_CERTIFICATE_CATEGORY,        Form::kNumber,     kCertificate,            kCreate},
    Rule{CKA_JAVA_MIDP_SECURITY_DOMAIN,   Form::kNumber,     kCertificate,            kCreate},
    Rule{CKA_NAME_HASH_ALGORITHM,         Form::kNumber,     kCertificate,            kCreate},
    Rule{CKA_ISSUER,                      Form::kBytes,      kCertificate,            kCreate | kChange},
    Rule{CKA_SERIAL_NUMBER,               Form::kBytes,      kCertificate,            kCreate | kChange},
    Rule{CKA_OWNER,                       Form::kBytes,      kCertificate,            kCreate},
    Rule{CKA_AC_ISSUER,                   Form::kBytes,      kCertificate,            kCreate | kChange},
    Rule{CKA_ATTR_TYPES,                  Form::kBytes,      kCertificate,            kCreate | kChange},
    Rule{CKA_URL,                         Form::kBytes,      kCertificate,            kCreate},
    Rule{CKA_HASH_OF_SUBJECT_PUBLIC_KEY,  Form::kBytes,      kCertificate,            kCreate},
    Rule{CKA_HASH_OF_ISSUER_PUBLIC_KEY,   Form::kBytes,      kCertificate,            kCreate},
    Rule{CKA_SUBJECT,                     Form::kBytes,      kCertificate,            kCreate},
    Rule{CKA_SUBJECT,                     Form::kBytes,      kPublic | kPrivate,      kAlways},
    Rule{CKA_ID,                          Form::kBytes,      kCertificate | kKeys,    kAlways},
    Rule{CKA_START_DATE,                  Form::kDate,       kCertificate | kKeys,    kAlways},
    Rule{CKA_END_DATE,                    Form::kDate,       kCertificate | kKeys,    kAlways},
    Rule{CKA_TRUSTED,                     Form::kFlag,       kCertificate | kPublic | kSecret, kAlways},
    Rule{CKA_CHECK_VALUE,                 Form::kBytes,      kCertificate | kSecret,  kNew},
    Rule{CKA_KEY_TYPE,                    Form::kNumber,     kKeys,                   kNew},
    Rule{CKA_ENCRYPT,                     Form::kFlag,       kPublic | kSecret,       kAlways},
    Rule{CKA_DECRYPT,                     Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_SIGN,                        Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_SIGN_RECOVER,                Form::kFlag,       kPrivate,                kAlways},
    Rule{CKA_VERIFY,                      Form::kFlag,       kPublic | kSecret,       kAlways},
    Rule{CKA_VERIFY_RECOVER,              Form::kFlag,       kPublic,                 kAlways},
    Rule{CKA_WRAP,                        Form::kFlag,       kPublic | kSecret,       kAlways},
    Rule{CKA_UNWRAP,                      Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_DERIVE,                      Form::kFlag,       kKeys,                   kAlways},
    Rule{CKA_SENSITIVE,                   Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_EXTRACTABLE,                 Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_WRAP_WITH_TRUSTED,           Form::kFlag,       kPrivate | kSecret,      kAlways},
    Rule{CKA_ALWAYS_AUTHENTICATE,         Form::kFlag,       kPrivate,                kNew},
    Rule{CKA_ALLOWED_MECHANISMS,          Form::kMechanisms, kKeys,                   kNew},
    Rule{CKA_PUBLIC_KEY_INFO,             Form::kBytes,      kCertificate | kPublic | kPrivate, kCreate},
    Rule{CKA_EC_PARAMS,                   Form::kBytes,      kEcPublic | kEcPrivate,  kCreate | kGenerate},
    Rule{CKA_EC_POINT,                    Form::kBytes,      kEcPublic,               kCreate},
    Rule{CKA_MODULUS,                     Form::kBytes,      kRsaPublic | kRsaPrivate, kCreate},
    Rule{CKA_PUBLIC_EXPONENT,             Form::kBytes,      kRsaPublic,              kCreate | kGenerate},
    Rule{CKA_PUBLIC_EXPONENT,             Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_MODULUS_BITS,                Form::kNumber,     kRsaPublic,              kGenerate},
    Rule{CKA_PRIVATE_EXPONENT,            Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_PRIME_1,                     Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_PRIME_2,                     Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_EXPONENT_1,                  Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_EXPONENT_2,                  Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_COEFFICIENT,                 Form::kBytes,      kRsaPrivate,             kCreate},
    Rule{CKA_VALUE_LEN,                   Form::kNumber,     kSecret,                 kGenerate | kUnwrap | kDerive},
    Rule{CKA_LOCAL,                       Form::kFlag,       kKeys,                   0},
    Rule{CKA_KEY_GEN_MECHANISM,           Form::kNumber,     kKeys,                   0},
    Rule{CKA_ALWAYS_SENSITIVE,            Form::kFlag,       kPrivate | kSecret,      0},
    Rule{CKA_NEVER_EXTRACTABLE,           Form::kFlag,       kPrivate | kSecret,      0},
};
// clang-format on

constexpr std::array kUsageFlags = {CKA_ENCRYPT,        CKA_DECRYPT, CKA_SIGN,   CKA_SIGN_RECOVER, CKA_VERIFY,
                                    CKA_VERIFY_RECOVER, CKA_WRAP,    CKA_UNWRAP, CKA_DERIVE};
constexpr std::array kPrimeParts = {CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT};

unsigned shape_of(const Attributes& attributes) {
  const auto kind = attributes.number(CKA_CLASS);
  require(kind.has_value(), attributes.contains(CKA_CLASS) ? CKR_ATTRIBUTE_VALUE_INVALID : CKR_TEMPLATE_INCOMPLETE);
  if (*kind == CKO_DATA) return kData;
  if (*kind == CKO_CERTIFICATE) return kCertificate;
  const bool key = *kind == CKO_PUBLIC_KEY || *kind == CKO_PRIVATE_KEY || *kind == CKO_SECRET_KEY;
  require(key, CKR_ATTRIBUTE_VALUE_INVALID);
  const auto type = attributes.number(CKA_KEY_TYPE);
  require(type.has_value(), attributes.contains(CKA_KEY_TYPE) ? CKR_ATTRIBUTE_VALUE_INVALID : CKR_TEMPLATE_INCOMPLETE);
  switch (*type) {
  case CKK_AES:
  case CKK_GENERIC_SECRET: require(*kind == CKO_SECRET_KEY, CKR_TEMPLATE_INCONSISTENT); return kSecret;
  case CKK_RSA:
    require(*kind != CKO_SECRET_KEY, CKR_TEMPLATE_INCONSISTENT);
    return *kind == CKO_PUBLIC_KEY ? kRsaPublic : kRsaPrivate;
  case CKK_EC:
  case CKK_EC_EDWARDS:
    require(*kind != CKO_SECRET_KEY, CKR_TEMPLATE_INCONSISTENT);
    return *kind == CKO_PUBLIC_KEY ? kEcPublic : kEcPrivate;
  default: refuse(CKR_ATTRIBUTE_VALUE_INVALID);
  }
}

bool well_formed(Form form, View value) {
  switch (form) {
  case Form::kFlag: return value.size() == sizeof(CK_BBOOL) && value.front() <= CK_TRUE;
  case Form::kNumber: return value.size() == sizeof(CK_ULONG);
  case Form::kDate: return value.empty() || value.size() == sizeof(CK_DATE);
  case Form::kMechanisms: return value.size() % sizeof(CK_MECHANISM_TYPE) == 0;
  case Form::kBytes: return true;
  }
  return false;
}

void check_attribute(const Attributes::Entry& entry, unsigned shape, Origin origin) {
  const auto& [type, value] = entry;
  const auto* rule =
      std::ranges::find_if(kRules, [&](const Rule& each) { return each.type == type && (each.shapes & shape) != 0; });
  require(rule != kRules.end(), CKR_ATTRIBUTE_TYPE_INVALID);
  if ((rule->origins & static_cast<unsigned>(origin)) == 0) {
    const bool never = rule->origins == 0 || origin == Origin::kCopy || origin == Origin::kSet;
    refuse(never ? CKR_ATTRIBUTE_READ_ONLY : CKR_TEMPLATE_INCONSISTENT);
  }
  require(well_formed(rule->form, value), CKR_ATTRIBUTE_VALUE_INVALID);
}

void need(const Attributes& given, std::initializer_list<CK_ATTRIBUTE_TYPE> types) {
  for (const CK_ATTRIBUTE_TYPE type : types) require(given.contains(type), CKR_TEMPLATE_INCOMPLETE);
}

void check_created(const Attributes& given, unsigned shape) {
  switch (shape) {
  case kCertificate: return need(given, {CKA_CERTIFICATE_TYPE, CKA_VALUE});
  case kEcPublic: return need(given, {CKA_EC_PARAMS, CKA_EC_POINT});
  case kEcPrivate: return need(given, {CKA_EC_PARAMS, CKA_VALUE});
  case kRsaPublic: return need(given, {CKA_MODULUS, CKA_PUBLIC_EXPONENT});
  case kRsaPrivate: {
    need(given, {CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT});
    const auto parts = std::ranges::count_if(kPrimeParts, [&](auto type) { return given.contains(type); });
    return require(parts == 0 || parts == std::ssize(kPrimeParts), CKR_TEMPLATE_INCOMPLETE);
  }
  case kSecret: return need(given, {CKA_VALUE});
  default: return;
  }
}

// Flags that a template which names none gets.
bool usual(const Attributes& attributes, unsigned shape, CK_ATTRIBUTE_TYPE usage) {
  const CK_KEY_TYPE type = attributes.number(CKA_KEY_TYPE).value_or(0);
  switch (usage) {
  case CKA_ENCRYPT:
  case CKA_WRAP: return shape == kRsaPublic || type == CKK_AES;
  case CKA_DECRYPT:
  case CKA_UNWRAP: return shape == kRsaPrivate || type == CKK_AES;
  case CKA_SIGN: return (shape & kPrivate) != 0 || type == CKK_GENERIC_SECRET;
  case CKA_VERIFY: return (shape & kPublic) != 0 || type == CKK_GENERIC_SECRET;
  case CKA_DERIVE: return shape == kEcPrivate && type == CKK_EC;
  default: return false;
  }
}

void give_default(Attributes& attributes, CK_ATTRIBUTE_TYPE type, bool flag) {
  if (!attributes.contains(type)) attributes.set_flag(type, flag);
}

void give_defaults(Attributes& attributes, unsigned shape) {
  const bool hidden = (shape & (kPrivate | kSecret)) != 0;
  give_default(attributes, CKA_TOKEN, false);
  give_default(attributes, CKA_PRIVATE, hidden);
  for (const CK_ATTRIBUTE_TYPE type : {CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE}) {
    give_default(attributes, type, true);
  }
  if (!attributes.contains(CKA_LABEL)) attributes.set(CKA_LABEL, {});
  if ((shape & kKeys) != 0 || shape == kCertificate) {
    for (const CK_ATTRIBUTE_TYPE type : {CKA_ID, CKA_START_DATE, CKA_END_DATE}) {
      if (!attributes.contains(type)) attributes.set(type, {});
    }
  }
  if ((shape & (kCertificate | kPublic | kSecret)) != 0) give_default(attributes, CKA_TRUSTED, false);
  if ((shape & (kPublic | kPrivate)) != 0 && !attributes.contains(CKA_SUBJECT)) attributes.set(CKA_SUBJECT, {});
  if (hidden) {
    give_default(attributes, CKA_SENSITIVE, true);
    give_default(attributes, CKA_EXTRACTABLE, false);
    give_default(attributes, CKA_WRAP_WITH_TRUSTED, false);
  }
  if ((shape & kPrivate) != 0) give_default(attributes, CKA_ALWAYS_AUTHENTICATE, false);
  if ((shape & kKeys) == 0) return;
  const bool named = std::ranges::any_of(kUsageFlags, [&](auto type) { return attributes.contains(type); });
  for (const Rule& rule : kRules) {
    if (std::ranges::find(kUsageFlags, rule.type) == kUsageFlags.end() || (rule.shapes & shape) == 0) continue;
    give_default(attributes, rule.type, !named && usual(attributes, shape, rule.type));
  }
}

// PKCS#11 2.40, 4.7 to 4.9: some attributes go one way only.
void check_one_way(const Attributes& old, const Attributes& given) {
  struct OneWay {
    CK_ATTRIBUTE_TYPE type;
    bool to;
  };
  constexpr std::array kOneWay = {OneWay{CKA_SENSITIVE, true}, OneWay{CKA_EXTRACTABLE, false},
                                  OneWay{CKA_WRAP_WITH_TRUSTED, true}, OneWay{CKA_COPYABLE, false}};
  for (const OneWay& each : kOneWay) {
    if (!given.contains(each.type) || given.flag(each.type) == old.flag(each.type)) continue;
    require(given.flag(each.type) == each.to, CKR_ATTRIBUTE_READ_ONLY);
  }
  // What is private must not become public by a copy.
  require(!given.contains(CKA_PRIVATE) || given.flag(CKA_PRIVATE) || !old.flag(CKA_PRIVATE), CKR_TEMPLATE_INCONSISTENT);
}

} // namespace

Attributes read_template(const CK_ATTRIBUTE* list, CK_ULONG count) {
  require(list != nullptr || count == 0, CKR_ARGUMENTS_BAD);
  Attributes attributes;
  for (const CK_ATTRIBUTE& each : std::span(list, count)) {
    require(each.pValue != nullptr || each.ulValueLen == 0, CKR_ATTRIBUTE_VALUE_INVALID);
    require(each.ulValueLen != kUnavailable, CKR_ATTRIBUTE_VALUE_INVALID);
    require(!attributes.contains(each.type), CKR_TEMPLATE_INCONSISTENT);
    attributes.set(each.type, {static_cast<const unsigned char*>(each.pValue), each.ulValueLen});
  }
  return attributes;
}

void imply(Attributes& given, CK_ATTRIBUTE_TYPE type, CK_ULONG number) {
  require(!given.contains(type) || given.number(type) == number, CKR_TEMPLATE_INCONSISTENT);
  given.set_number(type, number);
}

void check_new(const Attributes& given, Origin origin, bool by_so) {
  const unsigned shape = shape_of(given);
  for (const Attributes::Entry& entry : given) check_attribute(entry, shape, origin);
  if (origin == Origin::kCreate) check_created(given, shape);
  require(by_so || !given.flag(CKA_TRUSTED), CKR_ATTRIBUTE_READ_ONLY);
  const bool hidden = given.contains(CKA_PRIVATE) ? given.flag(CKA_PRIVATE) : true;
  require(!given.flag(CKA_ALWAYS_AUTHENTICATE) || hidden, CKR_TEMPLATE_INCONSISTENT);
}

Attributes changed(const Object& object, const Attributes& given, Origin origin, bool by_so) {
  const unsigned shape = shape_of(object.attributes);
  Attributes result = object.attributes;
  for (const Attributes::Entry& entry : given) {
    check_attribute(entry, shape, origin);
    result.set(entry.first, entry.second);
  }
  require(by_so || !given.flag(CKA_TRUSTED), CKR_ATTRIBUTE_READ_ONLY);
  check_one_way(object.attributes, given);
  return result;
}

Object complete(Attributes given, std::shared_ptr<const Key> key, const Provenance& provenance) {
  const unsigned shape = shape_of(given);
  const Bytes check_value = copy_of(given.view(CKA_CHECK_VALUE));
  give_defaults(given, shape);
  if (key) {
    describe(*key, given);
    // PKCS#11 2.40, 4.10.2: one that does not fit is refused; an empty one asks for none.
    require(check_value.empty() || std::ranges::equal(check_value, given.view(CKA_CHECK_VALUE)),
            CKR_ATTRIBUTE_VALUE_INVALID);
    given.set_flag(CKA_LOCAL, provenance.local);
    given.set_number(CKA_KEY_GEN_MECHANISM, provenance.mechanism);
  }
  if ((shape & (kPrivate | kSecret)) != 0) {
    given.set_flag(CKA_ALWAYS_SENSITIVE, provenance.was_sensitive && given.flag(CKA_SENSITIVE));
    given.set_flag(CKA_NEVER_EXTRACTABLE, provenance.was_unextractable && !given.flag(CKA_EXTRACTABLE));
  }
  Object object;
  object.attributes = std::move(given);
  object.key = std::move(key);
  return object;
}

} // namespace hsmux::sim::own
