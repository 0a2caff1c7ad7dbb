// What went wrong, as a value: every failing function of hsmux returns one of these. Plain data, freely copied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "slots/call.h"

namespace hsmux {

// Why a request failed, from the caller's point of view. Stable: the numbers are part of the C ABI (engine/hsmux.h).
enum class ErrorKind : std::uint8_t {
  kInvalidArgument = 1,  // the caller's input is wrong: size, empty name, unknown algorithm
  kInvalidConfig = 2,    // the configuration is wrong; the message names file, line and key
  kKeyNotFound = 3,      // no slot holds such a key
  kKeyAmbiguous = 4,     // the name fits several keys; the message lists them
  kKeyUnusable = 5,      // wrong type, purpose not permitted, replicas that differ
  kUnsupported = 6,      // no recipe of the algorithm fits what the token offers, or the module lacks a function
  kDecryptFailed = 7,    // the ciphertext does not decrypt; deliberately without any detail
  kSignatureInvalid = 8, // verification says no
  kCredentials = 9,      // PIN wrong, locked, expired, or withheld to save the token's tries
  kTimeout = 10,         // the deadline passed
  kOverloaded = 11,      // refused at once: a bounded queue is full
  kUnavailable = 12,     // slot, token or session lost
  kDevice = 13,          // the HSM or its module failed
  kModule = 14,          // the module cannot be loaded or initialised
  kForked = 15,          // used in a child process without opening anew
  kClosed = 16,          // the engine is closed
  kInternal = 17,        // a broken promise of hsmux itself
  kConflict = 18,        // it exists already
  kIo = 19,              // a file of the host cannot be read or written
  kCancelled = 20,       // submitted work that its submitter cancelled before it started
};

// The kind's name in messages, JSON and metrics, e.g. "key-not-found".
std::string_view error_kind_name(ErrorKind kind);

// Does the same request make sense again, and where? Not about who is at fault.
enum class Retry : std::uint8_t {
  kNever,     // it will fail again
  kElsewhere, // another session or slot may do it now
  kLater,     // nothing can do it now, but waiting may help
};

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  Retry retry = Retry::kNever;
  Call call = Call::kNone; // the PKCS#11 function that answered `rv`
  unsigned long rv = 0;    // its CK_RV, 0 when no module call failed
  std::string slot;        // configured slot name, empty when none is concerned
  std::string message;     // one sentence for people: what happened and what to do

  [[nodiscard]] bool retryable() const { return retry != Retry::kNever; }
  [[nodiscard]] CallStatus status() const { return {call, rv}; }

  // One line: "slot hsm-a: C_Sign answered CKR_DEVICE_ERROR (0x30): <message> [device, retryable]".
  [[nodiscard]] std::string text() const;
};

// An error that no module call caused.
Error make_error(ErrorKind kind, std::string message, Retry retry = Retry::kNever);

// An error of `status.call` answering `status.rv` on `slot`: kind, retry and advice come from the disposition table.
Error call_error(CallStatus status, std::string_view slot);

} // namespace hsmux
