// The attributes that keys are made with: one purpose per key, sensitive, not extractable (design: "Keys"). Pure; any
// thread.
#pragma once

#include <string_view>

#include "mechanisms/quirks.h"
#include "mechanisms/software_key.h"
#include "mechanisms/spec.h"
#include "slots/session.h"

namespace hsmux {

struct KeyRequest {
  const AlgorithmSpec* spec = nullptr; // gives kind and purpose
  std::uint32_t bits = 0;              // as key_bits_allowed
  ByteView id;                         // CKA_ID
  std::string_view label;              // CKA_LABEL
  bool token_object = true;            // false: a session object, gone with its session
  bool extractable = false;            // may be wrapped; never read in clear, since all keys are SENSITIVE
  bool wrap_with_trusted = false;      // only by a key that the security officer trusts (CKA_WRAP_WITH_TRUSTED)
  const Quirks* quirks = &standard_quirks();
};

struct MadeKey {
  ObjectHandle handle;                    // private or secret key
  std::optional<ObjectHandle> public_key; // of a pair
};

// Generates in the token. On failure nothing of it is known to remain, except when the answer was lost.
Result<MadeKey> generate_in_token(Session& session, const KeyRequest& request);
// Imports a key made on the host (development only). Removes the first object when the second is refused.
Result<MadeKey> import_into_token(Session& session, const KeyRequest& request, const SoftwareKey& key);
// The private or secret half alone, out of what another token wrapped (C_UnwrapKey).
Result<ObjectHandle> unwrap_into_token(Session& session, const KeyRequest& request, const Mechanism& mechanism,
                                       ObjectHandle unwrapping_key, ByteView wrapped);
// The public half alone. kUnsupported when `spki` is no key of the request's kind.
Result<ObjectHandle> create_public_half(Session& session, const KeyRequest& request, ByteView spki);
// A key for `spec` made on the host.
Result<SoftwareKey> make_software_key(const AlgorithmSpec& spec, std::uint32_t bits);

} // namespace hsmux
