#include "slots/module.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>

#include "slots/pkcs11.h"
#include "slots/token_text.h"

namespace hsmux {
namespace {

std::atomic<unsigned long> process_generation{1};

constexpr std::chrono::seconds kLifeWait{1}; // for calls without a session to return

Error module_error(const ModuleOptions& options, std::string what, Retry retry = Retry::kNever) {
  return make_error(ErrorKind::kModule, fmt::format("module {} ({}): {}", options.name, options.path, what), retry);
}

// What a list must hold before we use it; the rest is checked at each call.
struct RequiredFunction {
  const char* name;
  bool (*present)(const CK_FUNCTION_LIST&);
};
#define REQUIRED(function)                                                                                             \
  RequiredFunction {                                                                                                   \
    #function, [](const CK_FUNCTION_LIST& list) { return list.function != nullptr; }                                   \
  }
constexpr std::array kRequired{REQUIRED(C_Initialize),       REQUIRED(C_GetInfo),          REQUIRED(C_GetSlotList),
                               REQUIRED(C_GetTokenInfo),     REQUIRED(C_GetMechanismList), REQUIRED(C_OpenSession),
                               REQUIRED(C_CloseSession),     REQUIRED(C_GetSessionInfo),   REQUIRED(C_Login),
                               REQUIRED(C_FindObjectsInit),  REQUIRED(C_FindObjects),      REQUIRED(C_FindObjectsFinal),
                               REQUIRED(C_GetAttributeValue)};
#undef REQUIRED

// The 3.0 way where it works, else the 2.40 way: some libraries export C_GetInterface and answer nothing useful.
const CK_FUNCTION_LIST* function_list(void* library) {
  if (auto* get_interface = reinterpret_cast<v3::GetInterface>(dlsym(library, "C_GetInterface"))) {
    std::array<unsigned char, 8> name{'P', 'K', 'C', 'S', ' ', '1', '1', 0};
    v3::Interface* found = nullptr;
    if (get_interface(name.data(), nullptr, &found, 0) == CKR_OK && found != nullptr &&
        found->function_list != nullptr) {
      const auto* list = static_cast<const CK_FUNCTION_LIST*>(found->function_list);
      if (list->version.major == 2 || list->version.major == 3) return list;
    }
  }
  auto* get_list = reinterpret_cast<CK_C_GetFunctionList>(dlsym(library, "C_GetFunctionList"));
  CK_FUNCTION_LIST* list = nullptr;
  if (get_list == nullptr || get_list(&list) != CKR_OK) return nullptr;
  return list;
}

Status prepare_environment(const ModuleOptions& options) {
  for (const auto& [variable, value] : options.environment) {
    const char* current = std::getenv(variable.c_str());
    if (current != nullptr && value == current) continue;
    if (!options.set_environment) {
      return fail(ErrorKind::kInvalidConfig,
                  fmt::format("module {}: environment variable {} must be '{}' before this program starts, but is {}; "
                              "inside another program hsmux does not change it",
                              options.name, variable, value,
                              current == nullptr ? "not set" : fmt::format("'{}'", current)));
    }
    if (setenv(variable.c_str(), value.c_str(), 1) != 0) {
      return fail(ErrorKind::kInvalidConfig, fmt::format("module {}: environment variable {} cannot be set: {}",
                                                         options.name, variable, std::strerror(errno)));
    }
  }
  return {};
}

// One file is one module, whatever name it was given by.
Result<std::string> resolve(const ModuleOptions& options) {
  if (options.path.empty()) return fail(module_error(options, "no path is configured"));
  if (options.path.find('/') == std::string::npos) return options.path;
  std::array<char, PATH_MAX> resolved{};
  if (realpath(options.path.c_str(), resolved.data()) == nullptr) {
    return fail(
        module_error(options, fmt::format("{}; give the path of the vendor's PKCS#11 library", std::strerror(errno))));
  }
  return std::string(resolved.data());
}

struct Loading {
  std::shared_future<Result<std::shared_ptr<Module>>> result;
  std::map<std::string, std::string> environment;
  std::string init_args;
  Locks locks;
  std::thread thread; // joined by who sees the result first; left alone while it is stuck
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, Loading> modules; // by resolved path; guarded by mutex
};

// Never destroyed: modules outlive static destructors.
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

} // namespace

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { process_generation.fetch_add(1); }); });
}

unsigned long fork_generation() { return process_generation.load(std::memory_order_relaxed); }

bool Module::forked() const { return fork_generation_ != fork_generation(); }

Result<std::shared_ptr<Module>> Module::open(const ModuleOptions& options, const std::string& path) {
  // RTLD_LOCAL: two vendors' modules may carry the same symbols. RTLD_NOW: a missing symbol shows here, not under load.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return fail(module_error(options, fmt::format("not a loadable library: {}", why == nullptr ? "unknown" : why)));
  }
  const CK_FUNCTION_LIST* functions = function_list(library);
  if (functions == nullptr) {
    return fail(module_error(options, "not a PKCS#11 module: neither C_GetInterface nor C_GetFunctionList answers"));
  }
  for (const RequiredFunction& required : kRequired) {
    if (!required.present(*functions)) {
      return fail(module_error(options, fmt::format("{} is missing (NULL in its function list)", required.name)));
    }
  }

  std::shared_ptr<Module> module(new Module);
  module->name_ = options.name;
  module->path_ = path;
  module->functions_ = functions;
  module->fork_generation_ = fork_generation();
  module->init_args_ = options.init_args;

  module->locks_ = options.locks == Locks::kAuto ? locks_of(path) : options.locks;
  const CK_RV rv = initialize(*functions, module->init_args_, module->locks_);
  if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
    Error error = call_error({Call::kInitialize, rv}, "");
    error.kind = ErrorKind::kModule;
    error.message = fmt::format("module {} ({}): {}", options.name, path, error.message);
    return fail(std::move(error));
  }
  module->initialised_by_us_ = rv == CKR_OK;

  CK_INFO info{};
  if (const CK_RV answer = functions->C_GetInfo(&info); answer != CKR_OK) {
    return fail(call_error({Call::kGetInfo, answer}, ""));
  }
  module->info_ = {.manufacturer = trimmed_text(info.manufacturerID, sizeof info.manufacturerID),
                   .description = trimmed_text(info.libraryDescription, sizeof info.libraryDescription),
                   .version_major = info.libraryVersion.major,
                   .version_minor = info.libraryVersion.minor,
                   .cryptoki_major = info.cryptokiVersion.major,
                   .cryptoki_minor = info.cryptokiVersion.minor};
  return module;
}

Result<std::shared_ptr<Module>> Module::load(const ModuleOptions& options) {
  watch_forks();
  HSMUX_TRY(const std::string path, resolve(options));

  std::shared_future<Result<std::shared_ptr<Module>>> result;
  {
    Registry& known = registry();
    const std::lock_guard lock(known.mutex);
    auto found = known.modules.find(path);
    if (found != known.modules.end()) {
      if (found->second.environment != options.environment || found->second.init_args != options.init_args ||
          found->second.locks != options.locks) {
        return fail(ErrorKind::kInvalidConfig,
                    fmt::format("module {} ({}) is already loaded in this process with another environment, other "
                                "init_args or other locks: one module has one configuration",
                                options.name, path));
      }
      result = found->second.result;
    } else {
      HSMUX_CHECK(prepare_environment(options));
      // dlopen and C_Initialize may wait for a network: they run on a thread that can be left behind.
      std::promise<Result<std::shared_ptr<Module>>> promise;
      result = promise.get_future().share();
      std::thread thread(
          [options, path, promise = std::move(promise)]() mutable { promise.set_value(open(options, path)); });
      known.modules.emplace(path,
                            Loading{result, options.environment, options.init_args, options.locks, std::move(thread)});
    }
  }
  if (result.wait_for(options.init_timeout) != std::future_status::ready) {
    return fail(module_error(
        options,
        fmt::format("loading did not end within {} ms; is the HSM's network reachable?", options.init_timeout.count()),
        Retry::kLater));
  }
  {
    const std::lock_guard lock(registry().mutex);
    const auto entry = registry().modules.find(path);
    const bool ended = entry != registry().modules.end() &&
                       entry->second.result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    if (ended && entry->second.thread.joinable()) entry->second.thread.join();
    // A failed load may be tried again, for instance after the file was put right.
    if (ended && !entry->second.result.get()) registry().modules.erase(entry);
  }
  if (result.get() && (*result.get())->forked()) {
    return fail(ErrorKind::kForked,
                fmt::format("module {} was loaded before fork(): a child process must exec() before it uses hsmux",
                            options.name));
  }
  return result.get();
}

Result<std::vector<unsigned long>> Module::slots_with_token() const {
  const auto life = use();
  // Asked until the count is stable: a token may appear between the two calls.
  for (int attempt = 0; attempt < 5; ++attempt) {
    CK_ULONG count = 0;
    if (const CK_RV rv = functions_->C_GetSlotList(CK_TRUE, nullptr, &count); rv != CKR_OK) {
      return fail(call_error({Call::kGetSlotList, rv}, ""));
    }
    constexpr CK_ULONG kSlotsMax = 65'536;
    if (count > kSlotsMax) {
      return fail(ErrorKind::kDevice, fmt::format("module {} claims to have {} slots", name_, count));
    }
    std::vector<CK_SLOT_ID> slots(count);
    const CK_RV rv = functions_->C_GetSlotList(CK_TRUE, slots.data(), &count);
    if (rv == CKR_BUFFER_TOO_SMALL) continue;
    if (rv != CKR_OK) return fail(call_error({Call::kGetSlotList, rv}, ""));
    slots.resize(std::min<std::size_t>(count, slots.size()));
    return slots;
  }
  return fail(ErrorKind::kUnavailable, fmt::format("module {}: its list of slots keeps changing", name_),
              Retry::kLater);
}

Status Module::initialise_again() const {
  const std::unique_lock lock(life_, kLifeWait);
  if (!lock) {
    return fail(ErrorKind::kTimeout, fmt::format("module {}: calls do not return, so it cannot be initialised", name_),
                Retry::kLater);
  }
  Locks locks = locks_;
  const CK_RV rv = initialize(*functions_, init_args_, locks);
  if (rv == CKR_OK) initialised_by_us_ = true;
  if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) return {};
  Error error = call_error({Call::kInitialize, rv}, "");
  error.kind = ErrorKind::kModule;
  error.message = fmt::format("module {} was finalised and cannot be initialised again: {}", name_, error.message);
  return fail(std::move(error));
}

Status Module::restart() const {
  const auto refuse = [this](std::string_view why) {
    return fail(ErrorKind::kUnavailable, fmt::format("module {} is not restarted: {}", name_, why), Retry::kLater);
  };
  if (forked()) return refuse("this process is a fork of the one that loaded it");
  if (!initialised_by_us_) return refuse("other code of this process initialised it");
  const std::unique_lock lock(life_, kLifeWait);
  if (!lock) return refuse("a call does not return");
  if (sessions_ != 0) return refuse("sessions are open");
  const TimePoint now = MonotonicClock::now();
  if (restarted_ != TimePoint{} && now - restarted_ < kRestartInterval) return refuse("it was a moment ago");
  restarted_ = now;
  if (functions_->C_Finalize != nullptr) (void)functions_->C_Finalize(nullptr); // whatever it says, what follows tells
  Locks locks = locks_;
  const CK_RV rv = initialize(*functions_, init_args_, locks);
  if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) return {};
  Error error = call_error({Call::kInitialize, rv}, "");
  error.kind = ErrorKind::kModule;
  error.message = fmt::format("module {} cannot be initialised again: {}", name_, error.message);
  return fail(std::move(error));
}

} // namespace hsmux
