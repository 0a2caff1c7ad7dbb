#include "engine/concurrency.h"

#include <algorithm>

namespace hsmux {

Concurrency::Concurrency(std::uint32_t min, std::uint32_t max)
    : min_(std::max(min, 1U)), max_(std::max(max, min_)), accepted_(max_), limit_(max_) {}

// An eighth, or one.
std::uint32_t Concurrency::candidate(bool down) const {
  const std::uint32_t step = std::max(accepted_ / 8, 1U);
  return down ? std::max(accepted_ - std::min(step, accepted_), min_) : std::min(accepted_ + step, max_);
}

void Concurrency::begin(Phase phase) {
  phase_ = phase;
  windows_ = 0;
  sum_ = 0;
  limit_ = phase == Phase::kTrial ? candidate(down_) : accepted_;
}

void Concurrency::reject() {
  down_ = !down_;
  pause_ = next_pause_;
  next_pause_ = std::min(next_pause_ * 2, kPauseMax);
  begin(Phase::kBefore);
}

std::uint32_t Concurrency::next(const Window& window) {
  if (min_ == max_) return limit_;
  if (!window.saturated || window.time <= Duration::zero()) {
    begin(Phase::kBefore); // the limit was not what bounded the throughput
    return limit_;
  }
  if (pause_ > 0) {
    --pause_;
    return limit_;
  }
  const double now = static_cast<double>(window.completed) / std::chrono::duration<double>(window.time).count();
  if (phase_ == Phase::kTrial && now < before_ * kHopeless) {
    reject();
    return limit_;
  }
  sum_ += now;
  if (++windows_ < kWindowsPerPhase) return limit_;
  const double rate = sum_ / kWindowsPerPhase;
  switch (phase_) {
  case Phase::kBefore:
    before_ = rate;
    if (candidate(down_) == accepted_) down_ = !down_;
    begin(Phase::kTrial);
    break;
  case Phase::kTrial:
    trial_ = rate;
    begin(Phase::kAfter);
    break;
  case Phase::kAfter: {
    const double reference = (before_ + rate) / 2;
    const bool accepted = trial_ >= reference * (down_ ? kDownAtLeast : kUpAtLeast);
    if (!accepted) {
      reject();
      break;
    }
    accepted_ = candidate(down_);
    next_pause_ = kPauseMin;
    begin(Phase::kBefore);
    break;
  }
  }
  return limit_;
}

} // namespace hsmux
