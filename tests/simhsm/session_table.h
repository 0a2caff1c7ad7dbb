// The sessions that callers have open, under handles of the simulator's own: so that they can be lost, time out, or
// come back under the same value. Lock-free to enter and leave; any thread.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/simhsm/function_table.h"
#include "tests/simhsm/sim_slot.h"

namespace hsmux::sim {

struct ActiveOperation {
  bool active = false;
  CK_MECHANISM_TYPE mechanism = 0;
  bool told_over = false; // an error that should have ended it (PKCS#11 2.40, 5.2): the caller cannot know better

  [[nodiscard]] bool known_active() const { return active && !told_over; }
};

// A cache line to itself: neighbours belong to other threads.
struct alignas(64) Session {
  // Values of `running` that are no Function: nobody's, ending, a free cell.
  static constexpr int kIdle = -1, kClosing = -2, kFree = -3;

  std::atomic<CK_SESSION_HANDLE> handle{0}; // 0: this cell is free
  std::atomic<int> running{kFree};          // the Function whose caller owns the session now
  std::atomic<bool> lost{false};            // as soon as it is idle it goes
  std::atomic<bool> gone{false};            // in the backend, which was finalised
  std::atomic<SimSlot*> slot{nullptr};
  std::atomic<std::int64_t> used_at_ns{0};

  // Of whoever has set `running`.
  CK_SESSION_HANDLE backend = 0;
  std::uint64_t login_epoch = 0; // of its slot when it was opened, or logged in itself
  std::array<ActiveOperation, kOperationKinds> operations{};
  CK_OBJECT_HANDLE checked_object = 0; // known to be of login_epoch or later

  [[nodiscard]] ActiveOperation& operation(OperationKind kind) { return operations.at(static_cast<std::size_t>(kind)); }
  [[nodiscard]] bool any_known_operation() const {
    for (const ActiveOperation& each : operations) {
      if (each.known_active()) return true;
    }
    return false;
  }
};

class SessionTable {
public:
  static constexpr std::size_t kSessionsMax = 65'536;

  // Closes a session of the backend; called with no lock held.
  using CloseBackend = std::function<void(CK_SESSION_HANDLE)>;
  explicit SessionTable(CloseBackend close) : close_(std::move(close)) {}

  // 0 when the table is full. `reuse_handles`: the lowest value that is free.
  CK_SESSION_HANDLE add(SimSlot& slot, CK_SESSION_HANDLE backend, bool reuse_handles, Nanoseconds now);

  enum class Outcome : std::uint8_t { kEntered, kUnknown, kDead, kBusy };
  struct Entered {
    Outcome outcome = Outcome::kUnknown;
    Session* session = nullptr;    // kEntered: the caller owns it until leave() or remove()
    SimSlot* slot = nullptr;       // also of a dead one
    bool told_before = false;      // kDead: this caller had the news already
    Function running = Function(); // kBusy
  };
  // With `idle_max` above 0, a session that nobody used for so long is dead now.
  Entered enter(CK_SESSION_HANDLE handle, Function function, Nanoseconds now, Nanoseconds idle_max);
  // False when the session was lost meanwhile; it is gone then.
  bool leave(Session& session, Nanoseconds now);
  // By its owner, who has closed it in the backend.
  void remove(Session& session);

  // Sessions of `slot` (nullptr: of all) are lost: now where they are idle, else when their call ends. How many.
  unsigned long lose(const SimSlot* slot);
  // Closes what nobody used for so long.
  void lose_idle(Nanoseconds now, Nanoseconds idle_max);
  // All are lost, and the backend has closed them itself: after C_Finalize.
  void clear();

private:
  static constexpr std::size_t kChunk = 256;
  using Chunk = std::array<Session, kChunk>;
  struct Dead {
    SimSlot* slot = nullptr;
    bool told = false;
  };

  Session* cell(std::size_t index);
  Session* cell_of(CK_SESSION_HANDLE handle);
  static bool own(Session& session, int function);
  // What the owner of a session does to end it.
  void bury(Session& session, bool close_in_backend, bool remember);
  void each_open(const std::function<void(Session&)>& visit);

  CloseBackend close_;
  std::array<std::atomic<Chunk*>, kSessionsMax / kChunk> chunks_{};

  std::mutex mutex_; // guards all below
  std::vector<std::unique_ptr<Chunk>> owned_;
  std::deque<std::size_t> free_;
  std::size_t used_ = 0; // cells that ever were in use
  std::array<std::uint32_t, kSessionsMax> generations_{};
  std::unordered_map<CK_SESSION_HANDLE, Dead> dead_;
  std::deque<CK_SESSION_HANDLE> dead_order_;
};

} // namespace hsmux::sim
