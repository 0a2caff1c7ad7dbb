// A slot's health: what its state machine is told, and the canaries that it asks for.
#include <array>
#include <functional>
#include <system_error>

#include "slots/disposition.h"
#include "slots/pkcs11.h"
#include "slots/slot_keeper.h"

namespace hsmux {
namespace {

// What no caller's data has to do with: where the engine gives no better one.
Status default_canary(Session& session) {
  std::array<std::uint8_t, 16> random{};
  HSMUX_CHECK(session.state());
  return session.random(random);
}

// Does this answer say that the slot does not work? What is busy, or lost and about to be connected again, does not.
bool says_unwell(const Error& error) {
  const SlotFate fate = disposition(error.status()).slot;
  if (error.rv == CKR_OK) return error.kind == ErrorKind::kDevice || error.kind == ErrorKind::kSignatureInvalid;
  return fate == SlotFate::kFailure || fate == SlotFate::kCanary;
}

} // namespace

void Slot::Keeper::tell_health(const std::function<void(SlotHealth&, TimePoint)>& tell) {
  HealthState before{}, after{};
  HealthCause cause{};
  bool more = false, due = false;
  {
    const std::lock_guard lock(health_mutex_);
    const TimePoint now = MonotonicClock::now();
    before = health_.state();
    const TimePoint look = health_.next_look();
    tell(health_, now);
    after = health_.state();
    cause = health_.cause();
    due = health_.next_look() < look;
    health_now_ = after;
    health_quiet_ = health_.quiet();
    more = in_flight_max_.exchange(health_.in_flight_max()) < health_.in_flight_max();
  }
  if (due) signal();
  if (before != after) {
    emit({.kind = EventKind::kSlotHealth,
          .slot = {},
          .detail = health_state_name(after),
          .reason = health_cause_text(cause)});
  }
  if ((before != after || more) && capacity_freed_) capacity_freed_();
}

void Slot::Keeper::succeeded() {
  tell_health([](SlotHealth& health, TimePoint now) { health.succeeded(now); });
}

void Slot::Keeper::failed(const Disposition& row) {
  const std::uint32_t weight = row.rv == CKR_VENDOR_DEFINED ? SlotHealth::kUnknownWeight : SlotHealth::kFailureWeight;
  tell_health([weight](SlotHealth& health, TimePoint now) { health.failed(now, weight); });
}

void Slot::Keeper::overdue() {
  tell_health([](SlotHealth& health, TimePoint now) { health.overdue(now); });
}

void Slot::Keeper::wrong_result(Call call) {
  emit({.kind = EventKind::kWrongResult, .slot = {}, .call = call_name(call)});
  tell_health([this](SlotHealth& health, TimePoint now) {
    ++wrong_results_;
    health.wrong_result(now);
  });
}

void Slot::Keeper::drain(bool on) {
  tell_health([on](SlotHealth& health, TimePoint) { health.drain(on); });
}

Status Slot::Keeper::login_for_operation(Session& session) {
  if (!pin_) {
    Error error = make_error(ErrorKind::kCredentials,
                             "the key wants a login for each operation (CKA_ALWAYS_AUTHENTICATE), and the slot is "
                             "configured without a PIN");
    error.slot = *name_;
    return fail(std::move(error));
  }
  return hsmux::login_for_operation(session, token(), *pin_, {.allow_count_low = options_.allow_pin_count_low}, *name_,
                                    events_);
}

TimePoint Slot::Keeper::next_look() const {
  const std::lock_guard lock(health_mutex_);
  return health_.next_look();
}

void Slot::Keeper::look_at_health() {
  bool due = false;
  tell_health([&due](SlotHealth& health, TimePoint now) {
    health.tick(now);
    due = health.canary_due(now);
  });
  if (due) begin_canary();
}

// On a thread of its own: a module that does not return must not take the keeper, too.
void Slot::Keeper::begin_canary() {
  std::uint64_t number = 0;
  tell_health([&number](SlotHealth& health, TimePoint now) { number = health.canary_began(now); });
  std::optional<Lease> lease = pool_.try_acquire(); // as everybody else; none: in a while again
  std::vector<std::thread> ended;
  std::string why;
  if (lease) {
    const std::lock_guard lock(health_mutex_);
    if (canaries_running_ == 0) ended = std::exchange(canaries_, {});
    try {
      canaries_.emplace_back([self = shared_from_this(), lease = std::move(*lease), number]() mutable {
        const Status answer = self->options_.canary ? self->options_.canary(*lease) : default_canary(*lease);
        self->end_canary(std::move(lease), number, answer);
      });
      ++canaries_running_;
      number = 0;
    } catch (const std::system_error& no_thread) { // no canary then, and the session was spoilt with it
      why = no_thread.what();
    }
  }
  for (std::thread& thread : ended) thread.join();
  if (number == 0) return;
  if (!why.empty()) remember(make_error(ErrorKind::kInternal, "no thread for a canary: " + why));
  tell_health([number](SlotHealth& health, TimePoint now) { health.canary_put_off(now, number); });
}

void Slot::Keeper::end_canary(Lease lease, std::uint64_t number, const Status& answer) {
  const bool inconclusive = !answer && !says_unwell(answer.error());
  emit({.kind = EventKind::kCanary,
        .slot = {},
        .call = answer ? std::string_view() : call_name(answer.error().call),
        .rv = answer ? 0 : answer.error().rv,
        .detail = answer         ? "well"
                  : inconclusive ? "inconclusive"
                                 : "failed"});
  if (!answer) remember(answer.error());
  finish(std::move(lease), answer ? CallStatus{} : answer.error().status());
  tell_health([&](SlotHealth& health, TimePoint now) {
    if (inconclusive) return health.canary_put_off(now, number);
    health.canary_ended(now, number, answer.has_value());
  });
  const std::lock_guard lock(health_mutex_);
  --canaries_running_;
  canary_ended_.notify_all();
}

bool Slot::Keeper::canaries_ended(Deadline deadline) {
  std::unique_lock lock(health_mutex_);
  if (!canary_ended_.wait_until(lock, deadline.at(), [this] { return canaries_running_ == 0; })) return false;
  std::vector<std::thread> ended = std::exchange(canaries_, {});
  lock.unlock();
  for (std::thread& thread : ended) thread.join();
  return true;
}

void Slot::Keeper::leave_canaries_behind() {
  const std::lock_guard lock(health_mutex_);
  for (std::thread& thread : canaries_) thread.detach(); // each holds what it touches
  canaries_.clear();
}

} // namespace hsmux
