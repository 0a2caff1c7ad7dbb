#include "slots/slot_keeper.h"

#include <fmt/format.h>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;

constexpr Duration kDrainTime = milliseconds(1000); // for leases in flight before a login that may disturb them
constexpr Duration kCanaryInterval = milliseconds(1000);
constexpr std::uint32_t kFailuresToProbe = 3; // in a row
constexpr Duration kLastResortAfter = std::chrono::seconds(5), kLastResortInterval = Module::kRestartInterval;

// A slot that nobody uses is looked at all the same: what died is known, and connected again, before it is wanted. With
// jitter, so that many clients of one HSM do not come at once.
Duration probe_pause(Duration interval) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const Duration::rep fifth = interval.count() / 5;
  return interval + Duration(std::uniform_int_distribution<Duration::rep>(-fifth, fifth)(random));
}

// Are sessions, login or token in doubt after this?
bool casts_doubt(SlotFate fate) {
  return fate == SlotFate::kProbeAnchor || fate == SlotFate::kLogin || fate == SlotFate::kLost ||
         fate == SlotFate::kModuleLost;
}

} // namespace

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
      lock.unlock();
      wake = next_look();
      lock.lock();
      if (now >= wake) return Work::kCanary;
      if (now >= probe_at_) {
        probe_at_ = now + probe_pause(options_.probe_interval);
        return Work::kProbe;
      }
      wake = std::min(wake, probe_at_);
      if (copies_.wanted()) return Work::kCopies;
      if (copies_.count() > 0) {
        if (now >= refresh_at_) return Work::kRefresh;
        wake = std::min(wake, refresh_at_);
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
    case Work::kCanary: look_at_health(); break;
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

Result<TokenIdentity> Slot::Keeper::find_token() {
  Result<std::vector<TokenIdentity>> tokens = read_tokens(*module_);
  if (!tokens && tokens.error().rv == CKR_CRYPTOKI_NOT_INITIALIZED) {
    HSMUX_CHECK(module_->initialise_again());
    emit({.kind = EventKind::kModuleInitialised, .slot = {}, .call = call_name(Call::kInitialize)});
    tokens = read_tokens(*module_);
  }
  if (!tokens) return fail(std::move(tokens).error());
  return select_token(options_.selector, *tokens);
}

// Some modules find a token that was away only after they were initialised anew.
void Slot::Keeper::try_last_resort(const Error& error) {
  const TimePoint now = MonotonicClock::now();
  if (!down_since_) down_since_ = now;
  const bool patient = now - *down_since_ < kLastResortAfter || now < restart_at_;
  if (!options_.restart_module || patient || error.kind == ErrorKind::kCredentials) return;
  restart_at_ = now + kLastResortInterval;
  const Status restarted = module_->restart();
  if (!restarted && restarted.error().kind == ErrorKind::kUnavailable) return; // not done
  emit({.kind = EventKind::kModuleInitialised,
        .slot = {},
        .call = call_name(Call::kInitialize),
        .rv = restarted ? 0 : restarted.error().rv});
}

Status Slot::Keeper::try_connect() {
  if (module_->forked()) return fail(ErrorKind::kForked, "this process is a fork of the one that opened the engine");
  HSMUX_TRY(TokenIdentity token, find_token());
  anchor_.reset();
  HSMUX_TRY(Session anchor, Session::open(module_, token.slot_id, name_, options_.read_write));
  {
    // A login may end other sessions' operations (PKCS#11 5.6.6): those in flight get a moment.
    std::unique_lock lock(mutex_);
    token_ = token;
    changed_.wait_for(lock, kDrainTime, [this] { return stop_ || pool_.stats().leased == 0; });
  }
  if (logs_in()) {
    HSMUX_TRY(token, read_token(*module_, token.slot_id));
    HSMUX_CHECK(login(anchor, token, pin_ ? &*pin_ : nullptr,
                      {.allow_count_low = options_.allow_pin_count_low, .at_the_token = options_.login_at_token},
                      *name_, events_));
    anchor.expect_login();
  }
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
  anchor_.reset(); // of a login that failed
  try_last_resort(error);
  const bool latch = error.kind == ErrorKind::kCredentials;
  {
    const std::lock_guard lock(mutex_);
    last_error_ = connect_error_ = error;
    connect_at_ = MonotonicClock::now() + connect_pause_.next();
    if (latch && !stop_) state_ = SlotState::kLatched;
    changed_.notify_all();
  }
  if (latch) tell_health([](SlotHealth& health, TimePoint) { health.latched(); });
  if (latch && capacity_freed_) capacity_freed_();
}

void Slot::Keeper::connected() {
  connect_pause_.reset();
  open_pause_.reset();
  down_since_.reset();
  failures_ = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!stop_) state_ = SlotState::kReady;
    doubtful_ = false;
    connect_error_.reset();
    probe_ = lost_ = false;
    open_at_ = {};
    probe_at_ = MonotonicClock::now() + probe_pause(options_.probe_interval);
    changed_.notify_all();
  }
  emit({.kind = EventKind::kSlotReady, .slot = {}});
  tell_health([](SlotHealth& health, TimePoint now) { health.connected(now); });
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
  tell_health([](SlotHealth& health, TimePoint) { health.lost(); });
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
  if (lost || (logs_in() && !user)) {
    Error why = make_error(ErrorKind::kUnavailable, user ? "the token was lost" : "the login was lost");
    why.slot = *name_;
    return lose(false, std::move(why));
  }
  // Sessions may live on in a module that has lost its token (SoftHSM 2.6.1 without its files).
  if (Result<TokenIdentity> there = read_token(*module_, token().slot_id); !there) {
    const SlotFate fate = disposition(there.error().status()).slot;
    if (fate == SlotFate::kFailure || casts_doubt(fate)) return lose(false, std::move(there).error());
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
  if (!logs_in()) return session;
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
  emit({.kind = EventKind::kSessionOpenFailed,
        .slot = {},
        .call = call_name(error.call),
        .rv = error.rv,
        .status = error.kind});
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
    // What came back after it was given up on does not show that the slot is well.
    if (!health_quiet_.load(std::memory_order_relaxed) && !lease.written_off()) [[unlikely]]
      succeeded();
    return pool_.finish(std::move(lease), status);
  }
  const Disposition row = disposition(status);
  if (row.slot == SlotFate::kFailure) failed(row);
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
    std::string flight = lease->flight();
    emit({.kind = EventKind::kSessionDiscarded,
          .slot = {},
          .call = call_name(status.call),
          .rv = status.rv,
          .reason = flight,
          .status = row.kind});
    const std::lock_guard lock(mutex_);
    last_flight_ = std::move(flight);
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
  return KeyHandle{found.front(), false, false};
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

void Slot::Keeper::key_vanished() {
  const std::lock_guard lock(mutex_);
  const TimePoint now = MonotonicClock::now();
  if (now < canary_at_) return;
  canary_at_ = now + kCanaryInterval;
  probe_ = work_ = true;
  changed_.notify_all();
}

void Slot::Keeper::unlatch() {
  hsmux::unlatch(token());
  {
    const std::lock_guard lock(mutex_);
    if (state_ != SlotState::kLatched) return;
    state_ = SlotState::kConnecting;
    connect_at_ = {};
    work_ = true;
    changed_.notify_all();
  }
  tell_health([](SlotHealth& health, TimePoint) { health.lost(); });
}

SlotStats Slot::Keeper::stats() const {
  SlotStats stats;
  stats.state = state_;
  stats.epoch = epoch_;
  stats.sessions = pool_.stats();
  stats.session_copies = copies_.count();
  {
    const std::lock_guard lock(health_mutex_);
    stats.health = health_.state();
    stats.cause = health_.cause();
    stats.wrong_results = wrong_results_;
  }
  const std::lock_guard lock(mutex_);
  stats.last_error = last_error_;
  stats.last_flight = last_flight_;
  return stats;
}

} // namespace hsmux
