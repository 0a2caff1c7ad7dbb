// All that one shim knows: the wrapped module, the rules of the test, counts, and the sessions opened through it. One
// per copy of the library, made at the first use and never destroyed (calls may still hang when the program ends).
// Any thread; the mutex is never held while the wrapped module runs.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include "tests/shim/function_table.h"
#include "tests/shim/rules.h"

namespace hsmux::shim {

// What a session carries on in place of the module: set by Init, read by the operation, both of the one thread that
// uses the session.
struct Emulation {
  CK_MECHANISM_TYPE hashed_sign = 0; // CKM_ECDSA_SHA256 or CKM_ECDSA_SHA384; 0 = none
  bool oaep = false;                 // decryption is X.509 in the module, OAEP here
  CK_OBJECT_HANDLE oaep_key = 0;
  std::size_t modulus_bytes = 0;
  std::string oaep_label;
};

class State {
public:
  static State& get();

  // Loads the wrapped module once; false, with a text on standard error, where that fails.
  bool load();
  [[nodiscard]] const CK_FUNCTION_LIST& wrapped() const { return *wrapped_; }

  // One call from its entry: counts it, checks the rules of PKCS#11, holds or delays it. An answer: do not forward.
  // `session` is set to the session that leave() must be called with.
  std::optional<CK_RV> enter(Function function, Target target, unsigned long first,
                             std::optional<CK_SESSION_HANDLE>& session);
  void leave(CK_SESSION_HANDLE session);

  CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session);
  void forget_session(CK_SESSION_HANDLE session);
  void forget_sessions(CK_SLOT_ID slot); // HSMUX_SHIM_ANY_SLOT = all
  Emulation emulation(CK_SESSION_HANDLE session);
  void set_emulation(CK_SESSION_HANDLE session, Emulation emulation);

  [[nodiscard]] bool hidden(CK_MECHANISM_TYPE type);
  [[nodiscard]] bool added(CK_MECHANISM_TYPE type);
  [[nodiscard]] std::set<CK_MECHANISM_TYPE> added();
  void change_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO& info);
  void note_violation(std::string text);
  // The output of a successful operation as the rules want it.
  void change_output(Function function, CK_SESSION_HANDLE session, CK_BYTE* output, CK_ULONG capacity,
                     CK_ULONG* length);
  void wait_released();

  // For the control table, see shim.h.
  long long count(std::optional<Function> function, CK_SLOT_ID slot);
  void reset_counts();
  void reset();
  void change_rules(const std::function<void(Rules&)>& change);
  void release();
  bool wait_hung(unsigned long calls, std::chrono::milliseconds timeout);
  unsigned long kill_sessions(CK_SLOT_ID slot);
  unsigned long open_sessions(CK_SLOT_ID slot);
  CK_RV logout(CK_SLOT_ID slot);
  void set_sessions_max(unsigned long sessions, bool report);
  void set_token_flags(CK_SLOT_ID slot, CK_FLAGS set, CK_FLAGS clear);
  void hide_mechanism(CK_MECHANISM_TYPE type);
  void add_mechanism(CK_MECHANISM_TYPE type);
  unsigned long violations();
  std::string last_violation();
  unsigned long logins(CK_SLOT_ID slot);
  bool write_counts(const char* path);
  void write_statistics(); // at the end, where HSMUX_SHIM_STATISTICS asked for it

private:
  struct Session {
    CK_SLOT_ID slot = 0;
    std::optional<Function> running;
    bool killed = false;
    bool closed = false; // in the wrapped module, after a kill
    Emulation emulation;
  };
  struct TokenFlags {
    CK_FLAGS set = 0, clear = 0;
  };
  // What reset() puts back.
  struct Settings {
    Rules rules;
    std::map<CK_SLOT_ID, TokenFlags> token_flags;
    std::set<CK_MECHANISM_TYPE> hidden, added;
    unsigned long sessions_max = 0;
    bool report_sessions_max = false;
  };
  struct Counts {
    std::array<std::map<CK_SLOT_ID, unsigned long>, kFunctions> calls;
    std::map<CK_SLOT_ID, unsigned long> logins;
    unsigned long violations = 0;
    std::string last_violation;
  };

  // All of these with the mutex held.
  Session* find(CK_SESSION_HANDLE session);
  unsigned long open_here(CK_SLOT_ID slot) const;
  void count_call(Function function, CK_SLOT_ID slot);
  void violation(std::string text);
  void hold(std::unique_lock<std::mutex>& lock);

  std::once_flag loaded_;
  const CK_FUNCTION_LIST* wrapped_ = nullptr;
  std::string statistics_path_; // set by load()

  std::mutex mutex_; // guards all below
  std::condition_variable changed_;
  Settings settings_;
  Counts counts_;
  std::unordered_map<CK_SESSION_HANDLE, Session> sessions_;
  std::map<CK_SLOT_ID, unsigned long> opening_;
  unsigned long hung_ = 0;
  unsigned long releases_ = 0;
};

} // namespace hsmux::shim
