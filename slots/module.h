// A loaded and initialised PKCS#11 module. One per library file and process, shared by every engine; never unloaded,
// and finalised by restart() alone (other code of the process may use it too). Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "slots/deadline.h"
#include "slots/module_locks.h"
#include "slots/result.h"

// PKCS#11's function list (CK_FUNCTION_LIST), declared in slots/pkcs11.h.
struct _CK_FUNCTION_LIST; // NOLINT(bugprone-reserved-identifier): the standard's own tag

namespace hsmux {

struct ModuleOptions {
  std::string name;                               // as configured; used in messages
  std::string path;                               // a file, or a bare library name for the dynamic loader
  std::map<std::string, std::string> environment; // variables that the module reads, e.g. SOFTHSM2_CONF
  std::string init_args;                          // CK_C_INITIALIZE_ARGS.pReserved (NSS and others); empty = NULL
  Locks locks = Locks::kAuto;                     // who supplies the module's locks
  std::chrono::milliseconds init_timeout{30'000}; // modules do network I/O in dlopen and C_Initialize
  // True in the hsmux program: environment is set before the first load. False inside other programs (a JVM), where
  // setenv races getenv: a variable that differs is then an error that names it.
  bool set_environment = false;
};

struct ModuleInfo { // CK_INFO, trimmed
  std::string manufacturer;
  std::string description;
  int version_major = 0, version_minor = 0;   // of the library
  int cryptoki_major = 0, cryptoki_minor = 0; // of the interface
};

class Module {
public:
  // Loads and initialises, or returns the one already loaded from the same file. Errors, all naming the module:
  // kModule (missing file, not a library, not PKCS#11, a required function is NULL, C_Initialize failed or took longer
  // than init_timeout), kInvalidConfig (loaded before with another environment, other arguments or other locks).
  static Result<std::shared_ptr<Module>> load(const ModuleOptions& options);

  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  ~Module() = default; // neither C_Finalize nor dlclose: see docs/decisions/0002-module-life.md

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& path() const { return path_; } // resolved
  [[nodiscard]] const ModuleInfo& info() const { return info_; }
  [[nodiscard]] bool initialised_by_us() const { return initialised_by_us_; }
  // kOs or kEngine; as configured where somebody else had initialised it.
  [[nodiscard]] Locks locks() const { return locks_; }

  // The module's functions. An entry may be NULL unless it is in the required set: callers check (slots/session.cc).
  [[nodiscard]] const _CK_FUNCTION_LIST& functions() const { return *functions_; }

  // True in a child process made by fork() after the load: the module must not be called there (PKCS#11 6.6). One
  // relaxed load.
  [[nodiscard]] bool forked() const;

  // Slots that hold a token now (C_GetSlotList is asked each time: modules cache).
  Result<std::vector<unsigned long>> slots_with_token() const;

  // --- the end of a module's life, and a new one (docs/decisions/0016-module-restart.md) ---
  // Held during calls without a session, so that none of them meets C_Finalize.
  [[nodiscard]] std::shared_lock<std::shared_timed_mutex> use() const { return std::shared_lock(life_); }
  // Of ours, in the whole process: counted by Session.
  void session_opened() const { sessions_.fetch_add(1); }
  void session_gone() const { sessions_.fetch_sub(1); }
  // Somebody finalised it (CKR_CRYPTOKI_NOT_INITIALIZED): C_Initialize once more. Single-flight; harmless where another
  // thread has done it. Errors: kModule; kTimeout when calls do not return.
  Status initialise_again() const;
  // C_Finalize and C_Initialize, the last thing to try while none of its tokens can be used. Errors: kUnavailable,
  // having done nothing: it was not initialised by us, a session of ours is open or stuck, a call does not return, or
  // it was done a moment ago; kModule.
  Status restart() const;
  static constexpr std::chrono::seconds kRestartInterval{10};

private:
  Module() = default;
  static Result<std::shared_ptr<Module>> open(const ModuleOptions& options, const std::string& path);

  std::string name_, path_;
  ModuleInfo info_;
  const _CK_FUNCTION_LIST* functions_ = nullptr;
  mutable std::atomic<bool> initialised_by_us_{false};
  Locks locks_ = Locks::kOs;
  unsigned long fork_generation_ = 0;
  mutable std::string init_args_; // C_Initialize may keep the pointer
  mutable std::shared_timed_mutex life_;
  mutable std::atomic<std::uint32_t> sessions_{0};
  mutable TimePoint restarted_{}; // guarded by life_
  std::map<std::string, std::string> environment_;
};

// The generation of this process: grows in each fork() child, once somebody called watch_forks(). One relaxed load.
unsigned long fork_generation();
// Loading a module does it.
void watch_forks();

} // namespace hsmux
