#include "slots/module_locks.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

// Modules that gain by our locks, by file name. SoftHSM 2.6.1: its session and handle managers take a mutex several
// times per call; with OS mutexes two threads form a convoy (docs/performance.md, "Who supplies the module's locks").
constexpr std::array<std::string_view, 2> kWithOwnLocks = {"libsofthsm2.so", "libsofthsm2.dylib"};

std::atomic<std::uint64_t> in_use{0};

// A mutex is a pthread_mutex_t from malloc's family: when a process exits, SoftHSM 2.6.1 gives ours to its own
// functions, which end such a thing. Each has cache lines of its own: neighbours would slow each other down.
constexpr std::size_t kLine = 64;
constexpr std::size_t kMutexBytes = (sizeof(pthread_mutex_t) + kLine - 1) / kLine * kLine;

extern "C" {
CK_RV create_mutex(void** made) {
  if (made == nullptr) return CKR_ARGUMENTS_BAD;
  void* memory = std::aligned_alloc(kLine, kMutexBytes);
  if (memory == nullptr) return CKR_HOST_MEMORY;
  auto* mutex = new (memory) pthread_mutex_t;
  pthread_mutexattr_t adaptive;
  pthread_mutexattr_init(&adaptive);
  pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
  pthread_mutex_init(mutex, &adaptive);
  pthread_mutexattr_destroy(&adaptive);
  ++in_use;
  *made = mutex;
  return CKR_OK;
}

CK_RV destroy_mutex(void* mutex) {
  if (mutex == nullptr) return CKR_MUTEX_BAD;
  pthread_mutex_destroy(static_cast<pthread_mutex_t*>(mutex));
  std::free(mutex); // NOLINT(cppcoreguidelines-no-malloc): as create_mutex says
  --in_use;
  return CKR_OK;
}

CK_RV lock_mutex(void* mutex) {
  if (mutex == nullptr) return CKR_MUTEX_BAD;
  return pthread_mutex_lock(static_cast<pthread_mutex_t*>(mutex)) == 0 ? CKR_OK : CKR_GENERAL_ERROR;
}

CK_RV unlock_mutex(void* mutex) {
  if (mutex == nullptr) return CKR_MUTEX_BAD;
  return pthread_mutex_unlock(static_cast<pthread_mutex_t*>(mutex)) == 0 ? CKR_OK : CKR_GENERAL_ERROR;
}
}

} // namespace

std::string_view locks_name(Locks locks) {
  switch (locks) {
  case Locks::kAuto: return "auto";
  case Locks::kOs: return "os";
  case Locks::kEngine: return "engine";
  }
  return "auto";
}

Locks locks_of(std::string_view path) {
  const std::string_view file = path.substr(path.rfind('/') + 1);
  return std::ranges::find(kWithOwnLocks, file) != kWithOwnLocks.end() ? Locks::kEngine : Locks::kOs;
}

unsigned long initialize(const _CK_FUNCTION_LIST& functions, std::string& reserved, Locks& locks) {
  void* kept = reserved.empty() ? nullptr : reserved.data();
  if (locks == Locks::kEngine) {
    CK_C_INITIALIZE_ARGS args{};
    // Without CKF_OS_LOCKING_OK: with it the module may choose its own.
    args.CreateMutex = create_mutex;
    args.DestroyMutex = destroy_mutex;
    args.LockMutex = lock_mutex;
    args.UnlockMutex = unlock_mutex;
    args.pReserved = kept;
    const CK_RV rv = functions.C_Initialize(&args);
    if (rv != CKR_CANT_LOCK) return rv;
    locks = Locks::kOs;
  }
  CK_C_INITIALIZE_ARGS args{};
  args.pReserved = kept;
  args.flags = CKF_OS_LOCKING_OK;
  return functions.C_Initialize(&args);
}

std::uint64_t engine_locks_in_use() { return in_use; }

} // namespace hsmux
