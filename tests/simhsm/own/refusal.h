// How everything behind the entry points says no: it throws the CK_RV, and the entry point answers it. Any thread.
#pragma once

#include "slots/pkcs11.h"

namespace hsmux::sim::own {

struct Refusal {
  CK_RV rv;
};

[[noreturn]] inline void refuse(CK_RV rv) { throw Refusal{rv}; }

inline void require(bool condition, CK_RV otherwise) {
  if (!condition) [[unlikely]]
    refuse(otherwise);
}

} // namespace hsmux::sim::own
