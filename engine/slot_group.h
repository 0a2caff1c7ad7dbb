// The engine's slots with their recipes and the router over them: what requests and key management both work on.
// Thread-safe once filled.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/attempt.h"
#include "engine/router.h"
#include "engine/slot_recipes.h"
#include "mechanisms/replica_check.h"

namespace hsmux {

struct SlotGroup {
  Router router; // outlives the slots: their keepers call it
  std::vector<std::unique_ptr<Slot>> slots;
  std::array<SlotRecipes, kSlotsMax> recipes;

  [[nodiscard]] SlotSet ready() const;
  // The same with those that are in doubt for a moment.
  [[nodiscard]] SlotSet connected() const;
  // Grows each time any slot is lost or comes back: what was found on the slots before may not hold any more.
  [[nodiscard]] std::uint64_t generation() const;
  [[nodiscard]] std::vector<std::string> names(SlotSet set) const;
  // Errors: kInvalidArgument with the names that there are.
  [[nodiscard]] Result<std::size_t> find(std::string_view name) const;
  // Is the key at `key`, in the slot of this session, the one that `check` is about? By the slot's own recipe.
  Status check_replica(std::size_t slot, Lease& lease, ReplicaCheck& check, ObjectHandle key);

  // Runs `work(Lease&)` with a session of one slot and gives the session back with the status of its result.
  template <class Work>
  auto with_session(std::size_t slot, Deadline deadline, Work work, Router::Wait wait = Router::Wait::kUntilBack) {
    using Answer = decltype(work(std::declval<Lease&>()));
    Result<RoutedLease> routed = router.lease({.eligible = slot_bit(slot), .deadline = deadline, .wait = wait});
    if (!routed) return Answer(fail(std::move(routed).error()));
    Answer answer = work(routed->lease);
    router.finish(std::move(*routed), answer ? CallStatus{} : answer.error().status(), false);
    if (!answer && answer.error().slot.empty()) answer.error().slot = slots[slot]->name();
    return answer;
  }

  // The same for work that does no harm when it is done twice: done again after a failure for which that makes sense.
  template <class Work>
  auto with_session_again(std::size_t slot, Deadline deadline, Work work,
                          Router::Wait wait = Router::Wait::kUntilBack) {
    Attempts attempts;
    while (true) {
      auto answer = with_session(slot, deadline, work, wait);
      if (answer) return answer;
      ++attempts.made;
      const Step step = next_step(answer.error(), attempts, true, deadline, MonotonicClock::now());
      if (step == Step::kGiveUp) return answer;
      if (step == Step::kFindAgain) attempts.found_again = true;
    }
  }
};

} // namespace hsmux
