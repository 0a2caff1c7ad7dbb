// What operators may ask of a running engine over its admin socket: one JSON object in, one out. Answers never wait for
// a module. Thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace hsmux {

class Engine;

// {"command":"status"}, "stats", or, with "slot":"NAME", "drain", "undrain", "unlatch"; "reload". The answer:
// {"ok":true,...} or {"ok":false,"error":{"kind":...,"message":...}}.
std::string answer_admin(Engine& engine, std::string_view line);

} // namespace hsmux
