#include "slots/mechanism_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

struct Name {
  unsigned long type;
  std::string_view name;
};

#define MECHANISM(name)                                                                                                \
  Name { name, #name }
constexpr std::array kNames{
    MECHANISM(CKM_EC_KEY_PAIR_GEN),
    MECHANISM(CKM_ECDSA),
    MECHANISM(CKM_ECDSA_SHA256),
    MECHANISM(CKM_ECDSA_SHA384),
    MECHANISM(CKM_EDDSA),
    MECHANISM(CKM_EC_EDWARDS_KEY_PAIR_GEN),
    MECHANISM(CKM_ECDH1_DERIVE),
    MECHANISM(CKM_RSA_PKCS),
    MECHANISM(CKM_RSA_PKCS_KEY_PAIR_GEN),
    MECHANISM(CKM_RSA_PKCS_OAEP),
    MECHANISM(CKM_RSA_X_509),
    MECHANISM(CKM_RSA_PKCS_PSS),
    MECHANISM(CKM_SHA256_RSA_PKCS),
    MECHANISM(CKM_SHA256_RSA_PKCS_PSS),
    MECHANISM(CKM_AES_KEY_GEN),
    MECHANISM(CKM_AES_GCM),
    MECHANISM(CKM_AES_KEY_WRAP),
    MECHANISM(CKM_AES_KEY_WRAP_PAD),
    MECHANISM(CKM_AES_KEY_WRAP_KWP),
};
#undef MECHANISM

} // namespace

std::string mechanism_name(unsigned long type) {
  const auto* found = std::ranges::find(kNames, type, &Name::type);
  return found == kNames.end() ? fmt::format("{:#x}", type) : std::string(found->name);
}

std::optional<unsigned long> mechanism_named(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name, &Name::name);
  if (found == kNames.end()) return std::nullopt;
  return found->type;
}

} // namespace hsmux
