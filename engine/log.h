// Log lines of the library, for whoever keeps a log. No secrets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace hsmux {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };
// Called on any thread with no lock held; must be thread-safe and must not call back into the engine. No secrets.
using LogSink = std::function<void(LogLevel, const std::string&)>;

} // namespace hsmux
