#include "slots/error.h"

#include <fmt/format.h>

#include "slots/disposition.h"

namespace hsmux {

std::string_view error_kind_name(ErrorKind kind) {
  switch (kind) {
  case ErrorKind::kInvalidArgument: return "invalid-argument";
  case ErrorKind::kInvalidConfig: return "invalid-config";
  case ErrorKind::kKeyNotFound: return "key-not-found";
  case ErrorKind::kKeyAmbiguous: return "key-ambiguous";
  case ErrorKind::kKeyUnusable: return "key-unusable";
  case ErrorKind::kUnsupported: return "unsupported";
  case ErrorKind::kDecryptFailed: return "decrypt-failed";
  case ErrorKind::kSignatureInvalid: return "signature-invalid";
  case ErrorKind::kCredentials: return "credentials";
  case ErrorKind::kTimeout: return "timeout";
  case ErrorKind::kOverloaded: return "overloaded";
  case ErrorKind::kUnavailable: return "unavailable";
  case ErrorKind::kDevice: return "device";
  case ErrorKind::kModule: return "module";
  case ErrorKind::kForked: return "forked";
  case ErrorKind::kClosed: return "closed";
  case ErrorKind::kInternal: return "internal";
  case ErrorKind::kConflict: return "conflict";
  case ErrorKind::kIo: return "io";
  case ErrorKind::kCancelled: return "cancelled";
  }
  return "internal";
}

std::string Error::text() const {
  std::string line;
  if (!slot.empty()) line += fmt::format("slot {}: ", slot);
  if (rv != 0) line += fmt::format("{} answered {} ({:#x}): ", call_name(call), rv_name(rv), rv);
  line += message;
  line += fmt::format(" [{}{}]", error_kind_name(kind), retryable() ? ", retryable" : "");
  return line;
}

Error make_error(ErrorKind kind, std::string message, Retry retry) {
  Error error;
  error.kind = kind;
  error.retry = retry;
  error.message = std::move(message);
  return error;
}

Error call_error(CallStatus status, std::string_view slot) {
  const Disposition row = disposition(status);
  Error error;
  error.kind = row.kind;
  error.retry = row.retry;
  error.call = status.call;
  error.rv = status.rv;
  error.slot = slot;
  error.message = row.advice.empty() ? "the module refused the call" : std::string(row.advice);
  return error;
}

} // namespace hsmux
