// One cryptographic request, checked and ready to be carried out on any of its slots: what the attempts of a request
// share. Its views are the request's, which outlives it. Not moved once prepared; read by any number of threads.
#pragma once

#include <array>
#include <memory>

#include "engine/key_index.h"
#include "engine/request.h"
#include "mechanisms/recipe.h"

namespace hsmux {

struct Work {
  std::shared_ptr<const Key> key;
  const AlgorithmSpec* spec = nullptr;
  Operation operation{};
  SlotSet eligible = 0; // slots that may do it
  Deadline deadline{TimePoint::max()};
  std::size_t output_bytes_max = 0;

  ByteView data;   // message, ciphertext or plaintext
  ByteView aad;    // AES-GCM
  ByteView key_id; // AES-GCM: that the envelope is bound to
  bool has_message = true;
  std::array<std::uint8_t, 64> digest{};
  std::size_t digest_bytes = 0;
  std::size_t modulus_bytes = 0; // RSA

  [[nodiscard]] WorkClass work_class() const { return static_cast<WorkClass>(spec->algorithm); }
  [[nodiscard]] FlowId flow() const {
    return key->flow ^ FlowId { work_class() } << 8 ^ static_cast<FlowId>(operation);
  }
};

// The bytes that a request does not have: checks of what can be known before a session is taken. `work` has key, slots
// and deadline already. Errors: kInvalidArgument, kKeyUnusable, kDecryptFailed.
Status prepare_sign(Work& work, ByteView message, bool prehashed);
Status prepare_decrypt(Work& work, ByteView ciphertext, ByteView aad, ByteView bound_to);
Status prepare_encrypt(Work& work, ByteView plaintext, ByteView aad);

// Is this an algorithm to do that with?
Status check_operation(const AlgorithmSpec& spec, Operation operation);
Status check_random(std::size_t size);
// The digest of `message`, or what is given as one, into work.digest.
Status prepare_digest(Work& work, ByteView message, bool prehashed);
Status check_plaintext(const AlgorithmSpec& spec, std::size_t size, std::size_t max);

// One attempt: exactly one Init and one operation. `out` has room for output_bytes_max.
Result<std::size_t> carry_out(const Work& work, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                              ObjectHandle key, std::span<std::uint8_t> out);

} // namespace hsmux
