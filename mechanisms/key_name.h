// How callers name keys: a label, "id:HEX", or an RFC 7512 URI. Pure; any thread.
#pragma once

#include <string_view>

#include "mechanisms/key_object.h"

namespace hsmux {

inline constexpr std::size_t kKeyLabelBytesMax = 300;

// Errors: kInvalidArgument (empty, too long, not hex, a URI that does not parse, that names neither object nor id, or
// that carries a PIN).
Result<KeyQuery> parse_key_name(std::string_view name);

} // namespace hsmux
