// One token in use: its login, its epoch, its anchor session, its pool of sessions and its key handles. A keeper thread
// does all that is off the requests' way: connecting, opening and closing sessions, and coming back after a loss.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "metrics/events.h"
#include "slots/deadline.h"
#include "slots/key_copies.h"
#include "slots/key_handles.h"
#include "slots/login.h"
#include "slots/session_pool.h"
#include "slots/slot_health.h"
#include "slots/token_info.h"

namespace hsmux {

struct SlotOptions {
  std::string name;
  SlotSelector selector;
  std::optional<PinOrigin> pin; // absent: no login
  bool allow_pin_count_low = false;
  bool login_at_token = false;                       // the PIN is entered at the HSM (slots/login.h)
  std::uint32_t sessions_min = 1, sessions_max = 16; // the anchor session is not counted
  double weight = 1.0;
  bool read_write = true;
  SessionCopies session_copies = SessionCopies::kAuto;
  Duration probe_interval = std::chrono::seconds(10); // how often a slot is looked at that nobody may use; ± a fifth
  Duration copy_refresh = std::chrono::seconds(10);   // how often copied keys are looked for in the token
  // The module may be finalised and initialised again when nothing else gets the token back (Module::restart): only in
  // a program of its own, where no other code uses the module.
  bool restart_module = false;
  // Tells a slot that does not work from requests that fail: must not depend on anything that a caller says. Any
  // thread, several at once. Empty: C_GetSessionInfo and C_GenerateRandom.
  std::function<Status(Session&)> canary;
};

enum class SlotState : std::uint8_t {
  kConnecting, // not yet, or again: the keeper tries
  kReady,
  kLatched, // a PIN was refused or withheld: an operator must act
  kClosed,
};
std::string_view slot_state_name(SlotState state);

struct SlotStats {
  SlotState state = SlotState::kConnecting;
  std::uint64_t epoch = 0;
  SessionPoolStats sessions;
  std::uint32_t session_copies = 0;
  std::optional<Error> last_error; // why it is not ready, or the last thing that went wrong with a session
  HealthState health = HealthState::kEjected;
  HealthCause cause = HealthCause::kConnecting;
  std::string last_flight;         // the last calls of the session that was thrown away last
  std::uint64_t wrong_results = 0; // that the host found and that never left hsmux
};

class Slot {
public:
  // Connects; waits for that until `deadline`. With `wait_ready` a failure to connect is the error; without it the slot
  // stays and its keeper goes on trying. `capacity_freed` is called, on any thread, when a session may be free or when
  // the slot is lost, gives up (latched) or changes its health. Errors: as select_token, login and C_OpenSession;
  // kTimeout.
  static Result<std::unique_ptr<Slot>> open(SlotOptions options, std::shared_ptr<const Module> module, EventSink events,
                                            std::function<void()> capacity_freed, Deadline deadline, bool wait_ready);
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const SlotOptions& options() const;
  [[nodiscard]] const Module& module() const;
  [[nodiscard]] TokenIdentity token() const;
  [[nodiscard]] std::uint64_t epoch() const; // one relaxed load
  [[nodiscard]] SlotState state() const;     // one relaxed load
  // In state kReady, and nothing puts that in doubt right now. Two relaxed loads.
  [[nodiscard]] bool ready() const;
  [[nodiscard]] HealthState health() const;          // one relaxed load
  [[nodiscard]] std::uint32_t in_flight_max() const; // while it is probing: SlotHealth
  [[nodiscard]] SlotStats stats() const;             // no call of the module is waited for

  // The pool's try_acquire: never waits. Empty while the slot is not ready.
  std::optional<Lease> try_acquire();
  // Ends a lease; `status` is the last call's. The slot draws its conclusions (slots/disposition.h) before anybody else
  // can get a session.
  void finish(Lease lease, CallStatus status);
  // The module does not return from a call on this session (SessionPool::write_off).
  void write_off(Lease& lease);
  // The call took so long that it counts against the slot.
  void overdue();
  // What `call` gave on this slot is wrong, as the host found.
  void wrong_result(Call call);

  // The handle of the one object with this class and CKA_ID, from the cache or found with the lease's session. Errors:
  // kKeyNotFound, kKeyAmbiguous (two objects with one id), or a call's. `copies`: the key's session copy will do.
  Result<KeyHandle> key_handle(Lease& lease, ObjectClass object_class, ByteView id, bool copies = true);
  // What this handle of the lease's epoch made was found right.
  void mark_verified(const Lease& lease, ObjectClass object_class, ByteView id, ObjectHandle handle);
  void forget_key(ObjectClass object_class, ByteView id);
  // A key that was there is not any more: either somebody deleted it, or the token is gone, which is found out.
  void key_vanished();
  // Runs `search`, which gives a list of objects, again where a session copy that was being made may be among them.
  template <class Search> auto search_keys(Search search) {
    constexpr int kTriesMax = 100; // copies are made at the first use of each key: that ends
    for (int tries = 1;; ++tries) {
      const std::uint64_t before = copy_generation();
      auto found = search();
      const bool quiet = before % 2 == 0 && before == copy_generation();
      if (quiet || !found || found->size() < 2 || tries == kTriesMax) return found;
      std::this_thread::yield();
    }
  }

  // The login that an operation with a key of CKA_ALWAYS_AUTHENTICATE wants: for Session::set_before_operation.
  Status login_for_operation(Session& session);

  // An operator says that the PIN is right now.
  void unlatch();
  // Where it is down: tries now instead of after its pause.
  void connect_now();
  // An operator wants no request there (true), or again (false). Connected it stays.
  void drain(bool on);

  // No session is lent any more; idle sessions are closed. False when the keeper did not end by the deadline, being
  // or a canary, being stuck in the module: it is left behind with all that it touches.
  bool close(Deadline deadline);

private:
  [[nodiscard]] std::uint64_t copy_generation() const;
  class Keeper;
  explicit Slot(std::shared_ptr<Keeper> keeper);
  std::shared_ptr<Keeper> keeper_;
  std::mutex thread_mutex_; // guards thread_
  std::thread thread_;      // the keeper's
};

} // namespace hsmux
