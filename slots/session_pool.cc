#include "slots/session_pool.h"

#include <algorithm>

namespace hsmux {

Lease& Lease::operator=(Lease&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(session_, other.session_);
  std::swap(epoch_, other.epoch_);
  return *this;
}

Lease::~Lease() {
  // Nobody said how the last call ended: the session's state is unknown, as after an operation left active.
  if (pool_ != nullptr) pool_->finish(std::move(*this), {Call::kNone, ~0UL});
}

SessionPool::SessionPool(std::uint32_t sessions_min, std::uint32_t sessions_max)
    : sessions_min_(std::min(sessions_min, sessions_max)), target_max_(std::max(sessions_max, 1U)) {
  idle_.reserve(target_max_);
}

std::optional<Lease> SessionPool::try_acquire() {
  bool ask = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return std::nullopt;
    if (paused_) {
      demand_ = true; // the keeper looks when it resumes the pool
      return std::nullopt;
    }
    if (!idle_.empty()) {
      Idle taken = std::move(idle_.back());
      idle_.pop_back();
      ++leased_;
      return Lease(this, std::move(taken.session), taken.epoch);
    }
    if (open() < target_max_ && !demand_) ask = demand_ = true;
  }
  if (ask && work_) work_();
  return std::nullopt;
}

void SessionPool::finish(Lease lease, CallStatus status) {
  const Disposition row = disposition(status);
  const bool broken = lease.session_.suspect() || row.session == SessionFate::kDiscard;
  // The module says that the handle is void: by now it may be another session's, which must not be closed.
  if (row.slot == SlotFate::kProbeAnchor) lease.session_.abandon();
  lease.pool_ = nullptr;
  bool discarded = false;
  {
    const std::lock_guard lock(mutex_);
    --leased_;
    discarded = broken || closed_ || lease.epoch_ != epoch_ || open() >= target_max_;
    if (discarded) {
      discard(std::move(lease.session_), lease.epoch_);
    } else {
      idle_.push_back({std::move(lease.session_), lease.epoch_});
      demand_ = false;
    }
  }
  if (discarded && work_) work_();
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::discard(Session session, std::uint64_t epoch) {
  ++discarded_count_;
  if (epoch < abandoned_before_) session.abandon();
  discarded_.push_back(std::move(session));
}

std::uint32_t SessionPool::wanted() {
  const std::lock_guard lock(mutex_);
  if (closed_ || paused_) return 0;
  const std::uint32_t to_minimum = sessions_min_ - std::min(sessions_min_, open());
  // Demand lasts until it is met: an open that fails is tried again without another request.
  if (!idle_.empty()) demand_ = false;
  const std::uint32_t on_demand = demand_ ? 1 : 0;
  return std::min(std::max(to_minimum, on_demand), target_max_ - std::min(target_max_, open()));
}

void SessionPool::add(Session session, std::uint64_t epoch) {
  {
    const std::lock_guard lock(mutex_);
    ++opened_count_;
    if (closed_ || epoch != epoch_) {
      discard(std::move(session), epoch);
    } else {
      idle_.push_back({std::move(session), epoch});
      demand_ = false;
    }
  }
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::learn_limit() {
  const std::lock_guard lock(mutex_);
  target_max_ = std::max(open(), 1U);
}

std::vector<Session> SessionPool::take_discarded() {
  const std::lock_guard lock(mutex_);
  return std::exchange(discarded_, {});
}

void SessionPool::pause() {
  const std::lock_guard lock(mutex_);
  paused_ = true;
}

void SessionPool::resume() {
  {
    const std::lock_guard lock(mutex_);
    paused_ = false;
  }
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::begin_epoch(std::uint64_t epoch, bool abandon) {
  const std::lock_guard lock(mutex_);
  epoch_ = epoch;
  if (abandon) abandoned_before_ = epoch;
  for (Idle& idle : idle_) discard(std::move(idle.session), idle.epoch);
  idle_.clear();
}

void SessionPool::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (Idle& idle : idle_) discard(std::move(idle.session), idle.epoch);
    idle_.clear();
  }
  if (capacity_freed_) capacity_freed_();
}

SessionPoolStats SessionPool::stats() const {
  const std::lock_guard lock(mutex_);
  return {.idle = static_cast<std::uint32_t>(idle_.size()),
          .leased = leased_,
          .target_max = target_max_,
          .opened = opened_count_,
          .discarded = discarded_count_};
}

} // namespace hsmux
