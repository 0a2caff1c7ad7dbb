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
  sum_ = {};
  limit_ = phase == Phase::kTrial ? candidate(down_) : accepted_;
}

void Concurrency::reject() {
  down_ = !down_;
  pause_ = next_pause_;
  next_pause_ = std::min(next_pause_ * 2, kPauseMax);
  begin(Phase::kBefore);
}

bool Concurrency::accepted(const Measured& reference) const {
  if (down_) return trial_.rate >= reference.rate * kDownAtLeast && trial_.time <= reference.time * kDownTimeAtMost;
  const bool quicker = reference.time > 0 && trial_.time <= reference.time * kUpTimeAtMost;
  return trial_.rate >= reference.rate * kUpAtLeast || quicker;
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
  const std::chrono::duration<double> time = window.time, in_system = window.in_system;
  const auto completed = static_cast<double>(window.completed);
  const Measured now{completed / time.count(), completed > 0 ? in_system.count() / completed : 0};
  if (phase_ == Phase::kTrial && now.rate < before_.rate * kHopeless) {
    reject();
    return limit_;
  }
  sum_ += now;
  if (++windows_ < kWindowsPerPhase) return limit_;
  const Measured mean = sum_.by(kWindowsPerPhase);
  switch (phase_) {
  case Phase::kBefore:
    before_ = mean;
    if (candidate(down_) == accepted_) down_ = !down_;
    begin(Phase::kTrial);
    break;
  case Phase::kTrial:
    trial_ = mean;
    begin(Phase::kAfter);
    break;
  case Phase::kAfter: {
    Measured reference = before_;
    reference += mean;
    if (!accepted(reference.by(2))) {
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
