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
    quirks_ = &quirks_of(token, slot.module().path());
  }
  // All that one throw-away key can try: an RSA key takes some HSMs seconds.
  RecipeProbe probe(*offers_, *quirks_, *lease);
  for (const AlgorithmSpec& each : spec_table()) {
    if (!share_keys(each, spec) || known(each) != nullptr) continue;
    const auto index = static_cast<std::size_t>(each.algorithm);
    HSMUX_TRY(choices_[index], probe.choose(each));
    known_[index].store(true, std::memory_order_release);
  }
  return known(spec);
}

} // namespace hsmux
