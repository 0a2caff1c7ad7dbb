// Whether a slot is worth a request, as a pure state machine: events in, state and the time of the next look out. No
// threads, no token, no clock of its own. Owned by the slot (slots/slot.cc), which guards it.
//
//   healthy --failures, overdue calls, a wrong result--> suspect --canary fails or is stuck--> ejected
//   ejected --canary succeeds, or connected again--> probing --requests succeed--> healthy
//   suspect --canary succeeds--> healthy
//
// Only a canary ejects a connected slot: a call that no client can influence. Latched (a PIN was refused or withheld)
// and draining (an operator's wish) stand above all of this until an operator acts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "slots/deadline.h"

namespace hsmux {

enum class HealthState : std::uint8_t {
  kHealthy,
  kSuspect,  // failures of late: other slots are preferred until a canary has told
  kEjected,  // not connected, or the canary fails: used only where no other slot is left
  kProbing,  // back again: gets few requests at first
  kDraining, // an operator wants no requests there
  kLatched,  // a PIN was refused or withheld: an operator must act
};
inline constexpr std::size_t kHealthStates = 6;
std::string_view health_state_name(HealthState state); // "healthy"

// Why it is in its state.
enum class HealthCause : std::uint8_t {
  kNone,
  kConnecting,   // not connected yet
  kLost,         // sessions, login or token were lost; it is being connected again
  kFailures,     // requests fail
  kOverdue,      // the module does not return in time
  kWrongResult,  // a result that the host found wrong
  kCanaryFailed, // the canary failed
  kCanaryStuck,  // the module does not return from the canary
  kCameBack,     // it works again, and is given requests little by little
  kOperator,     // drained
  kPin,          // latched
};
std::string_view health_cause_text(HealthCause cause); // "requests fail"; empty for kNone

class SlotHealth {
public:
  // A failure counts kFailureWeight, an unknown code half of it; each success takes back one. So single failures
  // between successes do not add up, and where one of three requests fails, they do.
  static constexpr std::uint32_t kFailureWeight = 2, kUnknownWeight = 1, kSuspectAt = 6;
  static constexpr std::uint32_t kOverdueToSuspect = 3; // in a row
  // At most one canary in this time, whatever clients do; an ejected slot gets one each time.
  static constexpr Duration kCanaryInterval = std::chrono::seconds(1);
  // A canary that takes longer says that the slot hangs.
  static constexpr Duration kCanaryLimit = std::chrono::seconds(1);
  // Another one is begun while one is stuck, in case that one is lost for ever; at most so many are.
  static constexpr Duration kCanaryGivenUp = std::chrono::seconds(10);
  static constexpr std::uint32_t kCanariesStuckMax = 4;
  // A slot that is back is healthy after so many successes, or this long without a failure.
  static constexpr std::uint32_t kRampUp = 16;
  static constexpr Duration kRampUpTime = std::chrono::seconds(10);

  // --- events ---
  void connected(TimePoint now); // logged in, anchor open
  void lost();                   // to be connected again
  void latched();                // ends by connected() or lost()
  void drain(bool on) { draining_ = on; }
  void succeeded(TimePoint now);
  void failed(TimePoint now, std::uint32_t weight);
  void overdue(TimePoint now);
  void wrong_result(TimePoint now);
  // Only when due. The number is its name in what follows. One that ends after kCanaryLimit has failed.
  std::uint64_t canary_began(TimePoint now);
  void canary_ended(TimePoint now, std::uint64_t number, bool well);
  void canary_put_off(TimePoint now, std::uint64_t number); // it could not be tried: says nothing
  void tick(TimePoint now);                                 // time has passed; not before next_look()

  // --- answers ---
  [[nodiscard]] HealthState state() const;
  [[nodiscard]] HealthCause cause() const;
  [[nodiscard]] bool canary_due(TimePoint now) const;
  // When to call tick() or begin a canary; TimePoint::max(): only events change anything.
  [[nodiscard]] TimePoint next_look() const;
  // Requests that it should have at once, at most: grows by one with each success while it is probing.
  [[nodiscard]] std::uint32_t in_flight_max() const;
  // Successes change nothing and need not be told.
  [[nodiscard]] bool quiet() const { return breaker_ == Breaker::kClosed && score_ == 0 && overdue_ == 0; }

private:
  enum class Connection : std::uint8_t { kNever, kUp, kLost, kLatched };
  enum class Breaker : std::uint8_t { kClosed, kSuspect, kOpen, kHalfOpen };

  void suspect(HealthCause cause);
  void half_open(TimePoint now);
  void close();
  [[nodiscard]] TimePoint canary_at() const;

  Connection connection_ = Connection::kNever;
  Breaker breaker_ = Breaker::kClosed;
  bool draining_ = false;
  HealthCause cause_ = HealthCause::kNone; // of the breaker's state
  std::uint32_t score_ = 0, overdue_ = 0, good_ = 0;
  TimePoint half_open_since_{};

  std::uint64_t canaries_ = 0;           // ever
  std::optional<TimePoint> last_canary_; // began
  bool running_ = false;                 // the last one
  std::uint32_t given_up_ = 0;           // older ones that have not ended
};

} // namespace hsmux
