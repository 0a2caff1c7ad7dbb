#include "tests/simhsm/session_table.h"

#include <algorithm>
#include <utility>

namespace hsmux::sim {
namespace {

// A handle is the cell's index + 1 in the low bits and the cell's generation above them.
constexpr unsigned kIndexBits = 20;
constexpr CK_SESSION_HANDLE kIndexMask = (1UL << kIndexBits) - 1;
static_assert(SessionTable::kSessionsMax < kIndexMask);

constexpr std::size_t kDeadMax = 100'000;

} // namespace

Session* SessionTable::cell(std::size_t index) {
  Chunk* chunk = chunks_.at(index / kChunk).load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : &chunk->at(index % kChunk);
}

Session* SessionTable::cell_of(CK_SESSION_HANDLE handle) {
  const CK_SESSION_HANDLE number = handle & kIndexMask;
  return number == 0 || number > kSessionsMax ? nullptr : cell(number - 1);
}

CK_SESSION_HANDLE SessionTable::add(SimSlot& slot, CK_SESSION_HANDLE backend, bool reuse_handles, Nanoseconds now) {
  const std::lock_guard lock(mutex_);
  std::size_t index = used_;
  if (!free_.empty()) {
    // The lowest, or the one that has been free for the longest.
    const auto chosen = reuse_handles ? std::ranges::min_element(free_) : free_.begin();
    index = *chosen;
    free_.erase(chosen);
  } else if (used_ == kSessionsMax) {
    return 0;
  } else {
    if (used_ % kChunk == 0) {
      chunks_.at(used_ / kChunk).store(owned_.emplace_back(std::make_unique<Chunk>()).get(), std::memory_order_release);
    }
    ++used_;
  }
  const std::uint32_t generation = reuse_handles ? 0 : generations_.at(index)++;
  const CK_SESSION_HANDLE handle = (CK_SESSION_HANDLE{generation} << kIndexBits) | (index + 1);
  dead_.erase(handle);

  Session& session = *cell(index);
  session.backend = backend;
  session.login_epoch = slot.login_epoch;
  session.operations = {};
  session.checked_object = 0;
  session.lost = session.gone = false;
  session.slot = &slot;
  session.used_at_ns = now.count();
  session.handle = handle;
  session.running = Session::kIdle;
  return handle;
}

bool SessionTable::own(Session& session, int function) {
  int idle = Session::kIdle;
  return session.running.compare_exchange_strong(idle, function);
}

SessionTable::Entered SessionTable::enter(CK_SESSION_HANDLE handle, Function function, Nanoseconds now,
                                          Nanoseconds idle_max) {
  Session* session = cell_of(handle);
  while (session != nullptr && session->handle.load(std::memory_order_acquire) == handle) {
    SimSlot* slot = session->slot;
    if (!own(*session, static_cast<int>(function))) {
      const int running = session->running;
      if (running < 0) continue; // it was just left, or is just going
      if (session->handle != handle) break;
      return {Outcome::kBusy, nullptr, slot, false, static_cast<Function>(running)};
    }
    // Ours now; but the cell may have become another session's just before.
    if (session->handle != handle) {
      leave(*session, Nanoseconds(session->used_at_ns));
      break;
    }
    const bool timed_out = idle_max.count() > 0 && now.count() - session->used_at_ns > idle_max.count();
    if (session->lost || timed_out) {
      bury(*session, true, true);
      break;
    }
    return {Outcome::kEntered, session, slot, false, {}};
  }
  const std::lock_guard lock(mutex_);
  const auto dead = dead_.find(handle);
  if (dead == dead_.end()) return {};
  const bool told_before = std::exchange(dead->second.told, true);
  return {Outcome::kDead, nullptr, dead->second.slot, told_before, {}};
}

bool SessionTable::leave(Session& session, Nanoseconds now) {
  session.used_at_ns = now.count();
  session.running = Session::kIdle;
  // lose() may have found the session busy a moment ago: one of the two sees what the other did.
  if (!session.lost) return true;
  if (own(session, Session::kClosing)) {
    if (session.lost) {
      bury(session, true, true);
    } else {
      session.running = Session::kIdle; // the cell was given to another session meanwhile
    }
  }
  return false;
}

void SessionTable::remove(Session& session) { bury(session, false, false); }

void SessionTable::bury(Session& session, bool close_in_backend, bool remember) {
  SimSlot* slot = session.slot;
  const CK_SESSION_HANDLE handle = session.handle;
  // A handle of a finalised backend may be another session's by now.
  if (close_in_backend && !session.gone) close_(session.backend);
  const std::lock_guard lock(mutex_);
  if (remember) {
    dead_[handle] = {slot, false};
    dead_order_.push_back(handle);
    if (dead_order_.size() > kDeadMax) {
      dead_.erase(dead_order_.front());
      dead_order_.pop_front();
    }
  }
  // The token's last session ends its login (PKCS#11 2.40, 5.6, C_CloseSession).
  if (--slot->sessions == 0) ++slot->epoch;
  session.handle = 0;
  session.running = Session::kFree;
  free_.push_back((handle & kIndexMask) - 1);
}

void SessionTable::each_open(const std::function<void(Session&)>& visit) {
  std::size_t used = 0;
  {
    const std::lock_guard lock(mutex_);
    used = used_;
  }
  for (std::size_t i = 0; i < used; ++i) {
    if (Session* session = cell(i); session->handle != 0) visit(*session);
  }
}

unsigned long SessionTable::lose(const SimSlot* slot) {
  unsigned long lost = 0;
  each_open([&](Session& session) {
    const auto meant = [&] { return slot == nullptr || session.slot == slot; };
    if (!meant()) return;
    if (own(session, Session::kClosing)) {
      // Ours now; but the cell may have become another slot's session just before.
      if (meant()) {
        ++lost;
        bury(session, true, true);
      } else {
        session.running = Session::kIdle;
      }
    } else if (!session.lost.exchange(true)) {
      ++lost; // its owner sees the mark when the call ends
    }
  });
  return lost;
}

void SessionTable::lose_idle(Nanoseconds now, Nanoseconds idle_max) {
  each_open([&](Session& session) {
    if (now.count() - session.used_at_ns <= idle_max.count() || !own(session, Session::kClosing)) return;
    if (now.count() - session.used_at_ns > idle_max.count()) {
      bury(session, true, true);
    } else {
      session.running = Session::kIdle;
    }
  });
}

void SessionTable::clear() {
  each_open([&](Session& session) {
    session.gone = true;
    session.lost = true;
    if (own(session, Session::kClosing)) bury(session, false, true);
  });
}

} // namespace hsmux::sim
