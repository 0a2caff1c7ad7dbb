// How the engine's health is shown, as JSON and for people. Any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/health.h"

namespace hsmux {

nlohmann::json health_json(const EngineHealth& health);
std::string health_text(const EngineHealth& health);

} // namespace hsmux
