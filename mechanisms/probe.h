// Trying a recipe out on a token with throw-away session keys, since mechanism lists lie (SoftHSM 2.6.1 lists OAEP and
// refuses SHA-256). Uses the given session only and leaves nothing behind.
#pragma once

#include <memory>

#include "mechanisms/recipe.h"

namespace hsmux {

class ProbeKey;

// Chooses recipes for the token of `session`. One throw-away key is made, at the first choice that needs it, and serves
// all: they are for algorithms that share_keys(). `offers`, `quirks` and `session` must outlive it.
class RecipeProbe {
public:
  RecipeProbe(std::span<const MechanismOffer> offers, const Quirks& quirks, Session& session);
  ~RecipeProbe();

  // An error only when the session or slot was lost or the HSM had a fault on the way: that says nothing about the
  // recipes.
  Result<RecipeChoice> choose(const AlgorithmSpec& spec);

private:
  std::span<const MechanismOffer> offers_;
  const Quirks& quirks_;
  Session& session_;
  std::unique_ptr<ProbeKey> key_;
};

} // namespace hsmux
