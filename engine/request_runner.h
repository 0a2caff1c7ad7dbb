// Carries requests out: attempts over leases until one succeeds, none makes sense any more, or the deadline passes. The
// whole on the caller's thread by run(); step by step for submitted work (engine/crypto_job.h). Thread-safe.
#pragma once

#include <functional>

#include "engine/attempt.h"
#include "engine/retry_budget.h"
#include "engine/self_check.h"
#include "engine/work.h"
#include "metrics/events.h"

namespace hsmux {

class RequestRunner {
public:
  RequestRunner(SlotGroup& group, KeyIndex& index, const EventSink& events, double verify_share)
      : group_(group), index_(index), events_(events), self_check_(verify_share) {}

  // Into `out`, which has room for work.output_bytes_max; the bytes written.
  Result<std::size_t> run(const Work& work, std::span<std::uint8_t> out);
  // Without key and recipe.
  Status run_plain(SlotSet eligible, Deadline deadline, const std::function<Status(Session&)>& attempt);

  // --- step by step ---
  // Where a request is in its attempts.
  struct Progress {
    SlotSet eligible = 0, avoid = 0;
    SlotSet found_again = 0; // slots on which the key's handle was looked up anew
    bool copies = true;
    Attempts attempts;
    std::optional<Error> last; // why the attempt before failed
  };
  static Progress begin(const Work& work) { return {.eligible = work.eligible, .attempts = {}, .last = {}}; }
  // What the next attempt is to ask the router for.
  [[nodiscard]] Router::Demand demand(const Work& work, const Progress& progress) const;
  enum class Blame : std::uint8_t { kAttempt, kSlotHasNoRecipe, kSlotHasNoKey, kWrongResult };
  struct Outcome {
    Result<std::size_t> result;
    Blame blame = Blame::kAttempt;
    bool by_copy = false; // worked on a session copy of the key
  };
  Outcome attempt(const Work& work, RoutedLease& routed, bool copies, std::span<std::uint8_t> out);
  // Gives the lease back and says how the request ends; nullopt: by another attempt.
  std::optional<Result<std::size_t>> conclude(const Work& work, Progress& progress, RoutedLease routed,
                                              Outcome outcome);
  // Gives the lease of an attempt back for which nobody waits any more.
  void drop(RoutedLease routed, const Outcome& outcome);
  // An error of the router says that the slots are gone which a retry was to prefer: it is to ask for all of them.
  static bool asks_again(Progress& progress, const Error& error);
  // An error of the router, with what the attempt before it said.
  static Error explained(Error error, const Progress& progress);
  // The module has not returned from an attempt in time.
  [[nodiscard]] Error overdue(const Work& work, std::size_t slot, Duration after) const;
  void tell_overdue(const Work& work, std::size_t slot, Duration after) const;

private:
  Outcome checked(const Work& work, RoutedLease& routed, const KeyHandle& handle, std::span<std::uint8_t> out,
                  std::size_t written);
  void emit(EventKind kind, std::size_t slot, const Work& work, const Error* error, Duration duration,
            Duration waited = {}) const;

  SlotGroup& group_;
  KeyIndex& index_;
  const EventSink& events_;
  SelfCheck self_check_;
  RetryBudget retries_;
};

} // namespace hsmux
