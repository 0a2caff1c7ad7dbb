#include "slots/session_pool.h"

#include <algorithm>

namespace hsmux {

Lease& Lease::operator=(Lease&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(session_, other.session_);
  std::swap(epoch_, other.epoch_);
  std::swap(cell_, other.cell_);
  std::swap(written_off_, other.written_off_);
  return *this;
}

Lease::~Lease() {
  // Nobody said how the last call ended: the session's state is unknown, as after an operation left active.
  if (pool_ != nullptr) pool_->finish(std::move(*this), {Call::kNone, ~0UL});
}

SessionPool::SessionPool(std::uint32_t sessions_min, std::uint32_t sessions_max)
    : sessions_min_(std::min(sessions_min, sessions_max)), sessions_max_(std::clamp(sessions_max, 1U, kSessionsMax)),
      cells_count_(sessions_max_ + kQuarantinedMax), cells_(std::make_unique<Cell[]>(cells_count_)),
      links_(std::make_unique<std::atomic<Index>[]>(cells_count_)), idle_(links_.get()), discarded_(links_.get()),
      target_max_(sessions_max_) {
  empty_.reserve(cells_count_);
  for (std::uint32_t i = cells_count_; i > 0; --i) empty_.push_back(static_cast<Index>(i - 1));
}

std::optional<Lease> SessionPool::try_acquire() {
  std::uint64_t gate = gate_.load(std::memory_order_acquire);
  if ((gate & kClosed) != 0) return std::nullopt;
  if ((gate & kPaused) != 0) {
    demand_ = true; // the keeper looks when it resumes the pool
    return std::nullopt;
  }
  while (true) {
    const Index index = idle_.pop();
    if (index == IndexStack::kNone) break;
    Cell& cell = cells_[index];
    cell.state.store(State::kLeased, std::memory_order_relaxed);
    gate = gate_.load(std::memory_order_acquire);
    if (cell.epoch == epoch_of(gate) && (gate & kClosed) == 0) [[likely]]
      return Lease(this, &*cell.session, cell.epoch, index);
    discard(index); // it came back while its epoch ended
    if (work_) work_();
  }
  want_one();
  return std::nullopt;
}

void SessionPool::want_one() {
  if (open_ >= target_max_ || demand_.exchange(true)) return;
  if (work_) work_();
}

void SessionPool::finish(Lease lease, CallStatus status) {
  const Index index = lease.cell_;
  Session& session = *lease.session_;
  lease.pool_ = nullptr;
  if (lease.written_off_) [[unlikely]] {
    put_out(index);
    if (work_) work_();
    return;
  }
  bool keep = !session.suspect();
  if (status.rv != 0) [[unlikely]] {
    const Disposition row = disposition(status);
    keep = keep && row.session == SessionFate::kKeep;
    // The module says that the handle is void: by now it may be another session's, which must not be closed.
    if (row.slot == SlotFate::kProbeAnchor) session.abandon();
  }
  const std::uint64_t gate = gate_.load(std::memory_order_acquire);
  if (keep && (gate & kClosed) == 0 && lease.epoch_ == epoch_of(gate)) [[likely]] {
    give_back(index, lease.epoch_);
  } else {
    discard(index);
    if (work_) work_();
  }
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::give_back(Index index, std::uint64_t epoch) {
  cells_[index].state.store(State::kIdle, std::memory_order_relaxed);
  idle_.push(index);
  if (demand_.load(std::memory_order_relaxed)) demand_ = false;
  // close() and begin_epoch() change the gate and then empty the list: one of the two sees the other.
  const std::uint64_t gate = gate_.load(std::memory_order_seq_cst);
  if (epoch_of(gate) != epoch || (gate & kClosed) != 0) [[unlikely]]
    sweep();
}

void SessionPool::write_off(Lease& lease) {
  lease.written_off_ = true;
  cells_[lease.cell_].state.store(State::kQuarantined, std::memory_order_relaxed);
  --open_;
}

void SessionPool::discard(Index index) {
  --open_;
  put_out(index);
}

void SessionPool::put_out(Index index) {
  Cell& cell = cells_[index];
  cell.state.store(State::kDiscarded, std::memory_order_relaxed);
  if (cell.epoch < abandoned_before_) cell.session->abandon();
  discarded_.push(index);
}

void SessionPool::sweep() {
  bool discarded = false;
  std::uint64_t gate = gate_;
  while (true) {
    for (Index index = idle_.take_all(); index != IndexStack::kNone;) {
      const Index next = idle_.next(index);
      if ((gate & kClosed) != 0 || cells_[index].epoch != epoch_of(gate)) {
        discard(index);
        discarded = true;
      } else {
        idle_.push(index);
      }
      index = next;
    }
    // What we put back while the gate changed, the other's sweep may have missed.
    if (const std::uint64_t before = std::exchange(gate, gate_); (before ^ gate) >> 1 == 0) break;
  }
  if (discarded && work_) work_();
}

void SessionPool::collect() {
  for (Index index = discarded_.take_all(); index != IndexStack::kNone;) {
    const Index next = discarded_.next(index);
    to_close_.push_back(std::move(*cells_[index].session));
    cells_[index].session.reset();
    cells_[index].state.store(State::kEmpty, std::memory_order_relaxed);
    empty_.push_back(index);
    index = next;
  }
}

std::uint32_t SessionPool::wanted() {
  if ((gate_ & (kPaused | kClosed)) != 0) return 0;
  const std::uint32_t open = open_, target = target_max_;
  const std::uint32_t to_minimum = sessions_min_ - std::min(sessions_min_, open);
  // Demand lasts until it is met: an open that fails is tried again without another request.
  if (!idle_.empty()) demand_ = false;
  const std::uint32_t on_demand = demand_ ? 1 : 0;
  const auto room = static_cast<std::uint32_t>(std::min<std::size_t>(empty_.size(), target - std::min(target, open)));
  return std::min(std::max(to_minimum, on_demand), room);
}

void SessionPool::add(Session session, std::uint64_t epoch) {
  collect(); // what was discarded since the keeper last looked left cells
  ++opened_count_;
  if (empty_.empty()) { // more than the pool was made for
    to_close_.push_back(std::move(session));
    return;
  }
  const Index index = empty_.back();
  empty_.pop_back();
  Cell& cell = cells_[index];
  cell.session.emplace(std::move(session));
  cell.epoch = epoch;
  ++open_;
  give_back(index, epoch);
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::learn_limit() { target_max_ = std::max(open_.load(), 1U); }

std::vector<Session> SessionPool::take_discarded() {
  collect();
  return std::exchange(to_close_, {});
}

void SessionPool::pause() { gate_.fetch_or(kPaused); }

void SessionPool::resume() {
  gate_.fetch_and(~kPaused);
  if (capacity_freed_) capacity_freed_();
}

void SessionPool::begin_epoch(std::uint64_t epoch, bool abandon) {
  if (abandon) abandoned_before_ = epoch; // before the epoch: who finds a session outdated sees this too
  std::uint64_t gate = gate_;
  while (!gate_.compare_exchange_weak(gate, epoch << kEpochShift | (gate & (kPaused | kClosed)))) {
  }
  sweep();
}

void SessionPool::close() {
  gate_.fetch_or(kClosed);
  sweep();
  if (capacity_freed_) capacity_freed_();
}

SessionPoolStats SessionPool::stats() const {
  std::uint32_t leased = 0, quarantined = 0;
  for (std::uint32_t i = 0; i < cells_count_; ++i) {
    const State state = cells_[i].state.load(std::memory_order_relaxed);
    if (state == State::kLeased) ++leased;
    if (state == State::kQuarantined) ++quarantined;
  }
  const std::uint64_t opened = opened_count_;
  const std::uint32_t open = open_;
  leased = std::min(leased, open);
  return {.idle = open - leased,
          .leased = leased,
          .target_max = target_max_,
          .opened = opened,
          .discarded = opened - std::min<std::uint64_t>(opened, open),
          .quarantined = quarantined};
}

} // namespace hsmux
