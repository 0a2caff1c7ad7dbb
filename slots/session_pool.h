// The sessions of one slot that may be lent. A passive structure: it opens and closes nothing by itself and never calls
// the module; the slot's keeper thread adds sessions and takes those that must be closed. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "slots/disposition.h"
#include "slots/session.h"

namespace hsmux {

class SessionPool;

// Temporary sole use of one session. Move-only. It goes back by SessionPool::finish with the CK_RV of what was done; a
// lease that is dropped without that counts as spoilt: its session is discarded.
class Lease {
public:
  Lease(Lease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), session_(std::move(other.session_)), epoch_(other.epoch_) {}
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  Session& operator*() { return session_; }
  Session* operator->() { return &session_; }
  // The epoch that the session belongs to: object handles of other epochs are not to be used with it.
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }

private:
  friend class SessionPool;
  Lease(SessionPool* pool, Session session, std::uint64_t epoch)
      : pool_(pool), session_(std::move(session)), epoch_(epoch) {}

  SessionPool* pool_; // null once given back
  Session session_;
  std::uint64_t epoch_;
};

struct SessionPoolStats {
  std::uint32_t idle = 0, leased = 0;      // idle + leased = open sessions, the anchor not counted
  std::uint32_t target_max = 0;            // sessions_max, or less where the token has no more
  std::uint64_t opened = 0, discarded = 0; // ever: opened = idle + leased + discarded
};

class SessionPool {
public:
  SessionPool(std::uint32_t sessions_min, std::uint32_t sessions_max);

  // An idle session of the current epoch, the one used last (LIFO: few sessions stay warm). Never waits, never opens:
  // when there is none, the pool notes that one more is wanted.
  std::optional<Lease> try_acquire();

  // Ends a lease. `status` is what the last call on it answered; the disposition table decides whether the session goes
  // back or is discarded. A session of another epoch never goes back.
  void finish(Lease lease, CallStatus status);

  // Called, outside of every lock, each time a session may have become free. Set once, before the first use.
  void on_capacity_freed(std::function<void()> callback) { capacity_freed_ = std::move(callback); }
  // Called, outside of every lock, when a session is wanted or is to be closed: the keeper has work.
  void on_work(std::function<void()> callback) { work_ = std::move(callback); }

  // --- for the slot's keeper ---
  // How many sessions are to be opened now: up to sessions_min always, above that one at a time on demand.
  std::uint32_t wanted();
  void add(Session session, std::uint64_t epoch);
  // The token has no session left (CKR_SESSION_COUNT): the target becomes what is open now. At least one.
  void learn_limit();
  // Sessions that left the pool and are to be closed, outside of any lock.
  std::vector<Session> take_discarded();

  // No session is lent until resume(): the slot is in doubt.
  void pause();
  void resume();
  // All sessions of older epochs are out: idle ones at once, leased ones on return. `abandon`: the token has closed
  // them already and may give their handles out again, so they are forgotten instead of closed.
  void begin_epoch(std::uint64_t epoch, bool abandon);
  // Nothing is lent any more; idle sessions are discarded, leased ones on return.
  void close();

  [[nodiscard]] SessionPoolStats stats() const;

private:
  friend class Lease;
  struct Idle {
    Session session;
    std::uint64_t epoch;
  };
  void discard(Session session, std::uint64_t epoch); // with mutex_ held
  [[nodiscard]] std::uint32_t open() const { return static_cast<std::uint32_t>(idle_.size()) + leased_; }

  const std::uint32_t sessions_min_;
  std::function<void()> capacity_freed_, work_;

  mutable std::mutex mutex_; // guards all below; never held during a call of the module or a callback
  std::vector<Idle> idle_;
  std::vector<Session> discarded_;
  std::uint32_t target_max_;
  std::uint32_t leased_ = 0;
  std::uint64_t epoch_ = 0, abandoned_before_ = 0;
  std::uint64_t opened_count_ = 0, discarded_count_ = 0;
  bool demand_ = false, paused_ = false, closed_ = false;
};

} // namespace hsmux
