#include "slots/token_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/pkcs11.h"
#include "slots/token_info.h"

namespace hsmux {
namespace {

unsigned char* bytes(const Pin& pin) { return reinterpret_cast<unsigned char*>(const_cast<char*>(pin.view().data())); }

Status answered(Call call, CK_RV rv) {
  if (rv == CKR_OK) return {};
  return fail(call_error({call, rv}, ""));
}

Status set_user_pin(const CK_FUNCTION_LIST& f, CK_SESSION_HANDLE session, const Pin& so_pin, const Pin& user_pin) {
  HSMUX_CHECK(answered(Call::kLogin, f.C_Login(session, CKU_SO, bytes(so_pin), so_pin.view().size())));
  Status status = answered(Call::kInitPIN, f.C_InitPIN(session, bytes(user_pin), user_pin.view().size()));
  f.C_Logout(session); // this process made the token a moment ago: nobody else can be logged in
  return status;
}

} // namespace

Status set_up_token(const Module& module, unsigned long slot_id, const std::string& label, const Pin& so_pin,
                    const Pin& user_pin) {
  const CK_FUNCTION_LIST& f = module.functions();
  if (f.C_InitToken == nullptr || f.C_InitPIN == nullptr || f.C_Logout == nullptr) {
    return fail(ErrorKind::kUnsupported, fmt::format("module {} cannot initialise tokens", module.name()));
  }
  std::array<unsigned char, 32> padded{};
  if (label.empty() || label.size() > padded.size()) {
    return fail(ErrorKind::kInvalidArgument, "a token label has 1 to 32 bytes");
  }
  HSMUX_TRY(const TokenIdentity token, read_token(module, slot_id));
  if ((token.flags & CKF_TOKEN_INITIALIZED) != 0) {
    return fail(ErrorKind::kConflict, fmt::format("the token in slot {} ({}) is initialised already; it is left alone",
                                                  slot_id, token.label));
  }
  padded.fill(' ');
  std::copy(label.begin(), label.end(), padded.begin());
  HSMUX_CHECK(answered(Call::kInitToken, f.C_InitToken(slot_id, bytes(so_pin), so_pin.view().size(), padded.data())));

  CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
  HSMUX_CHECK(answered(Call::kOpenSession,
                       f.C_OpenSession(slot_id, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session)));
  Status status = set_user_pin(f, session, so_pin, user_pin);
  f.C_CloseSession(session);
  return status;
}

} // namespace hsmux
