// What a probe (probe.h) and the check against OpenSSL (cross_check.h) share: a key for the moment, and operations
// whose results the host checks. Uses the given session only; one thread.
#pragma once

#include "mechanisms/key_template.h"
#include "mechanisms/recipe.h"

namespace hsmux {

// Owns a session object key, destroyed at the end. The session must outlive it.
class TemporaryKey {
public:
  TemporaryKey(Session& session, MadeKey made) : session_(&session), made_(made) {}
  TemporaryKey(TemporaryKey&& other) noexcept;
  TemporaryKey& operator=(TemporaryKey&&) = delete;
  ~TemporaryKey();

  [[nodiscard]] ObjectHandle handle() const { return made_.handle; }
  [[nodiscard]] std::optional<ObjectHandle> public_key() const { return made_.public_key; }

private:
  Session* session_; // nullptr once moved from
  MadeKey made_;
};

// Signs `message` with a key of `bits` (RSA; 0: the default size) and verifies that with the public half `spki`.
// Errors: the operation's, kSignatureInvalid.
Status try_sign(const AlgorithmSpec& spec, const RecipeSpec& recipe, Session& session, ObjectHandle key, ByteView spki,
                ByteView message, std::uint32_t bits = 0);
// Decrypts what OpenSSL encrypted for `spki`. Errors: the operation's, kDevice when the result is wrong.
Status try_decrypt_from_host(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks,
                             Session& session, ObjectHandle key, ByteView spki, ByteView message);
// run_decrypt, compared with `expected`. Errors as above.
Status try_decrypt(const AlgorithmSpec& spec, const RecipeSpec& recipe, const Quirks& quirks, Session& session,
                   ObjectHandle key, const CipherInput& input, ByteView expected);

} // namespace hsmux
