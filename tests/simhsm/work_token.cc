#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

SimSlot& slot() { return Visit::current().slot(); }

CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID* list, CK_ULONG* count) {
  if (count == nullptr) return CKR_ARGUMENTS_BAD;
  // Asked twice, the size first: that is what makes SoftHSM show a token that was just initialised.
  CK_ULONG known = 0;
  if (const CK_RV rv = backend().C_GetSlotList(present, nullptr, &known); rv != CKR_OK) return rv;
  std::vector<CK_SLOT_ID> ids(known);
  if (const CK_RV rv = backend().C_GetSlotList(present, ids.data(), &known); rv != CKR_OK) return rv;
  ids.resize(known);
  std::vector<CK_SLOT_ID> shown;
  for (const CK_SLOT_ID id : ids) {
    const SimSlot& each = simulator().slot_of_backend(id);
    if (each.present || present == CK_FALSE) shown.push_back(each.id);
  }
  const CK_ULONG room = *count;
  *count = shown.size();
  if (list == nullptr) return CKR_OK;
  if (room < shown.size()) return CKR_BUFFER_TOO_SMALL;
  std::ranges::copy(shown, list);
  return CKR_OK;
}

CK_RV initialize(void* init_args) {
  const char* set = std::getenv("HSMUX_SIM_INIT");
  const std::string_view mode = set == nullptr ? "" : set;
  if (mode == "cant_lock") return CKR_CANT_LOCK;
  if (mode == "hang") simulator().hang(simulator().releases());

  auto* args = static_cast<CK_C_INITIALIZE_ARGS*>(init_args);
  if (mode == "os_locks" && args != nullptr && (args->flags & CKF_OS_LOCKING_OK) == 0) return CKR_CANT_LOCK;
  CK_C_INITIALIZE_ARGS forwarded{};
  if (const char* expected = std::getenv("HSMUX_SIM_RESERVED")) {
    if (args == nullptr || args->pReserved == nullptr ||
        std::strcmp(static_cast<const char*>(args->pReserved), expected) != 0) {
      return CKR_ARGUMENTS_BAD;
    }
    forwarded = *args;
    forwarded.pReserved = nullptr;
    args = &forwarded;
  }
  const CK_RV rv = backend().C_Initialize(args);
  if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
    simulator().initialised(true);
    CK_ULONG count = 0;
    (void)get_slot_list(CK_TRUE, nullptr, &count); // so that faults and requests find them before a caller has asked
  }
  return rv == CKR_OK && mode == "already" ? CKR_CRYPTOKI_ALREADY_INITIALIZED : rv;
}

CK_RV finalize(void* reserved) {
  simulator().violation(Violation::kOthersLogin, "C_Finalize was called");
  const CK_RV rv = backend().C_Finalize(reserved);
  if (rv == CKR_OK) simulator().initialised(false);
  return rv;
}

CK_RV get_slot_info(CK_SLOT_ID id, CK_SLOT_INFO* info) {
  const CK_RV rv = backend().C_GetSlotInfo(id, info);
  if (rv == CKR_OK && !slot().present) info->flags &= ~CKF_TOKEN_PRESENT;
  return rv;
}

CK_FLAGS flags_of(PinState pin) {
  switch (pin) {
  case PinState::kCountLow: return CKF_USER_PIN_COUNT_LOW;
  case PinState::kFinalTry: return CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY;
  case PinState::kLocked: return CKF_USER_PIN_LOCKED;
  case PinState::kToBeChanged:
  case PinState::kExpired: return CKF_USER_PIN_TO_BE_CHANGED;
  case PinState::kTrue:
  case PinState::kNotInitialised: return 0;
  }
  return 0;
}

void report_sessions(CK_TOKEN_INFO& info, const Limits& limits) {
  switch (limits.sessions_reported.kind) {
  case ReportedSessions::Kind::kModule: return;
  case ReportedSessions::Kind::kTrue: info.ulMaxSessionCount = info.ulMaxRwSessionCount = limits.sessions_max; return;
  case ReportedSessions::Kind::kInfinite: info.ulMaxSessionCount = 0; return;
  case ReportedSessions::Kind::kUnknown: info.ulMaxSessionCount = ~0UL; return; // CK_UNAVAILABLE_INFORMATION
  case ReportedSessions::Kind::kNumber: info.ulMaxSessionCount = limits.sessions_reported.number; return;
  }
}

CK_RV init_token(CK_SLOT_ID id, CK_UTF8CHAR* pin, CK_ULONG pin_bytes, CK_UTF8CHAR* label) {
  if (!slot().present) return CKR_TOKEN_NOT_PRESENT;
  const CK_RV rv = backend().C_InitToken(id, pin, pin_bytes, label);
  if (rv != CKR_OK) return rv;
  simulator().new_epoch(slot());
  simulator().read_label(slot());
  return CKR_OK;
}

CK_RV get_mechanism_list(CK_SLOT_ID id, CK_MECHANISM_TYPE* list, CK_ULONG* count) {
  if (count == nullptr) return CKR_ARGUMENTS_BAD;
  if (!slot().present) return CKR_TOKEN_NOT_PRESENT;
  CK_ULONG known = 0;
  if (const CK_RV rv = backend().C_GetMechanismList(id, nullptr, &known); rv != CKR_OK) return rv;
  std::vector<CK_MECHANISM_TYPE> types(known);
  if (const CK_RV rv = backend().C_GetMechanismList(id, types.data(), &known); rv != CKR_OK) return rv;
  types.resize(known);
  std::erase_if(types, [](CK_MECHANISM_TYPE type) { return simulator().hidden(type); });
  for (const CK_MECHANISM_TYPE type : simulator().listed()) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  }
  const CK_ULONG room = *count;
  *count = types.size();
  if (list == nullptr) return CKR_OK;
  if (room < types.size()) return CKR_BUFFER_TOO_SMALL;
  std::ranges::copy(types, list);
  return CKR_OK;
}

CK_RV get_mechanism_info(CK_SLOT_ID id, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  if (!slot().present) return CKR_TOKEN_NOT_PRESENT;
  if (simulator().hidden(type)) return CKR_MECHANISM_INVALID;
  const CK_RV rv = backend().C_GetMechanismInfo(id, type, info);
  if (rv != CKR_MECHANISM_INVALID || info == nullptr || !simulator().listed().contains(type)) return rv;
  *info = {}; // listed only: the backend knows nothing of it
  return CKR_OK;
}

} // namespace

CK_RV get_token_info(CK_SLOT_ID id, CK_TOKEN_INFO* info) {
  if (!slot().present) return CKR_TOKEN_NOT_PRESENT;
  const CK_RV rv = backend().C_GetTokenInfo(id, info);
  if (rv != CKR_OK) return rv;
  const PinState pin = slot().pin;
  if (pin == PinState::kNotInitialised) info->flags &= ~CKF_USER_PIN_INITIALIZED;
  info->flags = (info->flags | flags_of(pin) | slot().flags_set) & ~slot().flags_cleared;
  report_sessions(*info, simulator().settings().limits);
  return CKR_OK;
}

void add_token_work(CK_FUNCTION_LIST& work) {
  work.C_Initialize = initialize;
  work.C_Finalize = finalize;
  work.C_GetSlotList = get_slot_list;
  work.C_GetSlotInfo = get_slot_info;
  work.C_GetTokenInfo = get_token_info;
  work.C_InitToken = init_token;
  work.C_GetMechanismList = get_mechanism_list;
  work.C_GetMechanismInfo = get_mechanism_info;
}

} // namespace hsmux::sim
