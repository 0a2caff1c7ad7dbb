#include "slots/token_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/pkcs11.h"
#include "slots/token_text.h"

namespace hsmux {
namespace {

struct FlagName {
  unsigned long value;
  const char* name;
};

constexpr std::array kFlagNames{
    FlagName{CKF_TOKEN_INITIALIZED, "initialised"},
    FlagName{CKF_LOGIN_REQUIRED, "login-required"},
    FlagName{CKF_WRITE_PROTECTED, "write-protected"},
    FlagName{CKF_PROTECTED_AUTHENTICATION_PATH, "protected-authentication-path"},
    FlagName{CKF_USER_PIN_INITIALIZED, "user-pin-initialised"},
    FlagName{CKF_USER_PIN_COUNT_LOW, "user-pin-count-low"},
    FlagName{CKF_USER_PIN_FINAL_TRY, "user-pin-final-try"},
    FlagName{CKF_USER_PIN_LOCKED, "user-pin-locked"},
    FlagName{CKF_USER_PIN_TO_BE_CHANGED, "user-pin-to-be-changed"},
};

} // namespace

Result<TokenIdentity> read_token(const Module& module, unsigned long slot_id) {
  const auto life = module.use();
  CK_TOKEN_INFO info{};
  if (const CK_RV rv = module.functions().C_GetTokenInfo(slot_id, &info); rv != CKR_OK) {
    return fail(call_error({Call::kGetTokenInfo, rv}, ""));
  }
  return TokenIdentity{.slot_id = slot_id,
                       .label = trimmed_text(info.label, sizeof info.label),
                       .manufacturer = trimmed_text(info.manufacturerID, sizeof info.manufacturerID),
                       .model = trimmed_text(info.model, sizeof info.model),
                       .serial = trimmed_text(info.serialNumber, sizeof info.serialNumber),
                       .firmware = fmt::format("{}.{}", info.firmwareVersion.major, info.firmwareVersion.minor),
                       .flags = info.flags,
                       .sessions_max = info.ulMaxSessionCount};
}

Result<std::vector<TokenIdentity>> read_tokens(const Module& module) {
  HSMUX_TRY(const std::vector<unsigned long> slots, module.slots_with_token());
  std::vector<TokenIdentity> tokens;
  for (const unsigned long slot : slots) {
    if (Result<TokenIdentity> token = read_token(module, slot)) tokens.push_back(std::move(*token));
  }
  return tokens;
}

Result<std::vector<MechanismOffer>> read_mechanisms(const Module& module, unsigned long slot_id,
                                                    const std::string& slot_name) {
  const auto life = module.use();
  const CK_FUNCTION_LIST& f = module.functions();
  CK_ULONG count = 0;
  if (const CK_RV rv = f.C_GetMechanismList(slot_id, nullptr, &count); rv != CKR_OK) {
    return fail(call_error({Call::kGetMechanismList, rv}, slot_name));
  }
  constexpr CK_ULONG kMechanismsMax = 10'000;
  std::vector<CK_MECHANISM_TYPE> types(std::min(count, kMechanismsMax));
  count = types.size();
  if (const CK_RV rv = f.C_GetMechanismList(slot_id, types.data(), &count); rv != CKR_OK) {
    return fail(call_error({Call::kGetMechanismList, rv}, slot_name));
  }
  types.resize(std::min<std::size_t>(count, types.size()));

  std::vector<MechanismOffer> offers;
  for (const CK_MECHANISM_TYPE type : types) {
    CK_MECHANISM_INFO info{};
    // A mechanism without information counts as offered for everything: the probe finds out.
    if (f.C_GetMechanismInfo == nullptr || f.C_GetMechanismInfo(slot_id, type, &info) != CKR_OK) info = {0, 0, ~0UL};
    offers.push_back({type, info.ulMinKeySize, info.ulMaxKeySize, info.flags});
  }
  return offers;
}

std::vector<std::string> token_flag_names(unsigned long flags) {
  std::vector<std::string> names;
  for (const FlagName& flag : kFlagNames) {
    if ((flags & flag.value) != 0) names.emplace_back(flag.name);
  }
  return names;
}

bool initialised(const TokenIdentity& token) { return (token.flags & CKF_TOKEN_INITIALIZED) != 0; }

} // namespace hsmux
