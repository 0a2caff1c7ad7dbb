// Random IVs for AES-GCM (NIST SP 800-38D, 8.2.2), taken from OpenSSL's generator many at a time: asking it for each
// costs a system call, since it looks whether the process forked. So do we, without one. Any thread.
#pragma once

#include <array>

#include "mechanisms/envelope.h"
#include "slots/result.h"

namespace hsmux {

using IvBytes = std::array<std::uint8_t, kIvBytes>;

// One that nobody else was given, in this process or in one that forked from it. Errors: kInternal (no entropy).
Result<IvBytes> fresh_gcm_iv();

} // namespace hsmux
