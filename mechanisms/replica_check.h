// Proves by use that a key in one token is the key in another: what leaves no token cannot be compared otherwise. One
// run of it checks any number of replicas, one after the other; uses the given sessions only; one thread.
#pragma once

#include "mechanisms/key_object.h"
#include "mechanisms/recipe.h"

namespace hsmux {

// An algorithm that a key of this kind and purpose can be used with; nullptr: none of ours.
const AlgorithmSpec* spec_for(KeyKind kind, const KeyPurposes& purposes);

class ReplicaCheck {
public:
  // With a public half: each replica signs a random message of ours, or decrypts what was encrypted for `spki`. AES,
  // which has none: the first replica encrypts a random block, bound to `key_id`, and the others decrypt it.
  ReplicaCheck(const AlgorithmSpec& spec, std::uint32_t bits, ByteView key_id, std::optional<Bytes> spki);

  [[nodiscard]] const AlgorithmSpec& spec() const { return spec_; }
  // Errors: kKeyUnusable when the key is another one, kUnsupported when the slot has no recipe for it, or a call's.
  Status check(const RecipeChoice& choice, const Quirks& quirks, Session& session, ObjectHandle key);

private:
  Status check_secret(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key);

  const AlgorithmSpec& spec_;
  std::uint32_t bits_;
  Bytes key_id_;
  std::optional<Bytes> spki_;
  Bytes challenge_, envelope_;
};

} // namespace hsmux
