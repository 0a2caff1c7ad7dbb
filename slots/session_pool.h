// The sessions of one slot that may be lent: a fixed array of cells, a lock-free list of those that are idle. A passive
// structure: it opens and closes nothing by itself and never calls the module; the slot's keeper thread adds sessions
// and takes those that must be closed. Lending and taking back an idle session takes no lock, allocates nothing and
// makes no system call. Thread-safe; docs/session-pool.md has the protocol and the argument for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "slots/disposition.h"
#include "slots/index_stack.h"
#include "slots/session.h"

namespace hsmux {

class SessionPool;

// Temporary sole use of one session. Move-only. It goes back by SessionPool::finish with the CK_RV of what was done; a
// lease that is dropped without that counts as spoilt: its session is discarded. The pool outlives it.
class Lease {
public:
  Lease(Lease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), session_(other.session_), epoch_(other.epoch_), cell_(other.cell_),
        written_off_(other.written_off_) {}
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  Session& operator*() { return *session_; }
  Session* operator->() { return session_; }
  // The epoch that the session belongs to: object handles of other epochs are not to be used with it.
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  [[nodiscard]] bool written_off() const { return written_off_; } // for whom finishes it

private:
  friend class SessionPool;
  Lease(SessionPool* pool, Session* session, std::uint64_t epoch, IndexStack::Index cell)
      : pool_(pool), session_(session), epoch_(epoch), cell_(cell) {}

  SessionPool* pool_; // null once given back
  Session* session_;
  std::uint64_t epoch_;
  IndexStack::Index cell_;
  bool written_off_ = false;
};

struct SessionPoolStats {
  std::uint32_t idle = 0, leased = 0;      // idle + leased = open sessions, the anchor not counted
  std::uint32_t target_max = 0;            // sessions_max, or less where the token has no more
  std::uint64_t opened = 0, discarded = 0; // ever: opened = idle + leased + discarded
  std::uint32_t quarantined = 0;           // discarded ones that a call of the module still holds
};

class SessionPool {
public:
  static constexpr std::uint32_t kSessionsMax = 16'384;
  // Written-off sessions for which others are opened; with more of them the pool has fewer to lend.
  static constexpr std::uint32_t kQuarantinedMax = 64;

  // `sessions_max`: 1 to kSessionsMax.
  SessionPool(std::uint32_t sessions_min, std::uint32_t sessions_max);

  // An idle session of the current epoch, the one used last (LIFO: few sessions stay warm). Never waits, never opens:
  // when there is none, the pool notes that one more is wanted.
  std::optional<Lease> try_acquire();

  // Ends a lease. `status` is what the last call on it answered; the disposition table decides whether the session goes
  // back or is discarded. A session of another epoch never goes back.
  void finish(Lease lease, CallStatus status);
  // The module does not return from a call on this session: it is not counted any more, another one may be opened in
  // its place, and finish() discards it. Not while another thread uses `lease`.
  void write_off(Lease& lease);

  // Called each time a session may have become free. Set once, before the first use.
  void on_capacity_freed(std::function<void()> callback) { capacity_freed_ = std::move(callback); }
  // Called when a session is wanted or is to be closed: the keeper has work.
  void on_work(std::function<void()> callback) { work_ = std::move(callback); }

  // --- for the slot's keeper: one thread at a time ---
  // How many sessions are to be opened now: up to sessions_min always, above that one at a time on demand.
  std::uint32_t wanted();
  void add(Session session, std::uint64_t epoch);
  // The token has no session left (CKR_SESSION_COUNT): the target becomes what is open now. At least one.
  void learn_limit();
  // Sessions that left the pool and are to be closed.
  std::vector<Session> take_discarded();
  // All sessions of older epochs are out: idle ones at once, leased ones on return. `abandon`: the token has closed
  // them already and may give their handles out again, so they are forgotten instead of closed.
  void begin_epoch(std::uint64_t epoch, bool abandon);

  // --- any thread ---
  // No session is lent until resume(): the slot is in doubt. A try_acquire() under way may still lend one.
  void pause();
  void resume();
  // Nothing is lent any more; idle sessions are discarded, leased ones on return.
  void close();

  // Each part is as of some moment during the call; they add up.
  [[nodiscard]] SessionPoolStats stats() const;

private:
  friend class Lease;
  using Index = IndexStack::Index;
  enum class State : std::uint8_t { kEmpty, kIdle, kLeased, kQuarantined, kDiscarded };

  // Owned by whoever took its index off a list: an idle one's by nobody, a lent one's by the lease, a discarded or
  // empty one's by the keeper.
  struct alignas(64) Cell {
    std::optional<Session> session;
    std::uint64_t epoch = 0;
    std::atomic<State> state{State::kEmpty}; // for stats() only
  };

  // What may be lent: the epoch and two flags in one word, so that they are seen together.
  static constexpr std::uint64_t kPaused = 1, kClosed = 2;
  static constexpr int kEpochShift = 2;
  [[nodiscard]] static std::uint64_t epoch_of(std::uint64_t gate) { return gate >> kEpochShift; }

  void give_back(Index index, std::uint64_t epoch);
  void discard(Index index);
  void put_out(Index index);
  void sweep();
  void want_one();
  void collect();

  const std::uint32_t sessions_min_, sessions_max_, cells_count_;
  std::function<void()> capacity_freed_, work_;
  const std::unique_ptr<Cell[]> cells_;
  const IndexStack::Links links_;
  IndexStack idle_, discarded_;

  alignas(64) std::atomic<std::uint64_t> gate_{0};
  std::atomic<std::uint64_t> abandoned_before_{0}; // an epoch
  std::atomic<std::uint32_t> target_max_;
  std::atomic<bool> demand_{false};
  std::atomic<std::uint32_t> open_{0}; // idle and leased
  std::atomic<std::uint64_t> opened_count_{0};

  // Keeper's.
  std::vector<Index> empty_;
  std::vector<Session> to_close_;
};

} // namespace hsmux
