#include "metrics/outcome.h"

#include "engine/hsmux.h"

namespace hsmux::metrics {

Outcome outcome_of(std::int32_t status) {
  switch (status) {
  case HSMUX_OK: return Outcome::kOk;
  case HSMUX_INVALID_ARGUMENT:
  case HSMUX_INVALID_CONFIG:
  case HSMUX_DECRYPT_FAILED:
  case HSMUX_SIGNATURE_INVALID:
  case HSMUX_CONFLICT:
  case HSMUX_IO:
  case HSMUX_CANCELLED:
  case HSMUX_BUFFER_TOO_SMALL: return Outcome::kCaller;
  case HSMUX_KEY_NOT_FOUND:
  case HSMUX_KEY_AMBIGUOUS:
  case HSMUX_KEY_UNUSABLE:
  case HSMUX_UNSUPPORTED: return Outcome::kKey;
  case HSMUX_UNAVAILABLE:
  case HSMUX_FORKED:
  case HSMUX_CLOSED: return Outcome::kTransient;
  case HSMUX_TIMEOUT: return Outcome::kTimeout;
  case HSMUX_OVERLOADED: return Outcome::kShed;
  default: return Outcome::kDevice;
  }
}

} // namespace hsmux::metrics
