// Which process this is, told apart from every other one on every host, and whether another one still runs. Linux: by
// /proc. Any thread.
#pragma once

#include "mechanisms/unfinished_key.h"

namespace hsmux {

ProcessIdentity this_process();
// kUnknown: of another host, or not to be told from here.
LeftoverFacts::Owner owner_state(const ProcessIdentity& owner);

} // namespace hsmux
