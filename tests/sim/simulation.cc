#include "tests/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "slots/pkcs11.h"

namespace hsmux::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kService = milliseconds(2), kSlowService = seconds(3), kReconnect = milliseconds(300);
constexpr std::uint32_t kSessionsMax = 4;

struct Fault {
  FaultKind kind{};
  TimePoint until{};
  std::uint32_t share = 1; // one in so many calls meets it
};

struct ModelSession {
  std::uint64_t epoch = 0, handle_epoch = 0; // of itself, and of the key handle that is used with it
  bool busy = false, dead = false, written_off = false;
};

struct ModelSlot {
  SlotHealth health;
  std::uint64_t epoch = 0, handle_epoch = 0, opened = 0, discarded = 0;
  bool connected = false, latched = false, removed = false, drained = false, doubtful = false;
  std::uint32_t sessions_max = kSessionsMax, in_flight = 0;
  std::vector<ModelSession> sessions; // those that are in use or idle; never shrinks below what is busy
  std::vector<Fault> faults;
  std::optional<TimePoint> last_canary;
  TimePoint look_at{}; // an event is due then
};

struct Request {
  Deadline deadline{TimePoint::max()};
  bool bad_data = false;
  SlotSet avoid = 0, found_again = 0;
  Attempts attempts{};
  std::uint32_t ended = 0;
  bool waiting = false, failed = false;
  std::string last;          // why the last attempt failed
  std::uint64_t attempt = 0; // the number of the one that counts: a late answer of another is dropped
};

struct Event {
  TimePoint at;
  std::uint64_t number;
  std::function<void()> what;
  bool operator<(const Event& other) const {
    return at != other.at ? at > other.at : number > other.number; // the earliest on top
  }
};

class World {
public:
  explicit World(const Plan& plan) : plan_(plan), random_(plan.seed), slots_(plan.slots) {}

  Outcome run() {
    for (std::size_t i = 0; i < slots_.size(); ++i) connect(i);
    TimePoint at = now_;
    for (int i = 0; i < 400; ++i) {
      at += microseconds(uniform(200, 60'000));
      after(at - now_, [this] { arrive(); });
      if (i % 6 == 5) after(at - now_, [this] { play(); });
    }
    while (!events_.empty() && !outcome_.broken) {
      Event event = events_.top();
      events_.pop();
      if (now_ < event.at) now_ = event.at;
      event.what();
      for (std::size_t i = 0; i < slots_.size(); ++i) look(i);
      serve();
      check();
      if (++steps_ > 200'000) broken("it never ends");
    }
    for (const Request& request : requests_) {
      if (request.ended != 1) broken(fmt::format("a request ended {} times", request.ended));
    }
    outcome_.requests = requests_.size();
    return outcome_;
  }

private:
  std::uint64_t uniform(std::uint64_t low, std::uint64_t high) { return low + random_() % (high - low + 1); }
  void after(Duration time, std::function<void()> what) { events_.push({now_ + time, ++numbers_, std::move(what)}); }
  void broken(const std::string& what) {
    if (!outcome_.broken) {
      outcome_.broken = fmt::format("{} (at {} ms, step {})", what,
                                    std::chrono::duration_cast<milliseconds>(now_ - kBegin).count(), steps_);
    }
  }
  void count(FaultKind kind) { ++outcome_.played.at(static_cast<std::size_t>(kind)); }

  // --- slots ---

  void connect(std::size_t i) {
    ModelSlot& slot = slots_[i];
    if (slot.connected || slot.latched) return;
    if (slot.removed) return after(kReconnect, [this, i] { connect(i); });
    slot.connected = true;
    slot.doubtful = false;
    ++slot.epoch;
    slot.health.connected(now_);
  }

  void lose(std::size_t i) {
    ModelSlot& slot = slots_[i];
    if (!slot.connected) return;
    slot.connected = false;
    ++slot.epoch;
    slot.health.lost();
    for (ModelSession& session : slot.sessions) session.dead = session.epoch != 0;
    sweep(slot);
    after(kReconnect, [this, i] { connect(i); });
  }

  static void sweep(ModelSlot& slot) {
    const auto gone = [](const ModelSession& session) { return session.dead && !session.busy && session.epoch != 0; };
    const auto count = static_cast<std::uint64_t>(std::ranges::count_if(slot.sessions, gone));
    // What is busy is named by its place: only the end of the list goes.
    for (ModelSession& session : slot.sessions) {
      if (gone(session)) session = {.epoch = 0, .handle_epoch = 0, .busy = false, .dead = false, .written_off = false};
    }
    slot.discarded += count;
  }

  [[nodiscard]] static bool ready(const ModelSlot& slot) { return slot.connected && !slot.doubtful; }

  std::optional<std::size_t> lend(ModelSlot& slot) {
    if (!ready(slot)) return std::nullopt;
    std::uint32_t busy = 0;
    for (const ModelSession& session : slot.sessions) busy += session.busy && !session.written_off ? 1 : 0;
    if (busy >= slot.sessions_max) return std::nullopt;
    std::size_t place = 0;
    while (place < slot.sessions.size() && (slot.sessions[place].busy || slot.sessions[place].dead)) ++place;
    if (place == slot.sessions.size()) slot.sessions.emplace_back();
    ModelSession& session = slot.sessions[place];
    if (session.epoch != slot.epoch) {
      if (session.epoch != 0) ++slot.discarded; // of another epoch: never lent again
      session = {.epoch = slot.epoch, .handle_epoch = 0, .busy = false, .dead = false, .written_off = false};
      ++slot.opened;
    }
    if (slot.handle_epoch != slot.epoch) slot.handle_epoch = slot.epoch; // the key is found anew
    session.handle_epoch = slot.handle_epoch;
    session.busy = true;
    if (session.handle_epoch != session.epoch) broken("a handle of one epoch is used in another");
    return place;
  }

  void give_back(std::size_t i, std::size_t place, CallStatus status) {
    ModelSlot& slot = slots_[i];
    ModelSession& session = slot.sessions[place];
    const bool current = session.epoch == slot.epoch;
    session.busy = false;
    const Disposition row = disposition(status);
    if (status.rv != CKR_OK && row.session == SessionFate::kDiscard) session.dead = true;
    if (status.rv == CKR_OK && current && !session.written_off) slot.health.succeeded(now_);
    if (row.slot == SlotFate::kFailure) slot.health.failed(now_, row.rv == CKR_VENDOR_DEFINED ? 1 : 2);
    if (session.written_off) session.dead = true;
    sweep(slot);
    if (!current) return;
    if (row.slot == SlotFate::kLost || row.slot == SlotFate::kModuleLost || row.slot == SlotFate::kLogin)
      return lose(i);
    if (row.slot == SlotFate::kProbeAnchor && !slot.doubtful) {
      slot.doubtful = true; // nobody gets another dead one until the anchor was asked
      after(milliseconds(1), [this, i, epoch = slot.epoch] { ask_anchor(i, epoch); });
    }
  }

  void ask_anchor(std::size_t i, std::uint64_t epoch) {
    ModelSlot& slot = slots_[i];
    if (slot.epoch != epoch) return;
    slot.doubtful = false;
    if (active(slot, FaultKind::kAllSessions)) lose(i);
  }

  static const Fault* active(const ModelSlot& slot, FaultKind kind) {
    const auto found = std::ranges::find(slot.faults, kind, &Fault::kind);
    return found == slot.faults.end() ? nullptr : &*found;
  }

  // What the module answers, and when: nullopt: never.
  struct Answer {
    CallStatus status{Call::kSign, CKR_OK};
    Duration time = kService;
    bool wrong = false, hangs = false;
    TimePoint hangs_until{};
  };
  Answer call(std::size_t i, bool bad_data, bool canary) {
    ModelSlot& slot = slots_[i];
    Answer answer;
    if (slot.removed) answer.status.rv = CKR_DEVICE_REMOVED;
    for (Fault& fault : slot.faults) {
      if (fault.until <= now_ || uniform(1, fault.share) != 1) continue;
      switch (fault.kind) {
      case FaultKind::kOneSession:
        answer.status.rv = CKR_SESSION_HANDLE_INVALID;
        fault.until = now_; // once
        break;
      case FaultKind::kAllSessions: answer.status.rv = CKR_SESSION_HANDLE_INVALID; break;
      case FaultKind::kHangs:
        answer.hangs = true;
        answer.hangs_until = fault.until;
        break;
      case FaultKind::kSlow: answer.time = kSlowService; break;
      case FaultKind::kDeviceError: answer.status.rv = CKR_DEVICE_ERROR; break;
      case FaultKind::kVendorCode: answer.status.rv = CKR_VENDOR_DEFINED + 7; break;
      case FaultKind::kBusy: answer.status.rv = CKR_DEVICE_MEMORY; break;
      case FaultKind::kWrongResult: answer.wrong = true; break;
      case FaultKind::kStaleHandle:
        if (canary) continue;
        answer.status.rv = CKR_KEY_HANDLE_INVALID;
        break;
      case FaultKind::kFinalised: answer.status.rv = CKR_CRYPTOKI_NOT_INITIALIZED; break;
      default: continue;
      }
      count(fault.kind);
    }
    if (answer.status.rv == CKR_OK && bad_data && !canary) {
      answer.status = {Call::kDecrypt, CKR_GENERAL_ERROR};
      count(FaultKind::kBadCiphertext);
    }
    return answer;
  }

  void look(std::size_t i) {
    ModelSlot& slot = slots_[i];
    std::erase_if(slot.faults, [this](const Fault& fault) { return fault.until <= now_; });
    if (slot.health.next_look() <= now_) slot.health.tick(now_);
    if (slot.health.canary_due(now_)) begin_canary(i);
    const TimePoint next = slot.health.next_look();
    if (next == TimePoint::max() || next <= now_ || (slot.look_at > now_ && slot.look_at <= next)) return;
    slot.look_at = next;
    after(next - now_, [] {});
  }

  void begin_canary(std::size_t i) {
    ModelSlot& slot = slots_[i];
    if (slot.last_canary && now_ - *slot.last_canary < SlotHealth::kCanaryInterval) broken("canaries come too fast");
    slot.last_canary = now_;
    const std::uint64_t number = slot.health.canary_began(now_);
    const std::optional<std::size_t> place = lend(slot);
    if (!place) return slot.health.canary_put_off(now_, number);
    const Answer answer = call(i, false, true);
    const Duration time = answer.hangs ? answer.hangs_until - now_ : answer.time;
    after(time, [this, i, number, place = *place, answer] {
      const SlotFate fate = disposition(answer.status).slot;
      give_back(i, place, answer.status);
      ModelSlot& asked = slots_[i];
      const bool says = answer.wrong || answer.status.rv == CKR_OK || fate == SlotFate::kFailure;
      if (!says) return asked.health.canary_put_off(now_, number);
      asked.health.canary_ended(now_, number, answer.status.rv == CKR_OK && !answer.wrong);
    });
  }

  // --- requests ---

  void arrive() {
    const std::size_t r = requests_.size();
    Request& request = requests_.emplace_back();
    // With a slot that never fails there is always time enough for every attempt.
    request.deadline = Deadline(now_ + (plan_.spare_slot ? seconds(30) : Duration(milliseconds(uniform(1, 4000)))));
    request.bad_data = uniform(1, 10) == 1;
    request.waiting = true;
    after(request.deadline.at() - now_, [this, r] { expire(r); });
  }

  void end(Request& request, bool good) {
    ++request.ended;
    request.waiting = false;
    ++request.attempt;
    if (now_ > request.deadline.at()) broken("a request ended after its deadline");
    ++(good ? outcome_.succeeded : outcome_.failed);
    if (!good && plan_.spare_slot && !request.bad_data) {
      broken(fmt::format("a request failed after {} attempts though a slot served all the time: {}",
                         request.attempts.made, request.last));
    }
  }

  void expire(std::size_t r) {
    if (requests_[r].ended == 0) end(requests_[r], false);
  }

  [[nodiscard]] SlotSet candidates(const Request& request) const {
    const SlotSet all = slot_bit(slots_.size()) - 1;
    SlotSet others = 0;
    for_each_slot(all & ~request.avoid, [&](std::size_t i) {
      if (ready(slots_[i])) others |= slot_bit(i);
    });
    const SlotSet eligible = request.avoid != 0 && others != 0 ? others : all;
    return preferred_by_health(eligible, [this](std::size_t i) {
      return HealthView{.ready = ready(slots_[i]),
                        .state = slots_[i].health.state(),
                        .room = slots_[i].in_flight < slots_[i].health.in_flight_max()};
    });
  }

  [[nodiscard]] bool has_room(const ModelSlot& slot) const {
    if (!ready(slot)) return false;
    const auto lent = [](const ModelSession& session) { return session.busy && !session.written_off; };
    return std::ranges::count_if(slot.sessions, lent) < slot.sessions_max;
  }

  void serve() {
    const auto room = [this](const ModelSlot& slot) { return has_room(slot); };
    for (std::size_t r = first_waiting_; r < requests_.size(); ++r) {
      if (requests_[r].ended != 0 && r == first_waiting_) ++first_waiting_;
      if (!requests_[r].waiting) continue;
      if (std::ranges::none_of(slots_, room)) return;
      SlotSet from = candidates(requests_[r]);
      while (from != 0 && requests_[r].waiting) {
        const std::size_t i = two_of(from, random_()).first;
        from &= ~slot_bit(i);
        if (const std::optional<std::size_t> place = lend(slots_[i])) attempt(r, i, *place);
      }
    }
  }

  void attempt(std::size_t r, std::size_t i, std::size_t place) {
    Request& request = requests_[r];
    ModelSlot& slot = slots_[i];
    const HealthState state = slot.health.state();
    if (state == HealthState::kDraining || state == HealthState::kLatched) broken("a slot is used that must not be");
    request.waiting = false;
    const std::uint64_t number = ++request.attempt;
    ++slot.in_flight;
    const Answer answer = call(i, request.bad_data, false);
    const Duration limit = attempt_limit(kService, {}, request.deadline, now_);
    const Duration time = answer.hangs ? answer.hangs_until - now_ : answer.time;
    if (time > limit) after(limit, [this, r, i, place, number] { overdue(r, i, place, number); });
    after(time, [this, r, i, place, number, answer] { answered(r, i, place, number, answer); });
  }

  void overdue(std::size_t r, std::size_t i, std::size_t place, std::uint64_t number) {
    Request& request = requests_[r];
    if (request.ended != 0 || request.attempt != number) return;
    const SlotSet others = (slot_bit(slots_.size()) - 1) & ~(request.avoid | slot_bit(i));
    bool elsewhere = false;
    for_each_slot(others, [&](std::size_t other) { elsewhere = elsewhere || ready(slots_[other]); });
    if (!elsewhere || request.attempts.made + 1 >= kAttemptsMax) return; // it waits on
    slots_[i].sessions[place].written_off = true;
    slots_[i].health.overdue(now_);
    ++request.attempts.made;
    request.avoid |= slot_bit(i);
    ++request.attempt;
    request.waiting = true;
  }

  void answered(std::size_t r, std::size_t i, std::size_t place, std::uint64_t number, const Answer& answer) {
    ModelSlot& slot = slots_[i];
    --slot.in_flight;
    if (answer.wrong && answer.status.rv == CKR_OK) {
      slot.sessions[place].dead = true;
      slot.health.wrong_result(now_);
    }
    give_back(i, place, answer.status);
    Request& request = requests_[r];
    if (request.ended != 0 || request.attempt != number) return; // a late answer is dropped
    if (answer.status.rv == CKR_OK && !answer.wrong) {
      budget_.put_back();
      return end(request, true);
    }
    Error error = call_error(answer.status, "slot");
    if (answer.wrong && answer.status.rv == CKR_OK) error = make_error(ErrorKind::kDevice, "wrong", Retry::kElsewhere);
    request.last = error.text();
    ++request.attempts.made;
    request.attempts.found_again = (request.found_again & slot_bit(i)) != 0;
    const Step step = next_step(error, request.attempts, true, request.deadline, now_);
    if (step == Step::kGiveUp || (step == Step::kElsewhere && !budget_.take())) return end(request, false);
    if (step == Step::kFindAgain) {
      request.found_again |= slot_bit(i);
      std::erase_if(slot.faults, [](const Fault& fault) { return fault.kind == FaultKind::kStaleHandle; });
    }
    const SlotSet all = slot_bit(slots_.size()) - 1;
    request.avoid = step == Step::kElsewhere ? avoid_next(all, request.avoid, slot_bit(i)) : all & ~slot_bit(i);
    request.waiting = true;
  }

  // --- faults ---

  void play() {
    const std::size_t first = plan_.spare_slot ? 1 : 0;
    const std::size_t i = uniform(first, slots_.size() - 1);
    ModelSlot& slot = slots_[i];
    const auto kind = static_cast<FaultKind>(uniform(0, kFaultKinds - 1));
    const Duration time = milliseconds(uniform(1, 3000));
    const auto undo = [&](auto what) { after(time, [this, i, what] { what(slots_[i]); }); };
    switch (kind) {
    case FaultKind::kLogin: count(kind); return lose(i);
    case FaultKind::kRemoved:
      count(kind);
      slot.removed = true;
      return undo([](ModelSlot& s) { s.removed = false; });
    case FaultKind::kFewerSessions:
      count(kind);
      slot.sessions_max = 1;
      return undo([](ModelSlot& s) { s.sessions_max = kSessionsMax; });
    case FaultKind::kDrained:
      count(kind);
      slot.health.drain(true);
      return undo([](ModelSlot& s) { s.health.drain(false); });
    case FaultKind::kPinRefused:
      if (slot.latched) return;
      count(kind);
      lose(i);
      slot.latched = true;
      slot.health.latched();
      return after(time, [this, i] { // an operator
        slots_[i].latched = false;
        slots_[i].health.lost();
        connect(i);
      });
    case FaultKind::kBadCiphertext: return; // clients do that all the time
    case FaultKind::kStaleHandle: slot.faults.push_back({kind, now_ + time, 4}); return;
    default: slot.faults.push_back({kind, now_ + time, static_cast<std::uint32_t>(uniform(1, 3))}); return;
    }
  }

  void check() {
    for (const ModelSlot& slot : slots_) {
      std::uint64_t busy = 0, open = 0, written_off = 0;
      for (const ModelSession& session : slot.sessions) {
        busy += session.busy ? 1 : 0;
        written_off += session.written_off && session.busy ? 1 : 0;
        open += session.epoch != 0 ? 1 : 0;
      }
      if (slot.opened != open + slot.discarded) broken("sessions opened are not those open and discarded");
      if (busy - written_off > kSessionsMax) broken("more sessions are lent than there may be");
      if (!slot.connected && !slot.latched && slot.health.state() == HealthState::kHealthy) {
        broken("a slot is healthy that is not connected");
      }
    }
  }

  static constexpr TimePoint kBegin = TimePoint(seconds(1000));
  const Plan plan_;
  std::mt19937_64 random_;
  TimePoint now_ = kBegin;
  std::priority_queue<Event> events_;
  std::uint64_t numbers_ = 0, steps_ = 0;
  std::vector<ModelSlot> slots_;
  std::vector<Request> requests_;
  std::size_t first_waiting_ = 0;
  RetryBudget budget_;
  Outcome outcome_;
};

} // namespace

std::string_view fault_kind_name(FaultKind kind) {
  static constexpr std::array<std::string_view, kFaultKinds> kNames{
      "one session lost", "all sessions lost", "login lost", "token removed",  "hangs",        "slow",
      "device error",     "vendor code",       "busy",       "fewer sessions", "wrong result", "stale handle",
      "finalised",        "bad ciphertext",    "drained",    "PIN refused"};
  return kNames.at(static_cast<std::size_t>(kind));
}

Outcome run(const Plan& plan) { return World(plan).run(); }

} // namespace hsmux::sim
