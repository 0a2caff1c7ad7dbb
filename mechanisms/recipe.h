// Recipes: which one a token gets (a pure choice), and carrying one out on a leased session. The only place above
// slots/ that knows mechanisms. Stateless; any thread.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "mechanisms/quirks.h"
#include "mechanisms/spec.h"
#include "slots/session.h"
#include "slots/token_info.h"

namespace hsmux {

// One algorithm on one slot.
struct RecipeChoice {
  const RecipeSpec* recipe = nullptr; // nullptr: the token cannot carry the algorithm out
  std::string reason;                 // why recipes were passed over, or why the chosen one is unproven; may be empty
};

// What a probe of one recipe found.
enum class Probe : std::uint8_t {
  kWorks,
  kRefused,   // the token answers that it does not do this
  kUndecided, // the probe itself was not possible, for instance because the token makes no session keys for us
};
struct ProbeResult {
  Probe outcome = Probe::kUndecided;
  std::string detail;
};

// The first recipe whose mechanism is offered with the flags it needs and that the probe does not refuse.
RecipeChoice choose_recipe(const AlgorithmSpec& spec, std::span<const MechanismOffer> offers,
                           const std::function<ProbeResult(const RecipeSpec&)>& probe);

// What the recipes of one algorithm work on. Views are the caller's and must outlive the call.
struct SignInput {
  ByteView message; // empty when only the digest is known
  ByteView digest;  // set where the algorithm has a hash
  bool has_message = true;
  std::size_t modulus_bytes = 0; // RSA only
};
struct CipherInput {
  ByteView data;                 // ciphertext or envelope to decrypt, plaintext to encrypt
  ByteView aad;                  // AES-GCM only
  ByteView key_id;               // AES-GCM: canonical CKA_ID that the envelope is bound to
  std::size_t modulus_bytes = 0; // RSA only
};

// The largest result, so that no size is ever queried.
std::size_t signature_bytes_max(const AlgorithmSpec& spec);
std::size_t plaintext_bytes_max(const AlgorithmSpec& spec, const CipherInput& input);
// Exact; of RSA-OAEP the modulus' size.
std::size_t ciphertext_bytes(const AlgorithmSpec& spec, const CipherInput& input);

// For algorithms that encrypts_on_host(). kInvalidArgument when the key is of another kind or the plaintext too long.
Result<Bytes> encrypt_on_host(const AlgorithmSpec& spec, ByteView spki, ByteView plaintext);

// On the host. `message` where the algorithm has no hash, else `digest`. Errors: as verify_ecdsa.
Status verify_signature(const AlgorithmSpec& spec, ByteView spki, ByteView message, ByteView digest,
                        ByteView signature);

// Each makes exactly one Init and one operation call; ECIES makes one derivation instead. They return the bytes written
// to `out`, which must have room for the largest result (else kInvalidArgument, before any call). Errors: those of the
// calls; decrypt failures that data can cause are all alike (host_crypto.h: decrypt_failed).
Result<std::size_t> run_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, ObjectHandle key,
                             const SignInput& input, std::span<std::uint8_t> out);
Result<std::size_t> run_decrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out);
Result<std::size_t> run_encrypt(const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle key,
                                const CipherInput& input, std::span<std::uint8_t> out);

} // namespace hsmux
