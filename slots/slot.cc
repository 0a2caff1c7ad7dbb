#include "slots/slot.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;

// The pause before trying again: doubles to a second, with jitter so that many clients of one HSM do not come at once.
class BackOff {
public:
  Duration next() {
    const Duration pause = std::exchange(step_, std::min(step_ * 2, kLongest));
    return pause / 2 + Duration(std::uniform_int_distribution<Duration::rep>(0, (pause / 2).count())(random_));
  }
  void reset() { step_ = kShortest; }

private:
  static constexpr Duration kShortest = milliseconds(20), kLongest = milliseconds(1000);
  Duration step_ = kShortest;
  std::minstd_rand random_{std::random_device{}()};
};

constexpr Duration kDrainTime = milliseconds(1000); // for leases in flight before a login that may disturb them
constexpr Duration kCanaryInterval = milliseconds(1000);
constexpr std::uint32_t kFailuresToProbe = 3; // in a row

// Are sessions, login or token in doubt after this?
bool casts_doubt(SlotFate fate) {
  return fate == SlotFate::kProbeAnchor || fate == SlotFate::kLogin || fate == SlotFate::kLost ||
         fate == SlotFate::kModuleLost;
}

} // namespace

std::string_view slot_state_name(SlotState state) {
  switch (state) {
  case SlotState::kConnecting: return "connecting";
  case SlotState::kReady: return "ready";
  case SlotState::kLatched: return "latched";
  case SlotState::kClosed: return "closed";
  }
  return "closed";
}

// Everything of the slot. Shared with its thread, so that a thread stuck in the module can be left behind.
class Slot::Keeper {
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

private:
  enum class Work : std::uint8_t { kStop, kConnect, kProbe, kOpen, kClose, kCopies, kRefresh };
  Work next_work(std::vector<Session>& discarded);

  void connect();
  Status try_connect();
  void connected();
  void lose(bool sessions_are_closed, Error why);
  void anchor_failed(Error why);
  // After a use of the anchor for something else.
  void look_at_anchor(Status used);
  void probe();
  Result<Session> open_for_pool();
  void open_session();
  // Lends nothing until probe() has looked. With mutex_ held.
  void doubt(SlotFate fate);
  void remember(const Error& error);
  void emit(Event event) const {
    event.slot = *name_;
    if (events_) events_(event);
  }

  std::optional<PinSource> pin_;  // keeper's thread only, as the next four
  std::optional<Session> anchor_; // never lent: closing a token's last session logs out (PKCS#11 5.6.2)
  BackOff connect_pause_, open_pause_;

  TimePoint refresh_at_{};

  std::atomic<bool> use_copies_{false};
  std::atomic<std::uint32_t> failures_{0};

  mutable std::mutex mutex_; // guards what follows; never held during a call of the module or a callback
  std::condition_variable changed_;
  TokenIdentity token_;
  std::optional<Error> last_error_, connect_error_;
  bool work_ = false, stop_ = false, stopped_ = false;
  bool probe_ = false, lost_ = false;
  TimePoint connect_at_{}, open_at_{}, canary_at_{};
};

Slot::Keeper::Work Slot::Keeper::next_work(std::vector<Session>& discarded) {
  while (true) {
    std::unique_lock lock(mutex_);
    work_ = false; // before looking: what comes up from here on wakes us again
    lock.unlock();
    discarded = pool_.take_discarded();
    if (!discarded.empty()) return Work::kClose;
    lock.lock();
    if (stop_) return Work::kStop;
    const TimePoint now = MonotonicClock::now();
    TimePoint wake = TimePoint::max();
    switch (state_.load()) {
    case SlotState::kConnecting:
      if (now >= connect_at_) return Work::kConnect;
      wake = connect_at_;
      break;
    case SlotState::kReady:
      if (probe_ || lost_) return Work::kProbe;
      if (copies_.wanted()) return Work::kCopies;
      if (copies_.count() > 0) {
        if (now >= refresh_at_) return Work::kRefresh;
        wake = refresh_at_;
      }
      if (now < open_at_) {
        wake = std::min(wake, open_at_);
      } else {
        lock.unlock();
        if (pool_.wanted() > 0) return Work::kOpen;
        lock.lock();
      }
      break;
    case SlotState::kLatched:
    case SlotState::kClosed: break;
    }
    const auto woken = [this] { return work_ || stop_; };
    if (wake == TimePoint::max()) {
      changed_.wait(lock, woken);
    } else {
      changed_.wait_until(lock, wake, woken);
    }
  }
}

void Slot::Keeper::run() {
  bool more = true;
  while (more) {
    std::vector<Session> discarded;
    switch (next_work(discarded)) {
    case Work::kStop: more = false; break;
    case Work::kConnect: connect(); break;
    case Work::kProbe: probe(); break;
    case Work::kOpen: open_session(); break;
    case Work::kCopies:
      if (copies_.count() == 0) refresh_at_ = MonotonicClock::now() + options_.copy_refresh;
      look_at_anchor(copies_.carry_out(*anchor_, epoch_));
      break;
    case Work::kRefresh:
      refresh_at_ = MonotonicClock::now() + options_.copy_refresh;
      look_at_anchor(copies_.refresh(*anchor_, epoch_));
      break;
    case Work::kClose: break; // by the destructors of `discarded`
    }
  }
  anchor_.reset();
  pin_.reset();
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void Slot::Keeper::doubt(SlotFate fate) {
  pool_.pause();
  doubtful_ = true;
  probe_ = true;
  if (fate == SlotFate::kLost || fate == SlotFate::kModuleLost) lost_ = true;
}

Status Slot::Keeper::try_connect() {
  if (module_->forked()) return fail(ErrorKind::kForked, "this process is a fork of the one that opened the engine");
  HSMUX_TRY(const std::vector<TokenIdentity> tokens, read_tokens(*module_));
  HSMUX_TRY(TokenIdentity token, select_token(options_.selector, tokens));
  anchor_.reset();
  HSMUX_TRY(Session anchor, Session::open(module_, token.slot_id, name_, options_.read_write));
  {
    // A login may end other sessions' operations (PKCS#11 5.6.6): those in flight get a moment.
    std::unique_lock lock(mutex_);
    token_ = token;
    changed_.wait_for(lock, kDrainTime, [this] { return stop_ || pool_.stats().leased == 0; });
  }
  if (pin_) {
    HSMUX_TRY(token, read_token(*module_, token.slot_id));
    HSMUX_CHECK(login(anchor, token, *pin_, {.allow_count_low = options_.allow_pin_count_low}, *name_, events_));
  }
  if (pin_) anchor.expect_login();
  use_copies_ = options_.session_copies == SessionCopies::kOn ||
                (options_.session_copies == SessionCopies::kAuto && gains_by_copies(token));
  anchor_.emplace(std::move(anchor));
  return {};
}

void Slot::Keeper::connect() {
  Status status = try_connect();
  if (status) return connected();
  Error& error = status.error();
  if (error.slot.empty()) error.slot = *name_;
  const bool latch = error.kind == ErrorKind::kCredentials;
  {
    const std::lock_guard lock(mutex_);
    last_error_ = connect_error_ = error;
    connect_at_ = MonotonicClock::now() + connect_pause_.next();
    if (latch && !stop_) state_ = SlotState::kLatched;
    changed_.notify_all();
  }
  if (latch && capacity_freed_) capacity_freed_();
}

void Slot::Keeper::connected() {
  connect_pause_.reset();
  open_pause_.reset();
  failures_ = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!stop_) state_ = SlotState::kReady;
    doubtful_ = false;
    connect_error_.reset();
    probe_ = lost_ = false;
    open_at_ = {};
    changed_.notify_all();
  }
  emit({.kind = EventKind::kSlotReady, .slot = {}});
  pool_.resume();
}

void Slot::Keeper::lose(bool sessions_are_closed, Error why) {
  pool_.pause();
  {
    // Before the epoch grows: who sees the new epoch and a ready slot sees it connected again.
    const std::lock_guard lock(mutex_);
    if (!stop_) state_ = SlotState::kConnecting;
  }
  // All sessions and handles of the old epoch are void together. Remembered handles carry their epoch: none is found
  // again.
  pool_.begin_epoch(epoch_.fetch_add(1) + 1, sessions_are_closed);
  if (anchor_ && sessions_are_closed) anchor_->abandon();
  anchor_.reset();
  copies_.forget_all();
  emit({.kind = EventKind::kSlotLost, .slot = {}, .call = call_name(why.call), .rv = why.rv});
  {
    const std::lock_guard lock(mutex_);
    last_error_ = std::move(why);
    connect_at_ = {};
    probe_ = lost_ = false;
  }
  if (capacity_freed_) capacity_freed_();
}

void Slot::Keeper::anchor_failed(Error why) {
  const SlotFate fate = disposition(why.status()).slot;
  lose(fate == SlotFate::kProbeAnchor || fate == SlotFate::kLost, std::move(why));
}

void Slot::Keeper::look_at_anchor(Status used) {
  if (!used && casts_doubt(disposition(used.error().status()).slot)) anchor_failed(std::move(used).error());
}

void Slot::Keeper::probe() {
  bool lost = false;
  {
    const std::lock_guard lock(mutex_);
    probe_ = false;
    lost = lost_;
  }
  Result<unsigned long> state = anchor_->state();
  if (!state) return anchor_failed(std::move(state).error());
  const bool user = logged_in(*state);
  if (lost || (pin_ && !user)) {
    Error why = make_error(ErrorKind::kUnavailable, user ? "the token was lost" : "the login was lost");
    why.slot = *name_;
    return lose(false, std::move(why));
  }
  failures_ = 0;
  {
    const std::lock_guard lock(mutex_);
    if (probe_) return; // doubted again meanwhile: looked into at once
    doubtful_ = false;
  }
  pool_.resume();
}

Result<Session> Slot::Keeper::open_for_pool() {
  HSMUX_TRY(Session session, Session::open(module_, token().slot_id, name_, options_.read_write));
  if (!pin_) return session;
  // All sessions, and with them the login, may have ended without anybody having noticed yet.
  HSMUX_TRY(const unsigned long state, session.state());
  if (!logged_in(state)) return fail(call_error({Call::kGetSessionInfo, CKR_USER_NOT_LOGGED_IN}, *name_));
  session.expect_login();
  return session;
}

void Slot::Keeper::open_session() {
  const std::uint64_t epoch = epoch_;
  const TimePoint start = MonotonicClock::now();
  Result<Session> session = open_for_pool();
  if (session) {
    open_pause_.reset();
    emit({.kind = EventKind::kSessionOpened,
          .slot = {},
          .call = call_name(Call::kOpenSession),
          .duration = MonotonicClock::now() - start});
    return pool_.add(std::move(*session), epoch);
  }
  const Error& error = session.error();
  emit({.kind = EventKind::kSessionOpenFailed, .slot = {}, .call = call_name(error.call), .rv = error.rv});
  const Disposition row = disposition(error.status());
  // A full token is not a fault: what it gave is its limit.
  if (error.rv == CKR_SESSION_COUNT) pool_.learn_limit();
  remember(error);
  const std::lock_guard lock(mutex_);
  open_at_ = MonotonicClock::now() + open_pause_.next();
  if (casts_doubt(row.slot)) doubt(row.slot);
}

void Slot::Keeper::remember(const Error& error) {
  const std::lock_guard lock(mutex_);
  last_error_ = error;
}

void Slot::Keeper::finish(Lease lease, CallStatus status) {
  if (status.rv == CKR_OK) [[likely]] {
    if (failures_.load(std::memory_order_relaxed) != 0) failures_ = 0;
    return pool_.finish(std::move(lease), status);
  }
  const Disposition row = disposition(status);
  const bool current = lease.epoch() == epoch_.load(std::memory_order_relaxed);
  bool work = false;
  if (row.slot != SlotFate::kNothing && row.slot != SlotFate::kBusy && current) {
    const bool doubtful = casts_doubt(row.slot);
    const bool canary = row.slot == SlotFate::kCanary;
    const bool failing = row.slot == SlotFate::kFailure && ++failures_ >= kFailuresToProbe;
    const TimePoint now = MonotonicClock::now();
    const std::lock_guard lock(mutex_);
    if (doubtful) doubt(row.slot); // before the session is back: nobody may get another dead one meanwhile
    if (doubtful || ((canary || failing) && now >= canary_at_)) {
      probe_ = work = true;
      canary_at_ = now + kCanaryInterval;
    }
  }
  if (row.session == SessionFate::kDiscard) {
    emit({.kind = EventKind::kSessionDiscarded, .slot = {}, .call = call_name(status.call), .rv = status.rv});
  }
  pool_.finish(std::move(lease), status);
  if (work) signal();
}

Result<std::vector<ObjectHandle>> Slot::Keeper::find_key(Lease& lease, ObjectClass object_class, ByteView id) {
  Result<std::vector<ObjectHandle>> found = lease->find(key_template_by_id(object_class, id));
  emit({.kind = EventKind::kKeyFind,
        .slot = {},
        .call = call_name(Call::kFindObjects),
        .rv = found ? 0 : found.error().rv});
  return found;
}

Result<KeyHandle> Slot::Keeper::only_key(const Lease& lease, ObjectClass object_class, ByteView id,
                                         const std::vector<ObjectHandle>& found) {
  if (found.size() != 1) {
    Error error = found.empty()
                      ? make_error(ErrorKind::kKeyNotFound, "the key is not (or no longer) in this slot")
                      : make_error(ErrorKind::kKeyAmbiguous,
                                   fmt::format("{} objects of this slot share the key's CKA_ID", found.size()));
    error.slot = *name_;
    return fail(std::move(error));
  }
  const bool fresh = handles_.store(lease.epoch(), object_class, id, found.front());
  if (fresh && use_copies_.load(std::memory_order_relaxed)) {
    copies_.want(lease.epoch(), object_class, id, found.front());
    signal();
  }
  return KeyHandle{found.front(), false};
}

void Slot::Keeper::forget_key(ObjectClass object_class, ByteView id) {
  const auto copy = handles_.forget(object_class, id);
  if (!copy) return;
  copies_.drop(copy->epoch, copy->handle);
  signal();
}

Status Slot::Keeper::wait_connected(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const bool answered = changed_.wait_until(
      lock, deadline.at(), [this] { return state_ == SlotState::kReady || connect_error_.has_value(); });
  if (state_ == SlotState::kReady) return {};
  if (answered) return fail(*connect_error_);
  Error error =
      make_error(ErrorKind::kTimeout, "the module did not let us connect to the token in time", Retry::kLater);
  error.slot = *name_;
  return fail(std::move(error));
}

bool Slot::Keeper::stop(Deadline deadline) {
  pool_.close(); // before the keeper is told: it closes what the pool gives up, then ends
  std::unique_lock lock(mutex_);
  stop_ = true;
  state_ = SlotState::kClosed;
  changed_.notify_all();
  return changed_.wait_until(lock, deadline.at(), [this] { return stopped_; });
}

void Slot::Keeper::unlatch() {
  hsmux::unlatch(token());
  const std::lock_guard lock(mutex_);
  if (state_ != SlotState::kLatched) return;
  state_ = SlotState::kConnecting;
  connect_at_ = {};
  work_ = true;
  changed_.notify_all();
}

SlotStats Slot::Keeper::stats() const {
  SlotStats stats{
      .state = state_, .epoch = epoch_, .sessions = pool_.stats(), .session_copies = copies_.count(), .last_error = {}};
  const std::lock_guard lock(mutex_);
  stats.last_error = last_error_;
  return stats;
}

Result<std::unique_ptr<Slot>> Slot::open(SlotOptions options, std::shared_ptr<const Module> module, EventSink events,
                                         std::function<void()> capacity_freed, Deadline deadline, bool wait_ready) {
  auto keeper =
      std::make_shared<Keeper>(std::move(options), std::move(module), std::move(events), std::move(capacity_freed));
  std::unique_ptr<Slot> slot(new Slot(keeper));
  Status status = keeper->wait_connected(deadline);
  if (!status && wait_ready) return fail(std::move(status).error());
  return slot;
}

Slot::Slot(std::shared_ptr<Keeper> keeper) : keeper_(std::move(keeper)), thread_([k = keeper_] { k->run(); }) {}

Slot::~Slot() {
  // In a fork's child there is no keeper thread to wait for, and its locks may be held for ever: all of it is left
  // alone.
  if (keeper_->module_->forked()) {
    new std::shared_ptr<Keeper>(std::move(keeper_));
    thread_.detach();
    return;
  }
  if (!close(Deadline::after(std::chrono::seconds(5)))) thread_.detach(); // it holds all that it touches
}

bool Slot::close(Deadline deadline) {
  if (!keeper_->stop(deadline)) return false;
  // Joined, not only told to have ended: what it leaves for its exit (thread-local data of the module) must not run
  // beside the exit of the process.
  const std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) thread_.join();
  return true;
}

const std::string& Slot::name() const { return *keeper_->name_; }
const SlotOptions& Slot::options() const { return keeper_->options_; }
const Module& Slot::module() const { return *keeper_->module_; }
TokenIdentity Slot::token() const { return keeper_->token(); }
std::uint64_t Slot::epoch() const { return keeper_->epoch_.load(std::memory_order_relaxed); }
SlotState Slot::state() const { return keeper_->state_.load(std::memory_order_relaxed); }
bool Slot::ready() const { return state() == SlotState::kReady && !keeper_->doubtful_.load(std::memory_order_relaxed); }
SlotStats Slot::stats() const { return keeper_->stats(); }
std::optional<Lease> Slot::try_acquire() { return keeper_->pool_.try_acquire(); }
void Slot::finish(Lease lease, CallStatus status) { keeper_->finish(std::move(lease), status); }
void Slot::write_off(Lease& lease) { keeper_->pool_.write_off(lease); }
Result<KeyHandle> Slot::key_handle(Lease& lease, ObjectClass object_class, ByteView id, bool copies) {
  if (const auto known = keeper_->handles_.lookup(lease.epoch(), object_class, id, copies)) return *known;
  Result<std::vector<ObjectHandle>> found = search_keys([&] { return keeper_->find_key(lease, object_class, id); });
  if (!found) return fail(std::move(found).error());
  return keeper_->only_key(lease, object_class, id, *found);
}
std::uint64_t Slot::copy_generation() const { return keeper_->copies_.generation(); }
void Slot::forget_key(ObjectClass object_class, ByteView id) { keeper_->forget_key(object_class, id); }
void Slot::unlatch() { keeper_->unlatch(); }

} // namespace hsmux
