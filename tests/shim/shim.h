// Control of hsmux-test-shim.so, a PKCS#11 module for tests: it wraps a real module (HSMUX_SHIM_MODULE, else SoftHSM2),
// counts calls, answers what a test tells it to, and carries out a few mechanisms that SoftHSM 2.6.1 lacks. A copy of
// the file under another name is another, independent shim (of the same wrapped module). Any thread may call all of it.
//
// Read from the environment, for programs and loaders under test:
//   HSMUX_SHIM_MODULE      path of the wrapped module                               (at load)
//   HSMUX_SHIM_NULL        "C_Sign,C_EncryptInit": these entries of the list are NULL (at load)
//   HSMUX_SHIM_INTERFACE   C_GetInterface answers: "v3" (default), "null" (CKR_OK and no list), "none" (not supported)
//   HSMUX_SHIM_INIT        C_Initialize: "already" (forwards, then CKR_CRYPTOKI_ALREADY_INITIALIZED), "cant_lock",
//                          "hang" (until release())
//   HSMUX_SHIM_RESERVED    C_Initialize answers CKR_ARGUMENTS_BAD unless pReserved is this text (never forwarded then)
//   HSMUX_SHIM_STATISTICS  path of a file that gets the counts as JSON when the library is unloaded or the program
//                          ends (at load; for programs that load one shim)
#pragma once

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

// Every slot, or a call that belongs to none that the shim knows.
#define HSMUX_SHIM_ANY_SLOT (~0UL)

extern "C" {

// What the shim exports besides C_GetFunctionList and C_GetInterface: one function that returns this table. `function`
// is a name such as "C_Sign", or "*" for all; an unknown name answers -1 or false.
struct hsmux_shim_table {
  long long (*count)(const char* function, unsigned long slot);
  void (*reset_counts)();
  void (*reset)();

  bool (*answer)(const char* function, unsigned long slot, unsigned long rv, unsigned long times, unsigned long skip);
  bool (*corrupt)(const char* function, unsigned long slot, unsigned long times);
  bool (*overlong)(const char* function, unsigned long slot, unsigned long times);
  void (*clear_answers)();

  bool (*delay)(const char* function, unsigned long slot, unsigned long milliseconds);
  bool (*hang)(const char* function, unsigned long slot);
  void (*release)();
  bool (*wait_hung)(unsigned long calls, unsigned long timeout_ms);

  unsigned long (*kill_sessions)(unsigned long slot);
  unsigned long (*open_sessions)(unsigned long slot);
  unsigned long (*logout)(unsigned long slot);
  void (*set_sessions_max)(unsigned long sessions, bool report);
  void (*set_token_flags)(unsigned long slot, unsigned long set, unsigned long clear);

  void (*hide_mechanism)(unsigned long type);
  void (*add_mechanism)(unsigned long type);

  unsigned long (*violations)();
  void (*last_violation)(char* text, unsigned long bytes);
  unsigned long (*logins)(unsigned long slot);
  bool (*write_counts)(const char* path);
};

__attribute__((visibility("default"))) const struct hsmux_shim_table* hsmux_shim_control();
}

namespace hsmux {

// The control of the shim at one path. Loads the library if nobody has; never unloads it. A mistake of the test (not a
// shim, unknown function name) ends the process with a text.
class ShimControl {
public:
  static constexpr unsigned long kAnySlot = HSMUX_SHIM_ANY_SLOT;

  explicit ShimControl(const std::string& path) : table_(bind(path)) {}

  // Another independent shim: copies the library at `shim` into `folder`; its path.
  static std::string copy_into(const std::string& folder, const std::string& shim) {
    static std::atomic<unsigned> copies{0};
    std::string path = folder + "/hsmux-test-shim-" + std::to_string(copies++) + ".so";
    std::filesystem::copy_file(shim, path);
    return path;
  }

  // Calls since the last reset_counts(), those answered by a rule included. By slot: calls with its id or a session of
  // it. total() is all functions, C_GetFunctionList included.
  [[nodiscard]] unsigned long count(const char* function, unsigned long slot = kAnySlot) const {
    const long long calls = table_->count(function, slot);
    must(calls >= 0, function);
    return static_cast<unsigned long>(calls);
  }
  [[nodiscard]] unsigned long total() const { return count("*"); }
  // Counts, logins and violations back to zero.
  void reset_counts() const { table_->reset_counts(); }
  // The shim as it was loaded: counts, rules, flags, limits, mechanisms; hung calls go on. Sessions stay open.
  void reset() const { table_->reset(); }

  // After `skip` calls that pass, the next `times` calls (0 = for ever) answer `rv` and are not forwarded. Rules of one
  // function apply one after the other: the next one starts when the one before is used up.
  void answer(const char* function, unsigned long rv, unsigned long times = 1, unsigned long skip = 0) const {
    answer_for_slot(kAnySlot, function, rv, times, skip);
  }
  void answer_for_slot(unsigned long slot, const char* function, unsigned long rv, unsigned long times = 1,
                       unsigned long skip = 0) const {
    must(table_->answer(function, slot, rv, times, skip), function);
  }
  // C_Sign, C_Encrypt, C_Decrypt: one bit of the output is flipped.
  void corrupt(const char* function, unsigned long times = 1, unsigned long slot = kAnySlot) const {
    must(table_->corrupt(function, slot, times), function);
  }
  // C_Sign, C_Encrypt, C_Decrypt: CKR_OK with a length above the buffer's; nothing is written outside of it.
  void overlong(const char* function, unsigned long times = 1, unsigned long slot = kAnySlot) const {
    must(table_->overlong(function, slot, times), function);
  }
  // Ends all rules of answer, answer_for_slot, corrupt and overlong.
  void clear_answers() const { table_->clear_answers(); }

  // Every call sleeps so long first (0 = no more); the call counts as running in its session meanwhile.
  void delay(const char* function, std::chrono::milliseconds time, unsigned long slot = kAnySlot) const {
    must(table_->delay(function, slot, static_cast<unsigned long>(time.count())), function);
  }
  // Calls block from now on until release(), which lets all of them go on and ends the rule.
  void hang(const char* function, unsigned long slot = kAnySlot) const { must(table_->hang(function, slot), function); }
  void release() const { table_->release(); }
  // Waits until `calls` calls hang; false when the time is over first.
  [[nodiscard]] bool wait_hung(unsigned long calls,
                               std::chrono::milliseconds timeout = std::chrono::seconds(10)) const {
    return table_->wait_hung(calls, static_cast<unsigned long>(timeout.count()));
  }

  // As if the token was pulled and put back: every session of the slot answers CKR_SESSION_HANDLE_INVALID from now on.
  // A session in which a call is running is closed when that call ends. How many sessions were killed.
  unsigned long kill_sessions(unsigned long slot = kAnySlot) const { return table_->kill_sessions(slot); }
  // Sessions opened through this shim, neither closed nor killed.
  [[nodiscard]] unsigned long open_sessions(unsigned long slot = kAnySlot) const { return table_->open_sessions(slot); }
  // Somebody else of this process logs the token out. The wrapped module's answer.
  unsigned long logout(unsigned long slot) const { return table_->logout(slot); }
  // C_OpenSession answers CKR_SESSION_COUNT above this many sessions of a slot (0 = no limit). With `report`,
  // ulMaxSessionCount says so too.
  void set_sessions_max(unsigned long sessions, bool report = false) const {
    table_->set_sessions_max(sessions, report);
  }
  // C_GetTokenInfo: flags = (flags | set) & ~clear.
  void set_token_flags(unsigned long slot, unsigned long set, unsigned long clear = 0) const {
    table_->set_token_flags(slot, set, clear);
  }

  // Not listed, and every use answers CKR_MECHANISM_INVALID.
  void hide_mechanism(unsigned long type) const { table_->hide_mechanism(type); }
  // Listed. CKM_ECDSA_SHA256 and CKM_ECDSA_SHA384 sign, and CKM_RSA_PKCS_OAEP decrypts with SHA-256 for hash and MGF.
  // Any other type is listed only: a list that lies.
  void add_mechanism(unsigned long type) const { table_->add_mechanism(type); }

  // Breaches of the rules that hsmux keeps: two threads in one session (the second one answers CKR_OPERATION_ACTIVE),
  // a size query in C_Sign, C_Encrypt or C_Decrypt, and C_Finalize, C_Logout or C_CloseAllSessions.
  [[nodiscard]] unsigned long violations() const { return table_->violations(); }
  [[nodiscard]] std::string last_violation() const {
    std::array<char, 256> text{};
    table_->last_violation(text.data(), text.size());
    return text.data();
  }
  // Calls of C_Login.
  [[nodiscard]] unsigned long logins(unsigned long slot = kAnySlot) const { return table_->logins(slot); }

  // {"total":N,"violations":N,"last_violation":"...","logins":{"SLOT":N},"counts":{"C_Sign":N}}; functions with no
  // calls are left out.
  void write_counts(const std::string& path) const { must(table_->write_counts(path.c_str()), path.c_str()); }

private:
  static void must(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "hsmux-test-shim: not possible: %s\n", what);
    std::abort();
  }

  static const hsmux_shim_table* bind(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) must(false, dlerror());
    auto* control = reinterpret_cast<decltype(&hsmux_shim_control)>(dlsym(library, "hsmux_shim_control"));
    must(control != nullptr, path.c_str());
    return control();
  }

  const hsmux_shim_table* table_;
};

} // namespace hsmux
