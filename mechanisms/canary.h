// Does a slot work? Told with nothing that any caller says: a signature by a throw-away key, verified on the host.
// Stateless; any thread.
#pragma once

#include "mechanisms/recipe.h"

namespace hsmux {

// With `recipe` of the signing algorithm `spec`; without (nullptr), or where the token makes no session keys for us, by
// C_GenerateRandom, which shows less. Errors: a call's; kDevice when the signature is wrong.
Status run_canary(Session& session, const AlgorithmSpec* spec, const RecipeSpec* recipe, const Quirks& quirks);

// Those whose throw-away keys cost little, the best one first.
std::span<const Algorithm> canary_algorithms();

} // namespace hsmux
