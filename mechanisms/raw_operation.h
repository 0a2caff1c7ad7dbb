// The calls of one operation by a recipe's mechanism, and nothing of what a recipe does around them: what measurements
// compare with. Stateless; any thread.
#pragma once

#include "mechanisms/quirks.h"
#include "mechanisms/spec.h"
#include "slots/session.h"

namespace hsmux {

// One Init and one operation on `in`, as the mechanism takes it: a digest, DigestInfo or message to sign, a block of
// RSA's size to decrypt, a point to derive with (the secret's object is read and destroyed), a plaintext to encrypt by
// AES-GCM (with an IV of zeros each time: of no use to anybody). The bytes written to `out`. Errors: those of the
// calls.
Result<std::size_t> run_raw(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                            ObjectHandle key, ByteView in, std::span<std::uint8_t> out);

} // namespace hsmux
