// How many requests one slot is given at once. Beyond a token's knee more of them only queue inside the module, where
// nothing can route them elsewhere: so the limit goes down for as long as neither the measured throughput falls nor the
// time of a request grows, its waiting included (where requests come at a rate of their own, throughput alone would let
// the limit sink to that rate, with a queue before it), and up where that pays. Pure: told what a window of time
// measured, it says the limit for the next. One thread at a time.
#pragma once

#include <cstdint>

#include "slots/deadline.h"

namespace hsmux {

class Concurrency {
public:
  // `min` to `max`, both at least 1; equal ones never change. Starts at `max`.
  Concurrency(std::uint32_t min, std::uint32_t max);

  struct Window {
    Duration time{};
    std::uint64_t completed = 0;
    Duration in_system{};   // of all that completed, from when they were asked for; 0 = not known
    bool saturated = false; // requests wanted more than the limit all along
  };
  // Too short a window says nothing: at least this long, and so many completions.
  static constexpr Duration kWindow = std::chrono::milliseconds(50);
  static constexpr std::uint64_t kWindowCompletions = 64;

  std::uint32_t next(const Window& window);
  [[nodiscard]] std::uint32_t limit() const { return limit_; }

private:
  // Throughput at the limit in force is measured before and after each trial, so that a load that changes meanwhile is
  // not taken for an effect of the trial.
  enum class Phase : std::uint8_t { kBefore, kTrial, kAfter };
  static constexpr std::uint32_t kWindowsPerPhase = 3;
  static constexpr std::uint32_t kPauseMin = 20, kPauseMax = 1200; // windows: 1 s to 1 min
  static constexpr double kHopeless = 0.95; // of the throughput before: a trial that loses so much ends at once
  // Of throughput and time at the limit in force.
  static constexpr double kDownAtLeast = 0.99, kDownTimeAtMost = 1.005;
  static constexpr double kUpAtLeast = 1.02, kUpTimeAtMost = 0.98;
  struct Measured {
    double rate = 0; // completions a second
    double time = 0; // of a request, in seconds; 0 = not known

    Measured& operator+=(const Measured& other) {
      rate += other.rate;
      time += other.time;
      return *this;
    }
    [[nodiscard]] Measured by(double n) const { return {rate / n, time / n}; }
  };

  void begin(Phase phase);
  void reject();
  [[nodiscard]] bool accepted(const Measured& reference) const;
  [[nodiscard]] std::uint32_t candidate(bool down) const;

  const std::uint32_t min_, max_;
  std::uint32_t accepted_, limit_;
  Phase phase_ = Phase::kBefore;
  bool down_ = true;
  std::uint32_t windows_ = 0;                        // of this phase
  std::uint32_t pause_ = 0, next_pause_ = kPauseMin; // windows until the next trial; doubles while trials fail
  Measured sum_;                                     // of the phase's windows
  Measured before_, trial_;
};

} // namespace hsmux
