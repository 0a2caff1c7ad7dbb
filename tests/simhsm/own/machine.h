// The HSM itself: its slots and the sessions that are open. One for the process, never destroyed; any thread. Finding a
// session takes the shared lock of one of many parts of the table.
#pragma once

#include <array>
#include <deque>

#include "tests/simhsm/own/session.h"

namespace hsmux::sim::own {

class Machine {
public:
  static Machine& get();

  void configure(const Settings& settings);

  void initialise(); // refuses with CKR_CRYPTOKI_ALREADY_INITIALIZED
  void finalise();   // closes all sessions
  [[nodiscard]] bool initialised() const { return initialised_; }
  [[nodiscard]] const Policy& policy() const { return policy_; }

  // Adds a spare slot first, where one is due and `grow`.
  [[nodiscard]] std::vector<CK_SLOT_ID> slots(bool grow);
  // Refuses with CKR_SLOT_ID_INVALID.
  [[nodiscard]] Token& token(CK_SLOT_ID slot);

  CK_SESSION_HANDLE open_session(Token& token, bool read_write);
  // Refuses with CKR_SESSION_HANDLE_INVALID.
  [[nodiscard]] std::shared_ptr<Session> session(CK_SESSION_HANDLE handle);
  void close_session(CK_SESSION_HANDLE handle);
  void close_sessions(const Token* token); // nullptr: of all

private:
  struct Part {
    std::shared_mutex mutex;
    std::unordered_map<CK_SESSION_HANDLE, std::shared_ptr<Session>> sessions; // guarded by mutex
  };
  static constexpr std::size_t kParts = 64;

  Part& part_of(CK_SESSION_HANDLE handle) { return parts_.at(handle % kParts); }
  void add_spare();

  std::atomic<bool> initialised_{false};
  std::atomic<CK_SESSION_HANDLE> next_session_{1};
  std::array<Part, kParts> parts_;

  std::shared_mutex mutex_; // guards all below
  bool ever_initialised_ = false;
  bool spare_slot_ = true;
  Policy policy_; // but for its atomics it is constant after the first initialise()
  std::deque<Token> tokens_;
};

} // namespace hsmux::sim::own
