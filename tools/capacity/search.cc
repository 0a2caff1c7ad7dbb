#include "tools/capacity/search.h"

#include <algorithm>
#include <array>

namespace hsmux::capacity {
namespace {

constexpr std::array kCapacityShares{0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05};

} // namespace

SessionsSearch::SessionsSearch(std::uint32_t sessions_max, std::vector<std::uint32_t> given)
    : sessions_max_(sessions_max), given_(std::move(given)) {
  std::ranges::sort(given_);
}

double SessionsSearch::best_rate() const {
  double best = 0;
  for (const SessionsPoint& point : points_) best = std::max(best, point.rate);
  return best;
}

std::uint32_t SessionsSearch::fewest_with(double share) const {
  const double wanted = share * best_rate();
  for (const SessionsPoint& point : points_) {
    if (point.rate >= wanted) return point.sessions;
  }
  return 0;
}

std::uint32_t SessionsSearch::knee() const { return fewest_with(kKneeShare); }
std::uint32_t SessionsSearch::recommended() const { return fewest_with(kEnoughShare); }

bool SessionsSearch::settled() const {
  int without_gain = 0;
  double best = 0;
  for (const SessionsPoint& point : points_) {
    without_gain = point.rate < best * (1 + kGainMin) ? without_gain + 1 : 0;
    best = std::max(best, point.rate);
  }
  return without_gain >= 2;
}

std::optional<std::uint32_t> SessionsSearch::next() const {
  if (!given_.empty()) {
    if (points_.size() < given_.size()) return given_.at(points_.size());
    return std::nullopt;
  }
  if (points_.empty()) return 1;
  if (!refined_ && !settled() && points_.back().sessions < sessions_max_) {
    return std::min(points_.back().sessions * 2, sessions_max_);
  }
  if (refined_) return std::nullopt;
  std::uint32_t below = 0;
  for (const SessionsPoint& point : points_) {
    if (point.sessions < knee()) below = point.sessions;
  }
  if (below == 0 || knee() - below < 2) return std::nullopt;
  return below + (knee() - below) / 2;
}

void SessionsSearch::add(SessionsPoint point) {
  if (!points_.empty() && point.sessions < points_.back().sessions) refined_ = true;
  points_.insert(std::ranges::upper_bound(points_, point.sessions, {}, &SessionsPoint::sessions), point);
}

bool SessionsSearch::still_rising() const {
  if (points_.size() < 2) return false;
  const SessionsPoint &last = points_.back(), &before = points_[points_.size() - 2];
  const double more = static_cast<double>(last.sessions) / static_cast<double>(before.sessions);
  // Half of what as many more sessions would bring if nothing else were the limit.
  return last.rate > before.rate * (1 + (more - 1) / 2);
}

RateSearch::RateSearch(double capacity, std::uint32_t repeats)
    : capacity_(capacity), repeats_(std::max(repeats, 1U)), given_up_(capacity <= 0) {}

RateSearch::Phase RateSearch::phase() const {
  if (given_up_) return Phase::kDone;
  if (found_ > 0) return repeated_ >= repeats_ ? Phase::kDone : Phase::kRepeat;
  return broken_ == 0 ? Phase::kUp : Phase::kBetween;
}

std::optional<double> RateSearch::next() const {
  switch (phase()) {
  case Phase::kUp: return kCapacityShares.at(share_) * capacity_;
  case Phase::kBetween: return (kept_ + broken_) / 2;
  case Phase::kRepeat: return found_;
  case Phase::kDone: break;
  }
  return std::nullopt;
}

void RateSearch::add(bool kept) {
  const std::optional<double> rate = next();
  if (!rate) return;
  switch (phase()) {
  case Phase::kUp:
    (kept ? kept_ : broken_) = *rate;
    if (kept && ++share_ == kCapacityShares.size()) found_ = kept_;
    break;
  case Phase::kBetween: (kept ? kept_ : broken_) = *rate; break;
  case Phase::kRepeat:
    if (kept) {
      ++repeated_;
    } else {
      repeated_ = 0;
      found_ -= kResolution * capacity_;
      if (++steps_down_ > kStepsDownMax || found_ <= 0) {
        found_ = 0;
        given_up_ = true;
      }
    }
    return;
  case Phase::kDone: return;
  }
  if (broken_ == 0 || found_ > 0) return;
  if (broken_ - kept_ > kResolution * capacity_) return;
  found_ = kept_;
  given_up_ = kept_ == 0;
}

} // namespace hsmux::capacity
