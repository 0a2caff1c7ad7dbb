#include "tests/shim/state.h"

#include <dlfcn.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace hsmux::shim {
namespace {

constexpr std::array kDefaultModules = {"/usr/lib/softhsm/libsofthsm2.so",
                                        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"};

std::string wrapped_path() {
  if (const char* path = std::getenv("HSMUX_SHIM_MODULE")) return path;
  for (const char* path : kDefaultModules) {
    if (std::filesystem::exists(path)) return path;
  }
  return kDefaultModules.front();
}

const CK_FUNCTION_LIST* load_wrapped(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "hsmux-test-shim: %s (HSMUX_SHIM_MODULE names the module)\n", dlerror());
    return nullptr;
  }
  CK_FUNCTION_LIST* list = nullptr;
  auto* get_list = reinterpret_cast<CK_C_GetFunctionList>(dlsym(library, "C_GetFunctionList"));
  if (get_list == nullptr || get_list(&list) != CKR_OK) {
    std::fprintf(stderr, "hsmux-test-shim: %s is not a PKCS#11 module\n", path.c_str());
    return nullptr;
  }
  return list;
}

bool breaks_login_of_others(Function function) {
  return function == Function::C_Finalize || function == Function::C_Logout || function == Function::C_CloseAllSessions;
}

} // namespace

State& State::get() {
  static auto* const state = new State;
  return *state;
}

bool State::load() {
  std::call_once(loaded_, [this] {
    wrapped_ = load_wrapped(wrapped_path());
    if (const char* path = std::getenv("HSMUX_SHIM_STATISTICS")) statistics_path_ = path;
  });
  return wrapped_ != nullptr;
}

State::Session* State::find(CK_SESSION_HANDLE session) {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? nullptr : &found->second;
}

void State::count_call(Function function, CK_SLOT_ID slot) {
  ++counts_.calls[static_cast<std::size_t>(function)][slot];
  if (function == Function::C_Login) ++counts_.logins[slot];
  if (breaks_login_of_others(function)) violation(std::string(name_of(function)) + " was called");
}

void State::violation(std::string text) {
  ++counts_.violations;
  counts_.last_violation = std::move(text);
}

void State::note_violation(std::string text) {
  const std::lock_guard lock(mutex_);
  violation(std::move(text));
}

void State::hold(std::unique_lock<std::mutex>& lock) {
  const unsigned long releases_before = releases_;
  ++hung_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return releases_ != releases_before; });
  --hung_;
}

void State::wait_released() {
  std::unique_lock lock(mutex_);
  hold(lock);
}

std::optional<CK_RV> State::enter(Function function, Target target, unsigned long first,
                                  std::optional<CK_SESSION_HANDLE>& session) {
  std::unique_lock lock(mutex_);
  Session* used = target == Target::kSession ? find(first) : nullptr;
  const CK_SLOT_ID slot = target == Target::kSlot ? first : used != nullptr ? used->slot : HSMUX_SHIM_ANY_SLOT;
  count_call(function, slot);
  if (used != nullptr) {
    if (used->running) {
      violation(std::string(name_of(function)) + " in session " + std::to_string(first) + " while " +
                std::string(name_of(*used->running)) + " runs in it");
      // Not forwarded: what a module does then is undefined (PKCS#11 2.40, 6.7.6), some crash.
      return CKR_OPERATION_ACTIVE;
    }
    used->running = function;
    session = first;
  }

  const std::optional<CK_RV> answer = settings_.rules.answers.take(function, slot);
  const std::chrono::milliseconds delay = settings_.rules.delay(function, slot);
  if (settings_.rules.hangs_for(function, slot)) hold(lock);
  if (delay.count() > 0) {
    lock.unlock();
    std::this_thread::sleep_for(delay);
    lock.lock();
  }
  if (answer) return answer;
  // Looked up again: the session may have been killed, or forgotten, meanwhile.
  used = session ? find(first) : nullptr;
  if (used != nullptr && used->killed) return CKR_SESSION_HANDLE_INVALID;
  return std::nullopt;
}

void State::leave(CK_SESSION_HANDLE session) {
  {
    const std::lock_guard lock(mutex_);
    Session* used = find(session);
    if (used == nullptr) return;
    used->running.reset();
    if (!used->killed || used->closed) return;
    used->closed = true;
  }
  wrapped().C_CloseSession(session);
}

unsigned long State::open_here(CK_SLOT_ID slot) const {
  return static_cast<unsigned long>(std::ranges::count_if(sessions_, [&](const auto& entry) {
    return !entry.second.killed && (slot == HSMUX_SHIM_ANY_SLOT || entry.second.slot == slot);
  }));
}

CK_RV State::open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE* session) {
  {
    const std::lock_guard lock(mutex_);
    if (settings_.sessions_max != 0 && open_here(slot) + opening_[slot] >= settings_.sessions_max) {
      return CKR_SESSION_COUNT;
    }
    ++opening_[slot];
  }
  const CK_RV rv = wrapped().C_OpenSession(slot, flags, application, notify, session);
  const std::lock_guard lock(mutex_);
  --opening_[slot];
  if (rv == CKR_OK) {
    Session opened;
    opened.slot = slot;
    sessions_.insert_or_assign(*session, std::move(opened));
  }
  return rv;
}

void State::forget_session(CK_SESSION_HANDLE session) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(session);
}

void State::forget_sessions(CK_SLOT_ID slot) {
  const std::lock_guard lock(mutex_);
  std::erase_if(sessions_, [&](const auto& entry) { return slot == HSMUX_SHIM_ANY_SLOT || entry.second.slot == slot; });
}

Emulation State::emulation(CK_SESSION_HANDLE session) {
  const std::lock_guard lock(mutex_);
  const Session* used = find(session);
  return used == nullptr ? Emulation{} : used->emulation;
}

void State::set_emulation(CK_SESSION_HANDLE session, Emulation emulation) {
  const std::lock_guard lock(mutex_);
  if (Session* used = find(session)) used->emulation = std::move(emulation);
}

bool State::hidden(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mutex_);
  return settings_.hidden.contains(type);
}

bool State::added(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mutex_);
  return settings_.added.contains(type);
}

std::set<CK_MECHANISM_TYPE> State::added() {
  const std::lock_guard lock(mutex_);
  return settings_.added;
}

void State::change_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO& info) {
  const std::lock_guard lock(mutex_);
  for (const CK_SLOT_ID each : {HSMUX_SHIM_ANY_SLOT, slot}) {
    if (const auto found = settings_.token_flags.find(each); found != settings_.token_flags.end()) {
      info.flags = (info.flags | found->second.set) & ~found->second.clear;
    }
  }
  if (settings_.report_sessions_max) info.ulMaxSessionCount = settings_.sessions_max;
}

void State::change_output(Function function, CK_SESSION_HANDLE session, CK_BYTE* output, CK_ULONG capacity,
                          CK_ULONG* length) {
  const std::lock_guard lock(mutex_);
  const Session* used = find(session);
  const CK_SLOT_ID slot = used == nullptr ? HSMUX_SHIM_ANY_SLOT : used->slot;
  if (settings_.rules.corrupt.take(function, slot) && *length > 0) output[*length / 2] ^= 1;
  if (settings_.rules.overlong.take(function, slot)) *length = capacity + 1;
}

long long State::count(std::optional<Function> function, CK_SLOT_ID slot) {
  const std::lock_guard lock(mutex_);
  unsigned long sum = 0;
  for (std::size_t i = 0; i < kFunctions; ++i) {
    if (function && *function != static_cast<Function>(i)) continue;
    for (const auto& [at, calls] : counts_.calls[i]) {
      if (slot == HSMUX_SHIM_ANY_SLOT || slot == at) sum += calls;
    }
  }
  return static_cast<long long>(sum);
}

void State::reset_counts() {
  const std::lock_guard lock(mutex_);
  counts_ = {};
}

void State::reset() {
  release();
  const std::lock_guard lock(mutex_);
  counts_ = {};
  settings_ = {};
}

void State::change_rules(const std::function<void(Rules&)>& change) {
  const std::lock_guard lock(mutex_);
  change(settings_.rules);
}

void State::release() {
  const std::lock_guard lock(mutex_);
  settings_.rules.hangs.clear();
  ++releases_;
  changed_.notify_all();
}

bool State::wait_hung(unsigned long calls, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return hung_ >= calls; });
}

unsigned long State::kill_sessions(CK_SLOT_ID slot) {
  std::vector<CK_SESSION_HANDLE> idle;
  unsigned long killed = 0;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [handle, session] : sessions_) {
      if (session.killed || (slot != HSMUX_SHIM_ANY_SLOT && session.slot != slot)) continue;
      session.killed = true;
      ++killed;
      // Closing a session while a call runs in it is undefined: leave() does it then.
      if (session.running) continue;
      session.closed = true;
      idle.push_back(handle);
    }
  }
  for (const CK_SESSION_HANDLE handle : idle) wrapped().C_CloseSession(handle);
  return killed;
}

unsigned long State::open_sessions(CK_SLOT_ID slot) {
  const std::lock_guard lock(mutex_);
  return open_here(slot);
}

CK_RV State::logout(CK_SLOT_ID slot) {
  // A session of its own: the others may have calls running in them.
  CK_SESSION_HANDLE session = 0;
  if (!load()) return CKR_CRYPTOKI_NOT_INITIALIZED;
  if (const CK_RV rv = wrapped().C_OpenSession(slot, CKF_SERIAL_SESSION, nullptr, nullptr, &session); rv != CKR_OK) {
    return rv;
  }
  const CK_RV rv = wrapped().C_Logout(session);
  wrapped().C_CloseSession(session);
  return rv;
}

void State::set_sessions_max(unsigned long sessions, bool report) {
  const std::lock_guard lock(mutex_);
  settings_.sessions_max = sessions;
  settings_.report_sessions_max = report;
}

void State::set_token_flags(CK_SLOT_ID slot, CK_FLAGS set, CK_FLAGS clear) {
  const std::lock_guard lock(mutex_);
  settings_.token_flags[slot] = {set, clear};
}

void State::hide_mechanism(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mutex_);
  settings_.added.erase(type);
  settings_.hidden.insert(type);
}

void State::add_mechanism(CK_MECHANISM_TYPE type) {
  const std::lock_guard lock(mutex_);
  settings_.hidden.erase(type);
  settings_.added.insert(type);
}

unsigned long State::violations() {
  const std::lock_guard lock(mutex_);
  return counts_.violations;
}

std::string State::last_violation() {
  const std::lock_guard lock(mutex_);
  return counts_.last_violation;
}

unsigned long State::logins(CK_SLOT_ID slot) {
  const std::lock_guard lock(mutex_);
  unsigned long sum = 0;
  for (const auto& [at, logins] : counts_.logins) {
    if (slot == HSMUX_SHIM_ANY_SLOT || slot == at) sum += logins;
  }
  return sum;
}

void State::write_statistics() {
  if (!statistics_path_.empty()) write_counts(statistics_path_.c_str());
}

bool State::write_counts(const char* path) {
  const auto total = count(std::nullopt, HSMUX_SHIM_ANY_SLOT);
  const std::lock_guard lock(mutex_);
  std::ofstream out(path);
  // The texts are made here, of names and numbers only: nothing needs escaping.
  out << "{\"total\":" << total << ",\"violations\":" << counts_.violations << ",\"last_violation\":\""
      << counts_.last_violation << "\",\"logins\":{";
  const char* comma = "";
  for (const auto& [slot, logins] : counts_.logins) {
    out << comma << '"' << slot << "\":" << logins;
    comma = ",";
  }
  out << "},\"counts\":{";
  comma = "";
  for (std::size_t i = 0; i < kFunctions; ++i) {
    unsigned long sum = 0;
    for (const auto& [slot, calls] : counts_.calls[i]) sum += calls;
    if (sum == 0) continue;
    out << comma << '"' << kFunctionNames[i] << "\":" << sum;
    comma = ",";
  }
  out << "}}\n";
  return static_cast<bool>(out.flush());
}

} // namespace hsmux::shim
