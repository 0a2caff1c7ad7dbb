// Control of libhsmux-simhsm.so from inside the process: it counts calls, does wrong what a test tells it to, and
// watches its caller keep the rules of PKCS#11. docs/simhsm.md tells all that it can do. A copy of the file under
// another name is another, independent simulator (of the same wrapped module). Any thread may call all of it.
//
// Read from the environment when the library is loaded, for programs and loaders under test:
//   HSMUX_SIM_CONFIG      path of its settings (TOML); without, it wraps SoftHSM2 and changes nothing
//   HSMUX_SIM_MODULE      path of the wrapped module, whatever the settings say
//   HSMUX_SIM_NULL        "C_Sign,C_EncryptInit": these entries of the list are NULL
//   HSMUX_SIM_INTERFACE   C_GetInterface answers: "v3" (default), "null" (CKR_OK and no list), "none" (not supported)
//   HSMUX_SIM_STATISTICS  path of a file that gets statistics() when the library is unloaded or the program ends
// and when C_Initialize is called:
//   HSMUX_SIM_INIT        "already" (forwards, then CKR_CRYPTOKI_ALREADY_INITIALIZED), "cant_lock", "os_locks" (takes
//   no locks of the caller), "hang" (until
//                         release())
//   HSMUX_SIM_RESERVED    CKR_ARGUMENTS_BAD unless pReserved is this text (never forwarded then)
#pragma once

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

// Every slot, or a call that belongs to none.
#define HSMUX_SIM_ANY_SLOT (~0UL)

extern "C" {

// What the library exports besides C_GetFunctionList, C_GetInterface and C_GetInterfaceList: one function that returns
// this table. `function` is a name such as "C_Sign", or "*" for all; an unknown name answers -1 or false. Texts are
// allocated by malloc, the caller frees them.
struct hsmux_sim_table {
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
  void (*set_token_flags)(unsigned long slot, unsigned long set, unsigned long clear);

  void (*hide_mechanism)(unsigned long type);
  void (*add_mechanism)(unsigned long type);

  unsigned long (*violations)(const char* kind);
  char* (*last_violation)();
  char* (*request)(const char* json);
};

__attribute__((visibility("default"))) const struct hsmux_sim_table* hsmux_sim_control();
}

namespace hsmux {

// The control of the simulator at one path. Loads the library if nobody has; never unloads it. A mistake of the test
// (another library, an unknown function name) ends the process with a text.
class SimControl {
public:
  static constexpr unsigned long kAnySlot = HSMUX_SIM_ANY_SLOT;

  explicit SimControl(const std::string& path) : table_(bind(path)) {}

  // Another independent simulator: copies the library at `simhsm` into `folder`; its path.
  static std::string copy_into(const std::string& folder, const std::string& simhsm) {
    static std::atomic<unsigned> copies{0};
    std::string path = folder + "/hsmux-simhsm-" + std::to_string(copies++) + ".so";
    std::filesystem::copy_file(simhsm, path);
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
  // Counts and violations back to zero.
  void reset_counts() const { table_->reset_counts(); }
  // As it was loaded: counts, faults, times, limits, flags, mechanisms; hung calls are released. Sessions stay open.
  void reset() const { table_->reset(); }

  // After `skip` calls that pass, the next `times` calls (0 = for ever) answer `rv`; an operation that the call would
  // end is ended. Rows of one function apply one after the other: the next one starts when the one before is used up.
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
  // Ends all rows of answer, answer_for_slot, corrupt and overlong.
  void clear_answers() const { table_->clear_answers(); }

  // Every call sleeps so long first (0 = no more); the call counts as running in its session meanwhile.
  void delay(const char* function, std::chrono::milliseconds time, unsigned long slot = kAnySlot) const {
    must(table_->delay(function, slot, static_cast<unsigned long>(time.count())), function);
  }
  // Calls block from now on until release(), which lets all of them go on and ends the row.
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
  // Sessions neither closed nor lost.
  [[nodiscard]] unsigned long open_sessions(unsigned long slot = kAnySlot) const { return table_->open_sessions(slot); }
  // Somebody else of this process logs the token out. The wrapped module's answer.
  unsigned long logout(unsigned long slot) const { return table_->logout(slot); }
  // Settings on top of those that are there, as docs/simhsm.md tells them; reset() undoes them.
  void apply(const std::string& toml) const {
    const std::string answer = request(R"({"command":"apply","settings":)" + quoted(toml) + "}");
    must(answer.starts_with(R"({"ok":true)"), answer.c_str());
  }
  // One of the actions that are done to a slot: "remove-token", "insert-token", "pin-state", ... `more`: other members
  // of the request, such as R"("pin":"locked")".
  void play(const std::string& action, unsigned long slot, const std::string& more = "") const {
    const std::string answer = request(R"({"command":"play","action":")" + action + R"(","slot":)" +
                                       std::to_string(slot) + (more.empty() ? "" : "," + more) + "}");
    must(answer.starts_with(R"({"ok":true)"), answer.c_str());
  }
  // C_OpenSession answers CKR_SESSION_COUNT above this many sessions of a slot (0 = no limit). With `report`,
  // ulMaxSessionCount says so too.
  void set_sessions_max(unsigned long sessions, bool report = false) const {
    apply("[limits]\nsessions_max = " + std::to_string(sessions) + "\nsessions_reported = '" +
          (report ? "true" : "module") + "'");
  }
  // C_GetTokenInfo: flags = (flags | set) & ~clear.
  void set_token_flags(unsigned long slot, unsigned long set, unsigned long clear = 0) const {
    table_->set_token_flags(slot, set, clear);
  }

  // Not listed, and every use answers CKR_MECHANISM_INVALID.
  void hide_mechanism(unsigned long type) const { table_->hide_mechanism(type); }
  // Listed, whatever the module behind it can do: a list that lies.
  void add_mechanism(unsigned long type) const { table_->add_mechanism(type); }

  // Breaches of the rules that hsmux keeps (tests/simhsm/violations.h); all but tries of wrong PINs, or those of a
  // kind.
  [[nodiscard]] unsigned long violations() const { return table_->violations(nullptr); }
  [[nodiscard]] unsigned long violations(const char* kind) const { return table_->violations(kind); }
  [[nodiscard]] std::string last_violation() const { return taken(table_->last_violation()); }
  // Calls of C_Login.
  [[nodiscard]] unsigned long logins(unsigned long slot = kAnySlot) const { return count("C_Login", slot); }

  // A request as of the control socket, and its answer; JSON, one line each.
  [[nodiscard]] std::string request(const std::string& json) const { return taken(table_->request(json.c_str())); }

private:
  static void must(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "hsmux-simhsm: not possible: %s\n", what);
    std::abort();
  }

  static const hsmux_sim_table* bind(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) must(false, dlerror());
    auto* control = reinterpret_cast<decltype(&hsmux_sim_control)>(dlsym(library, "hsmux_sim_control"));
    must(control != nullptr, path.c_str());
    return control();
  }

  static std::string taken(char* text) {
    std::string copy = text;
    std::free(text); // NOLINT: it crossed the C interface
    return copy;
  }
  // As a JSON string. The texts are the tests' own: no other control characters than line ends and tabs.
  static std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') json += '\\';
      json += c == '\n' ? "\\n" : c == '\t' ? "\\t" : std::string(1, c);
    }
    return json + '"';
  }

  const hsmux_sim_table* table_;
};

} // namespace hsmux
