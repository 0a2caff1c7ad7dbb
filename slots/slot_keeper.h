// What a slot is made of: its keeper, shared with the threads that may be stuck in the module. Internal to
// slots/slot.cc, slots/slot_keeper.cc and slots/slot_watch.cc.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "slots/slot.h"

namespace hsmux {

// The pause before trying again: doubles to a second, with jitter so that many clients of one HSM do not come at once.
class BackOff {
public:
  Duration next() {
    const Duration pause = std::exchange(step_, std::min(step_ * 2, kLongest));
    return pause / 2 + Duration(std::uniform_int_distribution<Duration::rep>(0, (pause / 2).count())(random_));
  }
  void reset() { step_ = kShortest; }

private:
  static constexpr Duration kShortest = std::chrono::milliseconds(20), kLongest = std::chrono::milliseconds(1000);
  Duration step_ = kShortest;
  std::minstd_rand random_{std::random_device{}()};
};

// Everything of the slot. Shared with its thread, so that a thread stuck in the module can be left behind.
class Slot::Keeper : public std::enable_shared_from_this<Slot::Keeper> {
public:
  Keeper(SlotOptions options, std::shared_ptr<const Module> module, EventSink events,
         std::function<void()> capacity_freed)
      : options_(std::move(options)), capacity_freed_(std::move(capacity_freed)),
        name_(std::make_shared<const std::string>(options_.name)), module_(std::move(module)),
        events_(std::move(events)), pool_(options_.sessions_min, options_.sessions_max) {
    if (options_.pin) pin_.emplace(*options_.pin);
    pool_.pause();
    pool_.begin_epoch(epoch_, false);
    pool_.on_work([this] { signal(); });
    pool_.on_capacity_freed(capacity_freed_);
  }

  void run();
  void signal() {
    const std::lock_guard lock(mutex_);
    work_ = true;
    changed_.notify_all();
  }

  void finish(Lease lease, CallStatus status);
  Result<std::vector<ObjectHandle>> find_key(Lease& lease, ObjectClass object_class, ByteView id);
  Result<KeyHandle> only_key(const Lease& lease, ObjectClass object_class, ByteView id,
                             const std::vector<ObjectHandle>& found);
  void forget_key(ObjectClass object_class, ByteView id);
  Status wait_connected(Deadline deadline);
  bool stop(Deadline deadline);
  void unlatch();
  void connect_now() {
    const std::lock_guard lock(mutex_);
    connect_at_ = {};
    work_ = true;
    changed_.notify_all();
  }
  // A request's call did not return in time; or its result was wrong.
  void overdue();
  void wrong_result(Call call);
  void drain(bool on);
  void key_vanished();
  Status login_for_operation(Session& session);
  bool canaries_ended(Deadline deadline); // joined; after stop()
  void leave_canaries_behind();
  [[nodiscard]] SlotStats stats() const;
  [[nodiscard]] TokenIdentity token() const {
    const std::lock_guard lock(mutex_);
    return token_;
  }

  const SlotOptions options_;
  const std::function<void()> capacity_freed_; // also told when the slot is lost: those who wait for it must know
  const std::shared_ptr<const std::string> name_;
  const std::shared_ptr<const Module> module_;
  const EventSink events_;
  SessionPool pool_;
  KeyHandles handles_;
  KeyCopies copies_{handles_};
  std::atomic<std::uint64_t> epoch_{1};
  std::atomic<SlotState> state_{SlotState::kConnecting};
  std::atomic<bool> doubtful_{false}; // something said that sessions, login or token are gone: being looked into
  std::atomic<HealthState> health_now_{HealthState::kEjected};
  std::atomic<std::uint32_t> in_flight_max_{~0U};

private:
  enum class Work : std::uint8_t { kStop, kConnect, kProbe, kOpen, kClose, kCopies, kRefresh, kCanary };
  Work next_work(std::vector<Session>& discarded);

  void connect();
  Result<TokenIdentity> find_token();
  Status try_connect();
  void try_last_resort(const Error& error);
  void connected();
  void lose(bool sessions_are_closed, Error why);
  void anchor_failed(Error why);
  // After a use of the anchor for something else.
  void look_at_anchor(Status used);
  void probe();
  Result<Session> open_for_pool();
  void open_session();
  void succeeded();
  void failed(const Disposition& row);
  // Tells the state machine, and those concerned when its answer has changed. With no mutex held.
  void tell_health(const std::function<void(SlotHealth&, TimePoint)>& tell);
  [[nodiscard]] TimePoint next_look() const;
  void look_at_health(); // keeper's thread
  void begin_canary();   // keeper's thread
  void end_canary(Lease lease, std::uint64_t number, const Status& answer);
  // Lends nothing until probe() has looked. With mutex_ held.
  void doubt(SlotFate fate);
  void remember(const Error& error);
  void emit(Event event) const {
    event.slot = *name_;
    if (events_) events_(event);
  }

  [[nodiscard]] bool logs_in() const { return pin_.has_value() || options_.login_at_token; }

  std::optional<PinSource> pin_;  // itself thread-safe; as the next four, the keeper's otherwise
  std::optional<Session> anchor_; // never lent: closing a token's last session logs out (PKCS#11 5.6.2)
  BackOff connect_pause_, open_pause_;

  TimePoint refresh_at_{};
  std::optional<TimePoint> down_since_; // of an outage
  TimePoint restart_at_{};

  std::atomic<bool> use_copies_{false};
  std::atomic<std::uint32_t> failures_{0};

  mutable std::mutex health_mutex_; // guards what follows; taken with no other one held
  SlotHealth health_;
  std::atomic<bool> health_quiet_{true}; // successes need not be told
  std::uint64_t wrong_results_ = 0;
  std::vector<std::thread> canaries_; // those that ended are joined when another one begins
  std::uint32_t canaries_running_ = 0;
  std::condition_variable canary_ended_;

  mutable std::mutex mutex_; // guards what follows; never held during a call of the module or a callback
  std::condition_variable changed_;
  TokenIdentity token_;
  std::optional<Error> last_error_, connect_error_;
  std::string last_flight_;
  bool work_ = false, stop_ = false, stopped_ = false;
  bool probe_ = false, lost_ = false;
  TimePoint connect_at_{}, open_at_{}, canary_at_{};
  TimePoint probe_at_ = TimePoint::max(); // keeper's thread only
};

} // namespace hsmux
