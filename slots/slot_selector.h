// Which token a configured slot means: by label, serial, slot id or RFC 7512 URI. Pure; any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "slots/result.h"

namespace hsmux {

// What is known of one token before any session is open (CK_TOKEN_INFO, blanks trimmed).
struct TokenIdentity {
  unsigned long slot_id = 0;
  std::string label, manufacturer, model, serial, firmware;
  unsigned long flags = 0;        // CKF_ of CK_TOKEN_INFO
  unsigned long sessions_max = 0; // ulMaxSessionCount: 0 = infinite, ~0 = unknown; a hint only

  // "label 'hsm-a', serial 1234, slot id 7": for messages.
  [[nodiscard]] std::string describe() const;
};

// Every field that is set must fit.
struct SlotSelector {
  std::optional<std::string> token_label, serial;
  std::optional<unsigned long> slot_id;
  std::optional<std::string> uri; // RFC 7512 path attributes token, manufacturer, model, serial, slot-id

  [[nodiscard]] std::string describe() const;
};

// The one token that fits. Errors: kUnavailable (none fits; lists what is there), kInvalidConfig (several fit; lists
// them; or a URI that does not parse or names something other than a token).
Result<TokenIdentity> select_token(const SlotSelector& selector, std::span<const TokenIdentity> tokens);

} // namespace hsmux
