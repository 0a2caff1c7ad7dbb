#include "engine/request_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hsmux {

static_assert(kAlgorithmCount < kOtherWork);

namespace {

Call call_of(Operation operation) {
  switch (operation) {
  case Operation::kSign: return Call::kSign;
  case Operation::kDecrypt: return Call::kDecrypt;
  case Operation::kEncrypt: return Call::kEncrypt;
  }
  return Call::kNone;
}

// Another slot where one is up; a slot that is down is no reason to leave a working one.
SlotSet elsewhere(const SlotGroup& group, SlotSet eligible, SlotSet avoid) {
  const SlotSet others = avoid == 0 ? 0 : eligible & ~avoid & group.ready();
  return others != 0 ? others : eligible;
}

} // namespace

void RequestRunner::emit(EventKind kind, std::size_t slot, const Work& work, const Error* error, Duration duration,
                         Duration waited) const {
  if (!events_) return;
  events_({.kind = kind,
           .slot = group_.slots[slot]->name(),
           .call = call_name(error == nullptr ? Call::kNone : error->call),
           .rv = error == nullptr ? 0 : error->rv,
           .algorithm = work.spec->name,
           .duration = duration,
           .status = error == nullptr ? ErrorKind{} : error->kind,
           .operation = operation_name(work.operation),
           .waited = waited});
}

Router::Demand RequestRunner::demand(const Work& work, const Progress& progress) const {
  const SlotSet eligible = elsewhere(group_, progress.eligible, progress.avoid);
  return {.eligible = eligible,
          .deadline = work.deadline,
          .work = work.work_class(),
          .flow = work.flow(),
          .wait = eligible == progress.eligible ? Router::Wait::kUntilBack : Router::Wait::kWhileReady};
}

bool RequestRunner::asks_again(Progress& progress, const Error& error) {
  const bool gone = error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kCredentials;
  return gone && std::exchange(progress.avoid, 0) != 0;
}

Error RequestRunner::explained(Error error, const Progress& progress) {
  if (progress.last && error.kind == ErrorKind::kTimeout) {
    error.message += fmt::format("; the attempt before failed: {}", progress.last->text());
  }
  return error;
}

RequestRunner::Outcome RequestRunner::attempt(const Work& work, RoutedLease& routed, bool copies,
                                              std::span<std::uint8_t> out) {
  Slot& slot = *group_.slots[routed.slot];
  SlotRecipes& recipes = group_.recipes[routed.slot];
  Result<const RecipeChoice*> choice = recipes.get(*work.spec, slot, routed.lease);
  if (!choice) return {fail(std::move(choice).error())};
  if ((*choice)->recipe == nullptr) {
    return {fail(ErrorKind::kUnsupported, (*choice)->reason), Blame::kSlotHasNoRecipe};
  }
  const bool by_copy = copies && !work.key->always_authenticate;
  const Result<KeyHandle> handle = slot.key_handle(routed.lease, work.key->object_class, work.key->id, by_copy);
  if (!handle) {
    const bool absent = handle.error().kind == ErrorKind::kKeyNotFound && handle.error().rv == 0;
    return {fail(handle.error()), absent ? Blame::kSlotHasNoKey : Blame::kAttempt};
  }
  if (work.key->always_authenticate) [[unlikely]]
    routed.lease->set_before_operation([&slot](Session& session) { return slot.login_for_operation(session); });
  const TimePoint start = events_ ? MonotonicClock::now() : TimePoint{};
  Result<std::size_t> result =
      carry_out(work, *(*choice)->recipe, recipes.quirks(), *routed.lease, handle->handle, out);
  if (events_) {
    emit(EventKind::kOperation, routed.slot, work, result ? nullptr : &result.error(), MonotonicClock::now() - start,
         routed.since - routed.asked);
  }
  if (work.key->always_authenticate) [[unlikely]]
    routed.lease->set_before_operation({});
  if (result && self_check_.wanted(work, routed.slot, *handle)) [[unlikely]]
    return checked(work, routed, *handle, out, *result);
  return {std::move(result), Blame::kAttempt, handle->is_copy};
}

// A wrong signature stays here. Its session goes, its handle is looked up anew, the slot must show that it is well.
RequestRunner::Outcome RequestRunner::checked(const Work& work, RoutedLease& routed, const KeyHandle& handle,
                                              std::span<std::uint8_t> out, std::size_t written) {
  Slot& slot = *group_.slots[routed.slot];
  Status right = self_check_.verify(work, routed.slot, ByteView(out).first(written));
  if (right) {
    if (!handle.verified) slot.mark_verified(routed.lease, work.key->object_class, work.key->id, handle.handle);
    return {written, Blame::kAttempt, handle.is_copy};
  }
  std::ranges::fill(out, std::uint8_t{0});
  routed.lease->distrust();
  slot.forget_key(work.key->object_class, work.key->id);
  slot.wrong_result(Call::kSign);
  return {fail(std::move(right).error()), Blame::kWrongResult, handle.is_copy};
}

void RequestRunner::drop(RoutedLease routed, const Outcome& outcome) {
  const CallStatus status = outcome.result ? CallStatus{} : outcome.result.error().status();
  group_.router.finish(std::move(routed), status, outcome.result.has_value());
}

std::optional<Result<std::size_t>> RequestRunner::conclude(const Work& work, Progress& progress, RoutedLease routed,
                                                           Outcome outcome) {
  const std::size_t slot = routed.slot;
  drop(std::move(routed), outcome);
  if (outcome.result) {
    retries_.put_back();
    return std::move(outcome.result);
  }

  Error error = std::move(outcome.result).error();
  if (error.kind == ErrorKind::kDecryptFailed) return fail(decrypt_failed()); // alike, whatever the module said
  if (error.slot.empty()) error.slot = group_.slots[slot]->name();
  if (outcome.blame == Blame::kSlotHasNoKey || outcome.blame == Blame::kSlotHasNoRecipe) {
    if (outcome.blame == Blame::kSlotHasNoKey) {
      index_.clear(); // deleted by somebody else: looked up anew
      group_.slots[slot]->key_vanished();
    }
    progress.eligible &= ~slot_bit(slot);
    if (progress.eligible == 0) return fail(std::move(error));
    return std::nullopt;
  }
  Attempts& attempts = progress.attempts;
  ++attempts.made;
  attempts.by_copy = outcome.by_copy;
  attempts.found_again = (progress.found_again & slot_bit(slot)) != 0;
  // Where each try is a login, none is made by itself.
  const bool repeatable = !work.key->always_authenticate;
  switch (next_step(error, attempts, repeatable, work.deadline, MonotonicClock::now())) {
  case Step::kGiveUp:
    if (attempts.made > 1) error.message += fmt::format(" (attempt {})", attempts.made);
    return fail(std::move(error));
  case Step::kFindAgain:
    group_.slots[slot]->forget_key(work.key->object_class, work.key->id);
    progress.found_again |= slot_bit(slot);
    progress.avoid = progress.eligible & ~slot_bit(slot); // the same one again, while it is up
    break;
  case Step::kWithKey:
    group_.slots[slot]->forget_key(work.key->object_class, work.key->id);
    progress.copies = false;
    progress.avoid = progress.eligible & ~slot_bit(slot); // the same one again, while it is up
    break;
  case Step::kElsewhere:
    if (!retries_.take()) {
      error.message += "; it is not tried again: too large a share of the requests fails";
      return fail(std::move(error));
    }
    progress.avoid = avoid_next(progress.eligible, progress.avoid, slot_bit(slot));
    break;
  }
  emit(EventKind::kRetry, slot, work, &error, {});
  progress.last = std::move(error);
  return std::nullopt;
}

Result<std::size_t> RequestRunner::run(const Work& work, std::span<std::uint8_t> out) {
  Progress progress = begin(work);
  while (true) {
    Result<RoutedLease> routed = group_.router.lease(demand(work, progress));
    if (!routed && asks_again(progress, routed.error())) continue;
    if (!routed) return fail(explained(std::move(routed).error(), progress));
    Outcome outcome = attempt(work, *routed, progress.copies, out);
    if (auto result = conclude(work, progress, std::move(*routed), std::move(outcome))) return std::move(*result);
  }
}

Error RequestRunner::overdue(const Work& work, std::size_t slot, Duration after) const {
  const Slot& where = *group_.slots[slot];
  Error error = make_error(ErrorKind::kTimeout,
                           fmt::format("the module {} has not returned from {} for {} ms", where.module().path(),
                                       call_name(call_of(work.operation)),
                                       std::chrono::duration_cast<std::chrono::milliseconds>(after).count()),
                           Retry::kElsewhere);
  error.call = call_of(work.operation);
  error.slot = where.name();
  return error;
}

void RequestRunner::tell_overdue(const Work& work, std::size_t slot, Duration after) const {
  if (!events_) return;
  const Error error = overdue(work, slot, after);
  emit(EventKind::kOverdue, slot, work, &error, after);
}

Status RequestRunner::run_plain(SlotSet eligible, Deadline deadline, const std::function<Status(Session&)>& attempt) {
  Progress progress{.eligible = eligible, .attempts = {}, .last = {}};
  while (true) {
    Result<RoutedLease> routed =
        group_.router.lease({.eligible = elsewhere(group_, progress.eligible, progress.avoid), .deadline = deadline});
    if (!routed) return fail(explained(std::move(routed).error(), progress));
    const std::size_t slot = routed->slot;
    Status result = attempt(*routed->lease);
    group_.router.finish(std::move(*routed), result ? CallStatus{} : result.error().status(), false);
    if (result) return {};
    ++progress.attempts.made;
    const Step step = next_step(result.error(), progress.attempts, true, deadline, MonotonicClock::now());
    if (step != Step::kElsewhere) return result;
    progress.avoid = avoid_next(progress.eligible, progress.avoid, slot_bit(slot));
    progress.last = result.error();
  }
}

} // namespace hsmux
