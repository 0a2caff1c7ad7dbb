// Making a token ready for use: only for set-up tools and tests, never called by the engine. One thread.
#pragma once

#include <string>

#include "slots/module.h"
#include "slots/pin.h"

namespace hsmux {

// C_InitToken on a slot whose token is not initialised yet (an initialised one is refused with kConflict: its keys
// would be lost), then C_InitPIN. `label`: 1 to 32 bytes.
Status set_up_token(const Module& module, unsigned long slot_id, const std::string& label, const Pin& so_pin,
                    const Pin& user_pin);

} // namespace hsmux
