#include "engine/slot_recipes.h"

#include "mechanisms/probe.h"

namespace hsmux {

const RecipeChoice* SlotRecipes::known(const AlgorithmSpec& spec) const {
  const auto index = static_cast<std::size_t>(spec.algorithm);
  return known_[index].load(std::memory_order_acquire) ? &choices_[index] : nullptr;
}

Result<const RecipeChoice*> SlotRecipes::get(const AlgorithmSpec& spec, const Slot& slot, Lease& lease) {
  if (const RecipeChoice* choice = known(spec)) return choice;
  const std::lock_guard lock(mutex_);
  if (const RecipeChoice* choice = known(spec)) return choice;
  const TokenIdentity token = slot.token();
  if (!offers_) {
    HSMUX_TRY(offers_, read_mechanisms(slot.module(), token.slot_id, slot.name()));
    quirks_ = &quirks_of(token);
  }
  const auto index = static_cast<std::size_t>(spec.algorithm);
  HSMUX_TRY(choices_[index], choose_by_probe(spec, *offers_, *quirks_, *lease));
  known_[index].store(true, std::memory_order_release);
  return &choices_[index];
}

} // namespace hsmux
