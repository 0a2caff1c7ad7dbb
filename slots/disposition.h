// What a CK_RV means: for the session that answered it, for the slot, and for the caller. One table, read by the
// session pool, the slot, the engine's attempts, error texts and docs/errors.md. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "slots/error.h"

namespace hsmux {

enum class SessionFate : std::uint8_t {
  kKeep,    // goes back into the pool
  kDiscard, // is closed and never lent again
};

enum class SlotFate : std::uint8_t {
  kNothing,     // says nothing about the slot
  kSuccess,     // the slot works
  kCanary,      // may be data's doing or the slot's: a call that no client can influence decides
  kProbeAnchor, // ask the anchor session whether one session or all are lost
  kLogin,       // the login is gone
  kBusy,        // full or throttled: less concurrency, not a fault
  kFailure,     // counts as a failure
  kLost,        // the token is gone: the epoch ends
  kModuleLost,  // the module is no longer initialised
  kLatch,       // credentials: no further try until an operator acts
};

struct Disposition {
  unsigned long rv;        // CK_RV
  std::string_view name;   // "CKR_DEVICE_ERROR"
  ErrorKind kind;          // for the caller
  Retry retry;             // for the caller
  SessionFate session;     // for the pool
  SlotFate slot;           // for the slot
  std::string_view advice; // for people, one sentence without a full stop; may be empty
};

// Every row, ordered by rv. The last row stands for codes that the table does not name (vendor codes, new versions).
std::span<const Disposition> disposition_table();

// The disposition of `status.rv` as the answer of `status.call`: the row, adjusted by the rules in disposition.cc for
// codes that mean another thing from some functions (data errors of C_Decrypt, arguments after a successful Init).
Disposition disposition(CallStatus status);

// "CKR_DEVICE_ERROR", or "CKR_VENDOR_DEFINED+0x12", or "CK_RV 0x999": never empty.
std::string rv_name(unsigned long rv);

// True for the answers of C_Decrypt that a caller's bytes can cause (design: promise 8). They are all shown alike.
bool caused_by_ciphertext(CallStatus status);

} // namespace hsmux
