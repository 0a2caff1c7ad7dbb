// Who supplies a module's locks: the operating system's mutexes as the module makes them, or ours, given to
// C_Initialize (PKCS#11 2.40, 5.4: CK_C_INITIALIZE_ARGS). Ours spin for a moment before they sleep: a module that takes
// short locks often, under many threads, then spends its time neither sleeping nor waking. docs/performance.md has the
// measurement. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

struct _CK_FUNCTION_LIST; // NOLINT(bugprone-reserved-identifier): the standard's own tag

namespace hsmux {

enum class Locks : std::uint8_t {
  kAuto,   // by the module's row in module_locks.cc; without one, as kOs
  kOs,     // CKF_OS_LOCKING_OK
  kEngine, // ours; kOs where the module answers CKR_CANT_LOCK
};
std::string_view locks_name(Locks locks); // "auto", "os", "engine"

// What kAuto means for the library file at `path`.
Locks locks_of(std::string_view path);

// C_Initialize. `reserved`: pReserved, kept by the module; NULL when empty. `locks` is kOs or kEngine, and says after
// which of the two the module took. The CK_RV.
unsigned long initialize(const _CK_FUNCTION_LIST& functions, std::string& reserved, Locks& locks);

// How many of our mutexes modules of this process have made and not destroyed.
std::uint64_t engine_locks_in_use();

} // namespace hsmux
