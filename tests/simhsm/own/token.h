// One slot and its token: PINs, login, the number of sessions, objects. Owned by the Machine and never removed; any
// thread.
#pragma once

#include <atomic>
#include <mutex>

#include "tests/simhsm/own/hsm.h"
#include "tests/simhsm/own/object_store.h"
#include "tests/simhsm/own/pin.h"

namespace hsmux::sim::own {

// What is the same for all tokens.
struct Policy {
  std::atomic<bool> canned{false}, makes_iv{false};
  std::atomic<std::size_t> objects_max{0};
  unsigned user_pin_tries = 10, so_pin_tries = 10;
  std::string manufacturer, model;
  CK_VERSION firmware{};
};

enum class Login : std::uint8_t { kNobody, kUser, kOfficer };

class Token {
public:
  // Uninitialised.
  Token(CK_SLOT_ID slot, const Policy& policy);
  Token(CK_SLOT_ID slot, const Policy& policy, const TokenSettings& settings);

  [[nodiscard]] CK_SLOT_ID slot() const { return slot_; }
  [[nodiscard]] const Policy& policy() const { return policy_; }
  [[nodiscard]] bool initialised() const;
  [[nodiscard]] CK_SLOT_INFO slot_info() const;
  [[nodiscard]] CK_TOKEN_INFO info() const;

  void initialise(View so_pin, std::string_view label);
  void init_user_pin(View pin);
  void set_pin(bool read_write, View old_pin, View new_pin);

  // The first refuses with CKR_TOKEN_NOT_RECOGNIZED while uninitialised, CKR_SESSION_READ_WRITE_SO_EXISTS. Closing the
  // last one logs out.
  void session_opened(bool read_write);
  void session_closed(bool read_write);

  [[nodiscard]] Login login() const { return login_; }
  // Counts the logouts: what was begun with a private object before one must not go on after it.
  [[nodiscard]] std::uint64_t logouts() const { return logouts_; }
  void log_in(CK_USER_TYPE user, View pin);
  // C_Login with CKU_CONTEXT_SPECIFIC.
  void confirm(View pin);
  void log_out();

  [[nodiscard]] ObjectStore& objects() { return objects_; }

private:
  void check_user_pin(View pin);
  void end_login();

  const CK_SLOT_ID slot_;
  const Policy& policy_;
  ObjectStore objects_;
  std::atomic<Login> login_{Login::kNobody}; // written under mutex_
  std::atomic<std::uint64_t> logouts_{0};

  mutable std::mutex mutex_; // guards all below
  bool initialised_ = false;
  std::string label_, serial_;
  Pin user_pin_, so_pin_;
  CK_ULONG sessions_ = 0, read_write_sessions_ = 0;
};

} // namespace hsmux::sim::own
