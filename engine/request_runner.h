// Carries one request out: attempts over leases until one succeeds, none makes sense any more, or the deadline passes.
// Thread-safe; works on the caller's thread.
#pragma once

#include <functional>

#include "engine/attempt.h"
#include "engine/key_index.h"
#include "metrics/events.h"

namespace hsmux {

struct Work {
  const Key& key;
  const AlgorithmSpec& spec;
  Operation operation;
  SlotSet eligible; // slots that may do it
  Deadline deadline;
};

// What one attempt does with a session: the bytes written.
using OneAttempt =
    std::function<Result<std::size_t>(const RecipeSpec&, const Quirks&, Session&, ObjectHandle key_handle)>;

class RequestRunner {
public:
  RequestRunner(SlotGroup& group, KeyIndex& index, const EventSink& events)
      : group_(group), index_(index), events_(events) {}

  Result<std::size_t> run(const Work& work, const OneAttempt& attempt);
  // The same without key and recipe.
  Status run_plain(SlotSet eligible, Deadline deadline, const std::function<Status(Session&)>& attempt);

private:
  enum class Blame : std::uint8_t { kAttempt, kSlotHasNoRecipe, kSlotHasNoKey };
  struct Outcome {
    Result<std::size_t> result;
    Blame blame = Blame::kAttempt;
    bool by_copy = false; // worked on a session copy of the key
  };
  Outcome try_once(const Work& work, RoutedLease& routed, bool copies, const OneAttempt& attempt);
  Result<RoutedLease> lease(SlotSet eligible, SlotSet avoid, Deadline deadline, WorkClass work,
                            const std::optional<Error>& before);
  void emit(EventKind kind, std::size_t slot, const Work& work, CallStatus status, Duration duration) const;

  SlotGroup& group_;
  KeyIndex& index_;
  const EventSink& events_;
};

} // namespace hsmux
