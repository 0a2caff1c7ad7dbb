// Checks a token against OpenSSL in both directions with a key that both know: made on the host, imported as a session
// object that ends with the check. For self-tests. Uses the given session only.
#pragma once

#include "mechanisms/recipe.h"

namespace hsmux {

// Errors: what the token answered to the import (Error::call is kCreateObject: many HSMs refuse keys in clear,
// rightly), what it answered to the operation, or kDevice when its result is wrong.
Status cross_check(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session);

} // namespace hsmux
