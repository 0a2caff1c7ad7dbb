// What the simulator does itself in place of the backend, or around it: functions that take the backend's own handles
// and are called during a Visit. Each add_* puts its functions into a list that starts as the backend's.
#pragma once

#include "slots/pkcs11.h"
#include "tests/simhsm/visit.h"

namespace hsmux::sim {

// Where the work is done.
inline Simulator& simulator() { return Simulator::get(); }
inline const CK_FUNCTION_LIST& backend() { return simulator().backend(); }
inline Visit& visit() { return Visit::current(); }

void add_token_work(CK_FUNCTION_LIST& work);     // C_Initialize, slots, tokens, mechanisms
void add_session_work(CK_FUNCTION_LIST& work);   // sessions and login
void add_object_work(CK_FUNCTION_LIST& work);    // handles of objects and their epochs
void add_operation_work(CK_FUNCTION_LIST& work); // signing, ciphers, digests: order of calls, outputs

// Handles that a successful call gave out, and one that a caller uses: work_object.cc.
void note_object(CK_OBJECT_HANDLE object);
void check_object(CK_OBJECT_HANDLE object);

// What a slot's token says of itself: the backend's flags, changed by the fault script and the settings.
CK_RV get_token_info(CK_SLOT_ID backend_id, CK_TOKEN_INFO* info);

// Functions of 3.0.
CK_RV login_user(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR* pin, CK_ULONG pin_bytes, CK_UTF8CHAR* name,
                 CK_ULONG name_bytes);
CK_RV session_cancel(CK_SESSION_HANDLE session, CK_FLAGS flags);

} // namespace hsmux::sim
