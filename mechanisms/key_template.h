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
// A key for `spec` made on the host.
Result<SoftwareKey> make_software_key(const AlgorithmSpec& spec, std::uint32_t bits);

} // namespace hsmux
