#include "slots/slot_health.h"

#include <algorithm>
#include <limits>

namespace hsmux {

std::string_view health_state_name(HealthState state) {
  switch (state) {
  case HealthState::kHealthy: return "healthy";
  case HealthState::kSuspect: return "suspect";
  case HealthState::kEjected: return "ejected";
  case HealthState::kProbing: return "probing";
  case HealthState::kDraining: return "draining";
  case HealthState::kLatched: return "latched";
  }
  return "ejected";
}

std::string_view health_cause_text(HealthCause cause) {
  switch (cause) {
  case HealthCause::kNone: return "";
  case HealthCause::kConnecting: return "it is not connected yet";
  case HealthCause::kLost: return "its sessions, login or token were lost; it is being connected again";
  case HealthCause::kFailures: return "requests fail there";
  case HealthCause::kOverdue: return "the module does not return in time";
  case HealthCause::kWrongResult: return "it gave a wrong result";
  case HealthCause::kCanaryFailed: return "its canary fails";
  case HealthCause::kCanaryStuck: return "the module does not return from its canary";
  case HealthCause::kCameBack: return "it works again and gets few requests at first";
  case HealthCause::kOperator: return "an operator drained it";
  case HealthCause::kPin: return "a PIN was refused or withheld; put it right, then unlatch the slot";
  }
  return "";
}

// --- connection ---

void SlotHealth::connected(TimePoint now) {
  const bool first = connection_ == Connection::kNever;
  connection_ = Connection::kUp;
  // A canary of the old epoch says nothing about this one.
  given_up_ += running_ ? 1 : 0;
  running_ = false;
  if (first) return close();
  half_open(now);
}

void SlotHealth::lost() {
  connection_ = Connection::kLost;
  close();
}

void SlotHealth::latched() {
  connection_ = Connection::kLatched;
  close();
}

// --- requests ---

void SlotHealth::succeeded(TimePoint now) {
  overdue_ = 0;
  if (score_ > 0) --score_;
  if (breaker_ != Breaker::kHalfOpen) return;
  if (++good_ >= kRampUp || now - half_open_since_ >= kRampUpTime) close();
}

void SlotHealth::failed(TimePoint, std::uint32_t weight) {
  overdue_ = 0; // the module has returned
  score_ = std::min(score_ + weight, 2 * kSuspectAt);
  if (score_ >= kSuspectAt || breaker_ == Breaker::kHalfOpen) suspect(HealthCause::kFailures);
}

void SlotHealth::overdue(TimePoint) {
  if (++overdue_ >= kOverdueToSuspect || breaker_ == Breaker::kHalfOpen) suspect(HealthCause::kOverdue);
}

void SlotHealth::wrong_result(TimePoint) { suspect(HealthCause::kWrongResult); }

void SlotHealth::suspect(HealthCause cause) {
  if (breaker_ == Breaker::kSuspect || breaker_ == Breaker::kOpen) return;
  breaker_ = Breaker::kSuspect;
  cause_ = cause;
}

void SlotHealth::half_open(TimePoint now) {
  breaker_ = Breaker::kHalfOpen;
  cause_ = HealthCause::kCameBack;
  half_open_since_ = now;
  score_ = overdue_ = good_ = 0;
}

void SlotHealth::close() {
  breaker_ = Breaker::kClosed;
  cause_ = HealthCause::kNone;
  score_ = overdue_ = good_ = 0;
}

// --- canaries ---

std::uint64_t SlotHealth::canary_began(TimePoint now) {
  given_up_ += running_ ? 1 : 0;
  running_ = true;
  last_canary_ = now;
  return ++canaries_;
}

void SlotHealth::canary_ended(TimePoint now, std::uint64_t number, bool well) {
  if (number != canaries_ || !running_) { // given up on, or of another epoch
    given_up_ -= given_up_ > 0 ? 1 : 0;
    return;
  }
  running_ = false;
  if (connection_ != Connection::kUp) return;
  const bool late = now - *last_canary_ > kCanaryLimit;
  if (well && !late) {
    if (breaker_ == Breaker::kSuspect) close();
    if (breaker_ == Breaker::kOpen) half_open(now);
    return;
  }
  breaker_ = Breaker::kOpen;
  cause_ = well ? HealthCause::kCanaryStuck : HealthCause::kCanaryFailed;
}

void SlotHealth::canary_put_off(TimePoint, std::uint64_t number) {
  if (number == canaries_ && running_) {
    running_ = false;
  } else {
    given_up_ -= given_up_ > 0 ? 1 : 0;
  }
}

void SlotHealth::tick(TimePoint now) {
  if (running_ && connection_ == Connection::kUp && now - *last_canary_ >= kCanaryLimit && breaker_ != Breaker::kOpen) {
    breaker_ = Breaker::kOpen;
    cause_ = HealthCause::kCanaryStuck;
  }
  if (breaker_ == Breaker::kHalfOpen && now - half_open_since_ >= kRampUpTime) close();
}

// --- answers ---

HealthState SlotHealth::state() const {
  if (connection_ == Connection::kLatched) return HealthState::kLatched;
  if (draining_) return HealthState::kDraining;
  if (connection_ != Connection::kUp) return HealthState::kEjected;
  switch (breaker_) {
  case Breaker::kClosed: return HealthState::kHealthy;
  case Breaker::kSuspect: return HealthState::kSuspect;
  case Breaker::kOpen: return HealthState::kEjected;
  case Breaker::kHalfOpen: return HealthState::kProbing;
  }
  return HealthState::kEjected;
}

HealthCause SlotHealth::cause() const {
  if (connection_ == Connection::kLatched) return HealthCause::kPin;
  if (draining_) return HealthCause::kOperator;
  if (connection_ == Connection::kNever) return HealthCause::kConnecting;
  return connection_ == Connection::kLost ? HealthCause::kLost : cause_;
}

TimePoint SlotHealth::canary_at() const {
  const bool wanted = connection_ == Connection::kUp && (breaker_ == Breaker::kSuspect || breaker_ == Breaker::kOpen);
  if (!wanted || given_up_ >= kCanariesStuckMax) return TimePoint::max();
  if (!last_canary_) return TimePoint::min();
  return *last_canary_ + (running_ ? kCanaryGivenUp : kCanaryInterval);
}

bool SlotHealth::canary_due(TimePoint now) const { return now >= canary_at(); }

TimePoint SlotHealth::next_look() const {
  TimePoint next = canary_at();
  if (running_ && connection_ == Connection::kUp && breaker_ != Breaker::kOpen) {
    next = std::min(next, *last_canary_ + kCanaryLimit);
  }
  if (breaker_ == Breaker::kHalfOpen) next = std::min(next, half_open_since_ + kRampUpTime);
  return next;
}

std::uint32_t SlotHealth::in_flight_max() const {
  return breaker_ == Breaker::kHalfOpen ? 1 + good_ : std::numeric_limits<std::uint32_t>::max();
}

} // namespace hsmux
