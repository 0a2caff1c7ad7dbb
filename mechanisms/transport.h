// How a key gets from one token into another without ever being in clear outside of them: an AES-256 transport key of
// the source wraps it (RFC 5649), and reaches the target wrapped by an RSA key pair that the target made for this one
// run (RSA-OAEP). Session objects all of them, each with one purpose. Uses the given sessions only; one thread.
#pragma once

#include "mechanisms/quirks.h"
#include "mechanisms/session_object.h"
#include "slots/token_info.h"

namespace hsmux {

// May the token wrap and unwrap keys (quirks' CKM_ of RFC 5649)? kUnsupported names what is missing.
Status check_key_wrap(const Quirks& quirks, std::span<const MechanismOffer> offers);

// The AES-256 transport key of a run, in the source: permits WRAP alone.
Result<SessionObject> make_transport_key(Session& source);

// The same key in the target: permits UNWRAP alone. The target's RSA pair is made, used and destroyed in here; its
// public half is read over `target` and not looked for.
Result<SessionObject> carry_transport_key(Session& source, ObjectHandle transport_key, Session& target,
                                          std::uint32_t rsa_bits);

// `key`, wrapped as RFC 5649 has it by `wrapping_key`. kUnsupported, with the reason, where the token does not wrap
// keys of this kind.
Result<Bytes> wrap_key(Session& source, ObjectHandle wrapping_key, ObjectHandle key, const Quirks& quirks);

} // namespace hsmux
