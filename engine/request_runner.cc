#include "engine/request_runner.h"

#include <fmt/format.h>

namespace hsmux {

static_assert(kAlgorithmCount < kOtherWork);

void RequestRunner::emit(EventKind kind, std::size_t slot, const Work& work, CallStatus status,
                         Duration duration) const {
  if (!events_) return;
  events_({.kind = kind,
           .slot = group_.slots[slot]->name(),
           .call = call_name(status.call),
           .rv = status.rv,
           .algorithm = work.spec.name,
           .duration = duration});
}

Result<RoutedLease> RequestRunner::lease(SlotSet eligible, SlotSet avoid, Deadline deadline, WorkClass work,
                                         const std::optional<Error>& before) {
  // Another slot where one is up; a slot that is down is no reason to leave a working one.
  const SlotSet others = eligible & ~avoid & group_.ready();
  Result<RoutedLease> routed = group_.router.lease(others != 0 ? others : eligible, deadline, work);
  if (!routed && before && routed.error().kind == ErrorKind::kTimeout) {
    routed.error().message += fmt::format("; the attempt before failed: {}", before->text());
  }
  return routed;
}

RequestRunner::Outcome RequestRunner::try_once(const Work& work, RoutedLease& routed, bool copies,
                                               const OneAttempt& attempt) {
  Slot& slot = *group_.slots[routed.slot];
  SlotRecipes& recipes = group_.recipes[routed.slot];
  Result<const RecipeChoice*> choice = recipes.get(work.spec, slot, routed.lease);
  if (!choice) return {fail(std::move(choice).error())};
  if ((*choice)->recipe == nullptr) {
    return {fail(ErrorKind::kUnsupported, (*choice)->reason), Blame::kSlotHasNoRecipe};
  }
  const Result<KeyHandle> handle = slot.key_handle(routed.lease, work.key.object_class, work.key.id, copies);
  if (!handle) {
    const bool absent = handle.error().kind == ErrorKind::kKeyNotFound && handle.error().rv == 0;
    return {fail(handle.error()), absent ? Blame::kSlotHasNoKey : Blame::kAttempt};
  }
  const TimePoint start = events_ ? MonotonicClock::now() : TimePoint{};
  Result<std::size_t> result = attempt(*(*choice)->recipe, recipes.quirks(), *routed.lease, handle->handle);
  if (events_) {
    emit(EventKind::kOperation, routed.slot, work, result ? CallStatus{} : result.error().status(),
         MonotonicClock::now() - start);
  }
  return {std::move(result), Blame::kAttempt, handle->is_copy};
}

Result<std::size_t> RequestRunner::run(const Work& work, const OneAttempt& attempt) {
  SlotSet eligible = work.eligible;
  SlotSet avoid = 0;
  const auto work_class = static_cast<WorkClass>(work.spec.algorithm);
  bool copies = true;
  Attempts attempts;
  std::optional<Error> last;
  while (true) {
    HSMUX_TRY(RoutedLease routed, lease(eligible, avoid, work.deadline, work_class, last));
    const std::size_t slot = routed.slot;
    Outcome outcome = try_once(work, routed, copies, attempt);
    const CallStatus status = outcome.result ? CallStatus{} : outcome.result.error().status();
    group_.router.finish(std::move(routed), status, outcome.result.has_value());
    if (outcome.result) return outcome.result;

    Error error = std::move(outcome.result).error();
    if (error.kind == ErrorKind::kDecryptFailed) return fail(decrypt_failed()); // alike, whatever the module said
    if (error.slot.empty()) error.slot = group_.slots[slot]->name();
    if (outcome.blame != Blame::kAttempt) {
      if (outcome.blame == Blame::kSlotHasNoKey) index_.clear(); // deleted by somebody else: looked up anew
      eligible &= ~slot_bit(slot);
      if (eligible == 0) return fail(std::move(error));
      continue;
    }
    ++attempts.made;
    attempts.by_copy = outcome.by_copy;
    switch (next_step(error, attempts, true, work.deadline, MonotonicClock::now())) {
    case Step::kGiveUp:
      if (attempts.made > 1) error.message += fmt::format(" (attempt {})", attempts.made);
      return fail(std::move(error));
    case Step::kFindAgain:
      group_.slots[slot]->forget_key(work.key.object_class, work.key.id);
      attempts.found_again = true;
      avoid = 0;
      break;
    case Step::kWithKey:
      group_.slots[slot]->forget_key(work.key.object_class, work.key.id);
      copies = false;
      avoid = 0;
      break;
    case Step::kElsewhere: avoid = slot_bit(slot); break;
    }
    emit(EventKind::kRetry, slot, work, status, {});
    last = std::move(error);
  }
}

Status RequestRunner::run_plain(SlotSet eligible, Deadline deadline, const std::function<Status(Session&)>& attempt) {
  SlotSet avoid = 0;
  Attempts attempts;
  std::optional<Error> last;
  while (true) {
    HSMUX_TRY(RoutedLease routed, lease(eligible, avoid, deadline, kOtherWork, last));
    const std::size_t slot = routed.slot;
    Status result = attempt(*routed.lease);
    group_.router.finish(std::move(routed), result ? CallStatus{} : result.error().status(), false);
    if (result) return {};
    ++attempts.made;
    if (next_step(result.error(), attempts, true, deadline, MonotonicClock::now()) != Step::kElsewhere) return result;
    avoid = slot_bit(slot);
    last = result.error();
  }
}

} // namespace hsmux
