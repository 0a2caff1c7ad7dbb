#include "tests/simhsm/visit.h"

#include <sys/prctl.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <utility>

namespace hsmux::sim {
namespace {

thread_local Visit* visit_of_this_thread = nullptr;

// Functions that may be called before C_Initialize.
bool needs_no_initialisation(Function function) {
  return function == Function::C_Initialize || function == Function::C_GetFunctionList;
}

} // namespace

void wait_until(Nanoseconds time) {
  if (time <= now()) return;
  // The kernel may delay a thread's timers by its slack, 50 µs by default. Once per thread; it stays so.
  static thread_local const bool exact = prctl(PR_SET_TIMERSLACK, 1) == 0;
  (void)exact;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const timespec until{.tv_sec = seconds.count(), .tv_nsec = (time - seconds).count()};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

Visit& Visit::current() { return *visit_of_this_thread; }

Visit::Visit(Function function, Target target, unsigned long first, const CK_MECHANISM* mechanism, bool with_buffer)
    : simulator_(Simulator::get()), function_(function), target_(target), slot_(&simulator_.no_slot()) {
  visit_of_this_thread = this;
  if (simulator_.has_due()) simulator_.play_due();
  const bool initialised = simulator_.initialised();
  if (initialised && target == Target::kSlot) {
    SimSlot* slot = simulator_.find_slot(first);
    if (slot == nullptr) refuse(CKR_SLOT_ID_INVALID);
    if (slot != nullptr) slot_ = slot;
  }
  if (initialised && target == Target::kSession) enter_session(first);
  ++slot_->calls.at(static_cast<std::size_t>(function));
  if (!initialised && !needs_no_initialisation(function)) {
    simulator_.violation(Violation::kFinalised, std::string(name_of(function)) + " while not initialised");
    refuse(CKR_CRYPTOKI_NOT_INITIALIZED);
  }
  if (refusal_) return;
  const std::uint64_t call = ++slot_->offered.at(static_cast<std::size_t>(function));
  if (simulator_.has_faults()) {
    const unsigned long releases = simulator_.releases(); // before the fault is taken: a release then counts
    faults_ = simulator_.take_faults(function, *slot_, call, with_buffer);
    meet_faults(releases);
  }
  book(mechanism);
}

Visit::~Visit() {
  visit_of_this_thread = nullptr;
  if (session_ != nullptr) leave_session(CKR_OK);
}

void Visit::enter_session(CK_SESSION_HANDLE handle) {
  using enum SessionTable::Outcome;
  const SessionTable::Entered entered =
      simulator_.sessions().enter(handle, function_, now(), simulator_.settings().limits.session_idle);
  if (entered.slot != nullptr) slot_ = entered.slot;
  switch (entered.outcome) {
  case kEntered: session_ = entered.session; return;
  case kBusy:
    simulator_.violation(Violation::kTwoThreads, std::string(name_of(function_)) + " in session " +
                                                     std::to_string(handle) + " while " +
                                                     std::string(name_of(entered.running)) + " runs in it");
    // Not forwarded: what a module does then is undefined (PKCS#11 2.40, 6.7.6), some crash.
    return refuse(CKR_OPERATION_ACTIVE);
  case kDead:
    if (entered.told_before && function_ != Function::C_CloseSession) {
      simulator_.violation(Violation::kStaleHandle, std::string(name_of(function_)) + " in session " +
                                                        std::to_string(handle) + " that was reported dead");
    }
    return refuse(CKR_SESSION_HANDLE_INVALID);
  case kUnknown: return refuse(CKR_SESSION_HANDLE_INVALID);
  }
}

void Visit::meet_faults(unsigned long releases) {
  if (fault(Action::kCrash) != nullptr) std::raise(SIGSEGV);
  Nanoseconds delay{0};
  for (const Fault& each : faults_) {
    if (each.action == Action::kDelay) delay += each.time;
  }
  if (delay.count() > 0) wait_until(now() + delay);
  if (const Fault* hang = fault(Action::kHang)) simulator_.hang(releases, hang->time);
  if (session_ != nullptr && session_->lost) refuse(CKR_SESSION_HANDLE_INVALID);
  if (const Fault* refused = fault(Action::kRefuse)) refuse(refused->rv);
  if (const Fault* answered = fault(Action::kAnswer)) {
    answer(answered->rv);
  }
}

void Visit::answer(CK_RV rv) {
  if (failure_ends_operation(function_) && rv != CKR_BUFFER_TOO_SMALL) {
    answer_instead_ = answer_instead_.value_or(rv); // work_operation.cc lets the backend end the operation
  } else {
    refuse(rv);
  }
}

const TimeRow* Visit::time_row(const CK_MECHANISM* mechanism) const {
  const std::vector<TimeRow>& rows = slot_->profile.load()->times.at(static_cast<std::size_t>(function_));
  for (const TimeRow& row : rows) {
    if (!row.mechanism) return &row;
    if (mechanism != nullptr && *row.mechanism == mechanism->mechanism) return &row;
    const std::optional<OperationStep> step = operation_step(function_);
    if (mechanism == nullptr && session_ != nullptr && step) {
      const ActiveOperation& operation = session_->operation(step->kind);
      if (operation.active && operation.mechanism == *row.mechanism) return &row;
    }
  }
  return nullptr;
}

void Visit::book(const CK_MECHANISM* mechanism) {
  if (slot_ == &simulator_.no_slot()) return;
  const SlotProfile& profile = *slot_->profile.load();
  const Nanoseconds round_trip = profile.round_trip.at(static_cast<std::size_t>(function_));
  const TimeRow* row = refusal_ ? nullptr : time_row(mechanism);
  if (row == nullptr) {
    if (round_trip.count() > 0) answer_at_ = now() + round_trip;
    return;
  }
  const std::lock_guard lock(slot_->schedule_mutex);
  const Nanoseconds arrival = now() + round_trip / 2;
  const Nanoseconds since_added = simulator_.since_start() - row->since.value_or(Nanoseconds{0});
  const Nanoseconds service =
      row->service.draw(simulator_.settings().seed, slot_->stream, slot_->schedule.booked(), since_added);
  const Booking booking = slot_->schedule.book(arrival, service, profile.hsm.throttle);
  answer_at_ = booking.end + (round_trip - round_trip / 2);
  if (booking.refused) answer(*profile.hsm.throttle.answer);
}

unsigned long Visit::backend_target() const {
  return target_ == Target::kSession ? session_->backend : slot_->backend_id;
}

CK_RV Visit::finish(CK_RV rv) {
  if (answer_at_.count() > 0) wait_until(answer_at_);
  // A token that was to be pulled meanwhile is pulled before the answer, though nobody else called.
  if (simulator_.has_due()) simulator_.play_due();
  if (const Fault* lost = fault(Action::kLoseReply); lost != nullptr && !refusal_) rv = lost->rv;
  note_failure(rv);
  return leave_session(rv);
}

// What a caller takes for over, whatever the HSM did: an operation whose call failed, or whose beginning seemed to.
void Visit::note_failure(CK_RV rv) {
  const std::optional<OperationStep> step = operation_step(function_);
  if (session_ == nullptr || !step || rv == CKR_OK || rv == CKR_BUFFER_TOO_SMALL) return;
  const bool begun_unseen = step->step == Step::kInit && fault(Action::kLoseReply) != nullptr && !refusal_;
  if (begun_unseen || failure_ends_operation(function_)) session_->operation(step->kind).told_over = true;
}

CK_RV Visit::leave_session(CK_RV rv) {
  if (session_ == nullptr) return rv;
  Session& session = *std::exchange(session_, nullptr);
  if (closed_) {
    simulator_.sessions().remove(session);
    return rv;
  }
  // A call that the loss overtook does not tell its result (PKCS#11 2.40, 6.7.4).
  if (simulator_.sessions().leave(session, now())) return rv;
  return slot_->present ? CKR_SESSION_HANDLE_INVALID : CKR_DEVICE_REMOVED;
}

} // namespace hsmux::sim
