#include "engine/crypto_job.h"

#include <utility>

#include "mechanisms/secure_bytes.h"

namespace hsmux {
namespace {

// A look-up ends by its own deadline, with a better error than ours; this much later it hangs.
constexpr Duration kGrace = std::chrono::milliseconds(50);

} // namespace

CryptoOrder::CryptoOrder(const SignRequest& request, Deadline until)
    : operation(Operation::kSign), algorithm(request.algorithm), key(request.key), slot(request.options.slot),
      data(copy_of(request.message)), prehashed(request.prehashed), deadline(until) {}

CryptoOrder::CryptoOrder(const DecryptRequest& request, Deadline until)
    : operation(Operation::kDecrypt), algorithm(request.algorithm), key(request.key), slot(request.options.slot),
      data(copy_of(request.ciphertext)), aad(copy_of(request.aad)), bound_to(request.bound_to.value_or(Bytes())),
      deadline(until) {}

CryptoOrder::CryptoOrder(const EncryptRequest& request, Deadline until)
    : operation(Operation::kEncrypt), algorithm(request.algorithm), key(request.key), slot(request.options.slot),
      data(copy_of(request.plaintext)), aad(copy_of(request.aad)), deadline(until) {}

CryptoJob::CryptoJob(Engine::Core& core, CryptoOrder order, Completion<Bytes> done)
    : core_(core), order_(std::move(order)), done_(std::move(done)) {
  expires = order_.deadline.at();
}

CryptoJob::~CryptoJob() {
  if (order_.operation == Operation::kEncrypt) wipe(order_.data);
}

// --- in submit() ---

Status CryptoJob::prepare() {
  if (order_.deadline.passed(MonotonicClock::now())) {
    return fail(ErrorKind::kTimeout, "the deadline had passed before the request could start", Retry::kLater);
  }
  HSMUX_CHECK(check_operation(spec_of(order_.algorithm), order_.operation));
  std::shared_ptr<const Key> key = core_.index.known(order_.key);
  return key == nullptr ? Status() : use_key(std::move(key));
}

Status CryptoJob::start() {
  if (work_.key == nullptr) {
    core_.workers.run(shared_from_this(), Workers::Lane::kErrands);
    return {};
  }
  if (std::optional<Error> error = proceed()) return fail(std::move(*error));
  return {};
}

Status CryptoJob::use_key(std::shared_ptr<const Key> key) {
  const AlgorithmSpec& spec = spec_of(order_.algorithm);
  const Result<SlotSet> slots = core_.usable_slots(*key, order_.key, spec, order_.operation, order_.slot);
  if (!slots) {
    core_.audit->refused(operation_name(order_.operation), order_.key, spec.name, slots.error());
    return fail(slots.error());
  }
  work_.spec = &spec;
  work_.operation = order_.operation;
  work_.eligible = *slots;
  work_.deadline = order_.deadline;
  work_.key = std::move(key);
  HSMUX_CHECK(core_.prepare(work_, order_.data, order_.aad, order_.bound_to, order_.prehashed));
  progress_ = RequestRunner::begin(work_);
  return {};
}

// --- waiting ---

std::optional<Error> CryptoJob::proceed() {
  const std::shared_ptr<Task> self = shared_from_this();
  waiting_ = self;
  Result<std::optional<RoutedLease>> leased =
      core_.group.router.lease_or_wait(core_.runner.demand(work_, progress_), *this);
  if (!leased) {
    waiting_.reset();
    if (RequestRunner::asks_again(progress_, leased.error())) return proceed();
    return RequestRunner::explained(std::move(leased).error(), progress_);
  }
  if (!*leased) { // from here on others have it
    core_.workers.watch(order_.deadline.at());
    return std::nullopt;
  }
  waiting_.reset();
  granted.emplace(std::move(**leased));
  core_.workers.run(self, Workers::Lane::kLeases);
  return std::nullopt;
}

void CryptoJob::served() {
  std::shared_ptr<Task> self = std::move(waiting_);
  if (refused) {
    Error why = *std::exchange(refused, std::nullopt);
    if (!RequestRunner::asks_again(progress_, why))
      return end(fail(RequestRunner::explained(std::move(why), progress_)));
    if (std::optional<Error> error = proceed()) end(fail(std::move(*error)));
    return;
  }
  core_.workers.run(std::move(self), Workers::Lane::kLeases);
}

bool CryptoJob::cancel() {
  if (core_.forked()) return false;
  if (core_.group.router.withdraw(*this)) {
    waiting_.reset();
  } else if (!core_.workers.withdraw(shared_from_this(), Workers::Lane::kErrands)) {
    return false;
  }
  end(fail(ErrorKind::kCancelled, "the request was cancelled before it started"));
  return true;
}

void CryptoJob::expire() {
  if (granted) core_.group.router.finish(*std::exchange(granted, std::nullopt), {}, false);
  end(core_.closed()
          ? fail(ErrorKind::kClosed, "the engine was closed while the request waited")
          : fail(ErrorKind::kTimeout, "the deadline passed while the request waited for a thread", Retry::kLater));
}

// --- on a worker ---

void CryptoJob::run() {
  if (work_.key == nullptr) {
    look_for_key();
  } else {
    attempt();
  }
}

void CryptoJob::look_for_key() {
  const std::shared_ptr<Task> self = shared_from_this();
  began_ = MonotonicClock::now();
  Workers::Watched watched(core_.workers, *this, order_.deadline.later_by(kGrace));
  Result<std::shared_ptr<const Key>> key = core_.index.find(order_.key, order_.deadline);
  if (!watched.end()) return;
  if (!key) {
    core_.audit->refused(operation_name(order_.operation), order_.key, spec_of(order_.algorithm).name, key.error());
    return complete(fail(std::move(key).error()));
  }
  if (const Status usable = use_key(std::move(*key)); !usable) return complete(fail(usable.error()));
  if (std::optional<Error> error = proceed()) complete(fail(std::move(*error)));
}

void CryptoJob::attempt() {
  const std::shared_ptr<Task> self = shared_from_this();
  RoutedLease routed = *std::exchange(granted, std::nullopt);
  Bytes out(work_.output_bytes_max);
  began_ = MonotonicClock::now();
  limit_ = attempt_limit(core_.group.router.slow(routed.slot, work_.work_class()), core_.config.submit.attempt_limit,
                         order_.deadline, began_);
  slot_ = routed.slot;
  waited_ += std::max(began_ - routed.asked, Duration::zero());
  lease_ = &routed;
  Workers::Watched watched(core_.workers, *this, began_ + limit_);
  RequestRunner::Outcome outcome = core_.runner.attempt(work_, routed, progress_.copies, out);
  if (!watched.end()) { // the job has gone on without us
    core_.runner.drop(std::move(routed), outcome);
    return wipe(out);
  }
  lease_ = nullptr;
  if (auto result = core_.runner.conclude(work_, progress_, std::move(routed), std::move(outcome))) {
    if (!*result) {
      wipe(out);
      return complete(fail(std::move(*result).error()));
    }
    out.resize(**result);
    return complete(std::move(out));
  }
  wipe(out);
  if (std::optional<Error> error = proceed()) complete(fail(std::move(*error)));
}

// --- on the watch ---

std::optional<TimePoint> CryptoJob::late(TimePoint now, bool closing) {
  if (closing) {
    verdict_ = Verdict::kClosed;
  } else if (order_.deadline.passed(now)) {
    verdict_ = Verdict::kTimedOut;
  } else {
    // Only where another slot can do it: with this one alone, twice the work would be twice the trouble.
    const SlotSet tried = progress_.avoid | (lease_ == nullptr ? 0 : slot_bit(lease_->slot));
    const bool elsewhere = lease_ != nullptr && (progress_.eligible & ~tried & core_.group.ready()) != 0;
    if (!elsewhere || progress_.attempts.made + 1 >= kAttemptsMax) {
      return std::min(order_.deadline.at(), now + std::max(limit_, kGrace));
    }
    verdict_ = Verdict::kElsewhere;
  }
  limit_ = now - began_;
  left_slot_.reset();
  if (lease_ == nullptr) return std::nullopt;
  left_slot_ = lease_->slot;
  left_counts_ = core_.group.router.write_off(*lease_);
  lease_ = nullptr;
  return std::nullopt;
}

void CryptoJob::go_on() {
  Error error = make_error(ErrorKind::kTimeout, "the module has not returned from looking for the key", Retry::kLater);
  if (left_slot_) {
    if (left_counts_) core_.group.slots[*left_slot_]->overdue();
    core_.group.router.capacity_freed(*left_slot_);
    core_.runner.tell_overdue(work_, *left_slot_, limit_);
    error = core_.runner.overdue(work_, *left_slot_, limit_);
  }
  switch (verdict_) {
  case Verdict::kElsewhere:
    ++progress_.attempts.made;
    progress_.avoid |= slot_bit(*left_slot_);
    progress_.last = std::move(error);
    if (std::optional<Error> why = proceed()) end(fail(std::move(*why)));
    return;
  case Verdict::kTimedOut: error.retry = Retry::kLater; break;
  case Verdict::kClosed:
    error.kind = ErrorKind::kClosed;
    error.retry = Retry::kNever;
    error.message = "the engine was closed, and " + error.message;
    break;
  }
  end(fail(std::move(error)));
}

// --- the end ---

namespace {
// Of the request whose completion runs on this thread.
thread_local const RequestStory* story_on_this_thread = nullptr;
} // namespace

std::optional<RequestStory> Engine::story() {
  return story_on_this_thread == nullptr ? std::nullopt : std::optional(*story_on_this_thread);
}

void CryptoJob::complete(Result<Bytes> result) {
  tell(result ? nullptr : &result.error());
  RequestStory told{.slot = slot_, .attempts = progress_.attempts.made, .waited = waited_};
  if (result) ++told.attempts; // those that failed are counted already
  story_on_this_thread = &told;
  std::exchange(done_, nullptr)(std::move(result));
  story_on_this_thread = nullptr;
  core_.job_ended();
}

void CryptoJob::tell(const Error* error) const {
  core_.tell_request(order_.operation, order_.algorithm, MonotonicClock::now() - asked_at_, error);
}

void CryptoJob::end(Result<Bytes> result) {
  core_.workers.run(std::make_shared<Ending>([self = shared_from_this(), this, result = std::move(result)]() mutable {
                      complete(std::move(result));
                    }),
                    Workers::Lane::kEndings);
}

} // namespace hsmux
