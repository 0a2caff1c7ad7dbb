// Logging in without burning PIN tries: at most one wrong try per token and process, over all engines (two in a row
// where the module's code leaves open whether the PIN was wrong), and none that the token warns about (design: "PINs").
// The decision is a pure function; the memory of it is one table per process.
#pragma once

#include <cstdint>
#include <string>

#include "metrics/events.h"
#include "slots/deadline.h"
#include "slots/disposition.h"
#include "slots/pin.h"
#include "slots/session.h"
#include "slots/slot_selector.h"

namespace hsmux {

enum class LoginVerdict : std::uint8_t {
  kTry,
  kWithheldLatched,        // a PIN was refused in this process before
  kWithheldLocked,         // CKF_USER_PIN_LOCKED
  kWithheldFinalTry,       // CKF_USER_PIN_FINAL_TRY: a wrong PIN would lock the token
  kWithheldCountLow,       // CKF_USER_PIN_COUNT_LOW: wrong PINs were tried since the last login
  kWithheldNotInitialised, // CKF_USER_PIN_INITIALIZED is not set
  kWithheldOperatorNeeded, // CKF_PROTECTED_AUTHENTICATION_PATH: the PIN is entered at the HSM
};

// `flags` are CK_TOKEN_INFO's. `latched`: this process had a PIN refused by this token and nobody unlatched it.
// `operator_ready`: an operator said that somebody is there to enter the PIN at the HSM.
LoginVerdict may_login(unsigned long flags, bool latched, bool allow_count_low, bool operator_ready = false);

struct LoginOptions {
  bool allow_count_low = false;
  // The PIN is entered at the HSM (CKF_PROTECTED_AUTHENTICATION_PATH): C_Login without one, once in this process and
  // then only when an operator unlatches the slot, since nobody may be there.
  bool at_the_token = false;
};

// Logs `session`'s token in as CKU_USER, unless it is logged in already (then no PIN is read). Single-flight per token
// over the whole process. `token` is what C_GetTokenInfo says now: its flags are read by the caller just before.
// Errors: kCredentials (withheld, refused, or the PIN source failed), or what C_Login answered.
// `pin` may be nullptr with at_the_token.
Status login(Session& session, const TokenIdentity& token, PinSource* pin, const LoginOptions& options,
             const std::string& slot_name, const EventSink& events);

// The login that an operation with a key of CKA_ALWAYS_AUTHENTICATE wants after its Init. One at a time per token, so
// that a wrong PIN is tried once; a refused one latches the token as above.
Status login_for_operation(Session& session, const TokenIdentity& token, PinSource& pin, const LoginOptions& options,
                           const std::string& slot_name, const EventSink& events);

// An operator says that the PIN is right now: the next login tries once more, also at CKF_USER_PIN_COUNT_LOW, never at
// FINAL_TRY or LOCKED.
void unlatch(const TokenIdentity& token);
bool latched(const TokenIdentity& token);

} // namespace hsmux
