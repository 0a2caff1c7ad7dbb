// One call of a caller, from entry to exit: its session owned, its faults taken, its time booked. Lives on the stack of
// the thread that called; functions of work*.cc reach it by current().
#pragma once

#include <optional>
#include <vector>

#include "tests/simhsm/simulator.h"

namespace hsmux::sim {

class Visit {
public:
  // `first`: the call's first argument where `target` says that it is a slot or a session. `mechanism` may be nullptr.
  // `with_buffer`: false for a call that asks only how long its output will be.
  Visit(Function function, Target target, unsigned long first, const CK_MECHANISM* mechanism, bool with_buffer);
  ~Visit();
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  static Visit& current();

  // The answer when the backend is not to be asked.
  [[nodiscard]] std::optional<CK_RV> refusal() const { return refusal_; }
  // The first argument as the backend knows it.
  [[nodiscard]] unsigned long backend_target() const;
  // After the work: waits until the HSM would have answered, and gives up the session. The answer for the caller.
  CK_RV finish(CK_RV rv);

  // The answer in place of the backend's, which must end the operation all the same.
  [[nodiscard]] std::optional<CK_RV> answer_instead() const { return answer_instead_; }

  [[nodiscard]] SimSlot& slot() const { return *slot_; }
  [[nodiscard]] Session& session() const { return *session_; } // of functions whose target is one
  [[nodiscard]] const Fault* fault(Action action) const { return find(faults_, action); }
  // The session is closed in the backend: it ends with this call.
  void session_closed() { closed_ = true; }

private:
  void enter_session(CK_SESSION_HANDLE handle);
  void meet_faults(unsigned long releases);
  void book(const CK_MECHANISM* mechanism);
  [[nodiscard]] const TimeRow* time_row(const CK_MECHANISM* mechanism) const;
  void refuse(CK_RV rv) {
    if (!refusal_) refusal_ = rv;
  }
  void answer(CK_RV rv);
  void note_failure(CK_RV rv);
  CK_RV leave_session(CK_RV rv);

  Simulator& simulator_;
  const Function function_;
  const Target target_;
  SimSlot* slot_;
  Session* session_ = nullptr;
  bool closed_ = false;
  std::optional<CK_RV> refusal_, answer_instead_;
  std::vector<Fault> faults_;
  Nanoseconds answer_at_{0}; // 0: at once
};

// Returns at that time of now(), or at once when it has passed.
void wait_until(Nanoseconds time);

} // namespace hsmux::sim
