// What happened, as plain values: the bottom layer, included by everything and including nothing of ours.
//
// slots and engine emit events; metrics, logs and the C ABI read them. An event never carries a PIN, key bytes, a key
// name or anything else that a caller chose: its strings come from the configuration or from tables, and end with a NUL
// that is not counted.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

namespace hsmux {

enum class ErrorKind : std::uint8_t; // slots/error.h; in the C ABI hsmux_status

enum class EventKind : std::uint8_t {
  kLogin,             // C_Login answered; rv tells how
  kSessionOpened,     // a session joined the pool
  kSessionOpenFailed, // C_OpenSession answered rv
  kSessionDiscarded,  // a session left the pool for ever because `call` answered rv; `reason`: its last calls
  kKeyFind,           // key handles were searched on the token (never on the hot path)
  kOperation,         // one attempt of a request ended on one slot
  kRetry,             // a request goes on to another attempt because of rv
  kSlotLost,          // the slot's epoch ended: every handle made in it is invalid
  kSlotReady,         // the slot has a new epoch: logged in, anchor session open
  kPinLatched,        // no login is tried any more until an operator acts
  kUnusual,           // the module broke a rule of PKCS#11 that we work around; `call` says where
  kOverdue,           // the module did not return from `call` in time: nobody waits for it any more
  kSlotHealth,        // the slot's health is now `detail` (slots/slot_health.h: "healthy", ...), because of `reason`
  kCanary,            // a canary ended: `detail` is "well", "failed" or "inconclusive"
  kWrongResult,       // what `call` gave was wrong, as the host found; it was not released
  kRequest,           // a signature, decryption or encryption ended, with all its attempts; no slot
  kModuleInitialised, // the module was initialised anew: it had been finalised, or nothing else got its token back
};

// One event. `slot`, `call` and `algorithm` point to storage that outlives the callback only.
struct Event {
  EventKind kind;
  std::string_view slot;               // configured slot name; empty when none
  std::string_view call = {};          // PKCS#11 function, e.g. "C_Sign"; empty when none
  unsigned long rv = 0;                // its CK_RV
  std::string_view algorithm = {};     // spec table name; empty when none
  std::chrono::nanoseconds duration{}; // of the vendor call (kOperation, kLogin, kSessionOpened), or of the request
  std::string_view detail = {};        // a name of a table, where the kind says so
  std::string_view reason = {};        // for people: from a table, or a session's last calls
  ErrorKind status{};                  // 0: it worked (kOperation, kRequest, kRetry, kSessionDiscarded)
  std::string_view operation = {};     // "sign", "decrypt" or "encrypt" (kOperation, kRequest, kRetry, kOverdue)
  std::chrono::nanoseconds waited{};   // for the session (kOperation)
};

// Called on the thread where the event happened, with no lock of ours held; must be thread-safe, short, and must not
// call back into the engine. An empty function is allowed: nobody listens.
using EventSink = std::function<void(const Event&)>;

} // namespace hsmux
