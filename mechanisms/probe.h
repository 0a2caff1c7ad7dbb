// Trying a recipe out on a token with throw-away session keys, since mechanism lists lie (SoftHSM 2.6.1 lists OAEP and
// refuses SHA-256). Uses the given session only and leaves nothing behind.
#pragma once

#include "mechanisms/recipe.h"

namespace hsmux {

// Chooses the recipe of one algorithm for the token of `session`. The throw-away key is made at most once. An error
// only when the session or slot was lost or the HSM had a fault on the way: that says nothing about the recipes.
Result<RecipeChoice> choose_by_probe(const AlgorithmSpec& spec, std::span<const MechanismOffer> offers,
                                     const Quirks& quirks, Session& session);

} // namespace hsmux
