// TOML to configuration values: keys, types and integer ranges. What values mean together is checked by check_config.
// Pure; any thread.
#pragma once

#include <string_view>

#include "engine/config.h"
#include "engine/config_places.h"

namespace hsmux {

// Notes in `places` the line of every key. Errors: kInvalidConfig, never quoting a value that could be a PIN.
Result<Config> read_toml(std::string_view text, ConfigPlaces& places);

} // namespace hsmux
