// Which recipe each algorithm gets on one slot: found once, with the slot's own sessions, when the engine starts or at
// the first use. Thread-safe; a look-up of a known choice takes one acquire load.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "mechanisms/recipe.h"
#include "slots/slot.h"

namespace hsmux {

class SlotRecipes {
public:
  // The choice for `spec`; probes with `lease`, a session of `slot`, when it is not known yet. Errors: those of reading
  // the mechanism list.
  Result<const RecipeChoice*> get(const AlgorithmSpec& spec, const Slot& slot, Lease& lease);
  // The choice if it is known.
  [[nodiscard]] const RecipeChoice* known(const AlgorithmSpec& spec) const;
  // The quirks row of the token; valid after the first get().
  [[nodiscard]] const Quirks& quirks() const { return *quirks_; }

private:
  std::mutex mutex_;
  std::optional<std::vector<MechanismOffer>> offers_; // guarded by mutex_
  const Quirks* quirks_ = nullptr;                    // written once, before the first choice is published
  std::array<RecipeChoice, kAlgorithmCount> choices_;
  std::array<std::atomic<bool>, kAlgorithmCount> known_{};
};

} // namespace hsmux
