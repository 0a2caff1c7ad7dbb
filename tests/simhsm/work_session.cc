#include <shared_mutex>
#include <string>

#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

CK_RV open_session(CK_SLOT_ID id, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
  SimSlot& slot = visit().slot();
  if (session == nullptr) return CKR_ARGUMENTS_BAD;
  const std::shared_lock gate(slot.gate);
  if (!slot.present) return CKR_TOKEN_NOT_PRESENT;
  if (!simulator().reserve_session(slot)) return CKR_SESSION_COUNT;
  CK_SESSION_HANDLE opened = 0;
  if (const CK_RV rv = backend().C_OpenSession(id, flags, application, notify, &opened); rv != CKR_OK) {
    --slot.sessions;
    return rv;
  }
  *session = simulator().sessions().add(slot, opened, simulator().settings().reuse_handles, now());
  if (*session != 0) return CKR_OK;
  backend().C_CloseSession(opened);
  --slot.sessions;
  return CKR_SESSION_COUNT;
}

CK_RV close_session(CK_SESSION_HANDLE session) {
  if (visit().session().any_known_operation()) {
    simulator().violation(Violation::kOperationActive, "C_CloseSession of a session with an active operation");
  }
  const CK_RV rv = backend().C_CloseSession(session);
  if (rv != CKR_OK) return rv;
  visit().session_closed();
  return CKR_OK;
}

CK_RV close_all_sessions(CK_SLOT_ID) {
  simulator().violation(Violation::kOthersLogin, "C_CloseAllSessions was called");
  if (!visit().slot().present) return CKR_TOKEN_NOT_PRESENT;
  simulator().lose_sessions(visit().slot().id);
  return CKR_OK;
}

CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO* info) {
  const CK_RV rv = backend().C_GetSessionInfo(session, info);
  if (rv == CKR_OK) info->slotID = visit().slot().id;
  return rv;
}

// What a token answers to a login without looking at the PIN.
CK_RV answer_of(PinState pin) {
  switch (pin) {
  case PinState::kLocked: return CKR_PIN_LOCKED;
  case PinState::kExpired: return CKR_PIN_EXPIRED;
  case PinState::kNotInitialised: return CKR_USER_PIN_NOT_INITIALIZED;
  default: return CKR_OK;
  }
}

// True where the next wrong PIN is the last one, or one too many.
bool at_last_try(const SimSlot& slot, CK_USER_TYPE user) {
  CK_TOKEN_INFO info{};
  if (get_token_info(slot.backend_id, &info) != CKR_OK) return false;
  const CK_FLAGS flags =
      user == CKU_SO ? CKF_SO_PIN_FINAL_TRY | CKF_SO_PIN_LOCKED : CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
  return (info.flags & flags) != 0;
}

void note_login(SimSlot& slot, bool warned, CK_RV rv) {
  if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
    visit().session().login_epoch = slot.login_epoch = slot.epoch.load();
    visit().session().checked_object = 0;
  }
  if (rv == CKR_PIN_INCORRECT || (warned && rv != CKR_USER_ALREADY_LOGGED_IN)) {
    simulator().violation(Violation::kPinTry, rv == CKR_PIN_INCORRECT ? "C_Login with a wrong PIN"
                                                                      : "C_Login though the token warned of it");
  }
}

CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR* pin, CK_ULONG pin_bytes) {
  SimSlot& slot = visit().slot();
  CK_RV rv = user == CKU_SO ? CKR_OK : answer_of(slot.pin);
  const bool warned = at_last_try(slot, user);
  const std::shared_lock gate(slot.gate);
  if (visit().session().lost) return CKR_SESSION_HANDLE_INVALID;
  if (rv == CKR_OK) rv = backend().C_Login(session, user, pin, pin_bytes);
  note_login(slot, warned, rv);
  return rv;
}

CK_RV logout(CK_SESSION_HANDLE session) {
  simulator().violation(Violation::kOthersLogin, "C_Logout was called");
  const CK_RV rv = backend().C_Logout(session);
  if (rv == CKR_OK) simulator().new_epoch(visit().slot());
  return rv;
}

} // namespace

// PKCS#11 3.0, 5.6.9: a login with a name. Tokens here have no named users.
CK_RV login_user(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR* pin, CK_ULONG pin_bytes, CK_UTF8CHAR* name,
                 CK_ULONG name_bytes) {
  if (name != nullptr && name_bytes != 0) return CKR_FUNCTION_NOT_SUPPORTED;
  return login(session, user, pin, pin_bytes);
}

void add_session_work(CK_FUNCTION_LIST& work) {
  work.C_OpenSession = open_session;
  work.C_CloseSession = close_session;
  work.C_CloseAllSessions = close_all_sessions;
  work.C_GetSessionInfo = get_session_info;
  work.C_Login = login;
  work.C_Logout = logout;
}

} // namespace hsmux::sim
