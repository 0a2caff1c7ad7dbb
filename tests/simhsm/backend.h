// What answers behind the simulator: a PKCS#11 module's function list, either a real module's or the simulator's own
// HSM in memory. Any thread.
#pragma once

#include "tests/simhsm/settings.h"

namespace hsmux::sim {

// Loads the wrapped module, or sets up our own HSM. nullptr, with a text on standard error, where that fails. Once.
const CK_FUNCTION_LIST* open_backend(const Settings& settings);

// What own mode can change while it runs.
void change_backend(const Settings& settings);
// Own mode: handles of objects now name other objects (an HSM that dealt them out anew).
void renumber_objects(const Settings& settings, CK_SLOT_ID slot);

} // namespace hsmux::sim
