// What a module says of its tokens before any session is open: identity, flags and mechanisms. Thread-safe, asks the
// module each time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "slots/module.h"
#include "slots/slot_selector.h"

namespace hsmux {

// One entry of C_GetMechanismList with its CK_MECHANISM_INFO.
struct MechanismOffer {
  unsigned long type = 0; // CKM_
  unsigned long key_size_min = 0, key_size_max = 0;
  unsigned long flags = 0; // CKF_SIGN, CKF_DECRYPT, ...
};

Result<TokenIdentity> read_token(const Module& module, unsigned long slot_id);
// Tokens that do not answer C_GetTokenInfo are left out: one broken slot must not hide the others.
Result<std::vector<TokenIdentity>> read_tokens(const Module& module);
Result<std::vector<MechanismOffer>> read_mechanisms(const Module& module, unsigned long slot_id,
                                                    const std::string& slot_name);

// The names of CKF_ flags of CK_TOKEN_INFO that matter for logging in, e.g. "user-pin-count-low": for people and JSON.
std::vector<std::string> token_flag_names(unsigned long flags);
// False for the empty token of a slot that waits for C_InitToken.
bool initialised(const TokenIdentity& token);

} // namespace hsmux
