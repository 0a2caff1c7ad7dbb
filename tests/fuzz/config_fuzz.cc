// The configuration file: what is accepted keeps the limits, and no error shows what could be a PIN.
#include "engine/config.h"

#include <algorithm>

#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

constexpr std::string_view kPinText = "9471-pin-5528"; // corpora have it where a careless operator would put a PIN

// The PIN stands only where a PIN would: after `pin = "`, and not inside of a longer string.
bool pin_in_place(std::string_view text) {
  if (text.find("\"\"\"") != std::string_view::npos || text.find("'''") != std::string_view::npos) return false;
  std::size_t at = text.find(kPinText);
  if (at == std::string_view::npos) return false;
  for (; at != std::string_view::npos; at = text.find(kPinText, at + 1)) {
    const std::size_t line = text.rfind('\n', at) + 1; // npos + 1 = 0
    const std::string_view before = text.substr(line, at - line);
    if (before != "pin = \"") return false;
  }
  return true;
}

} // namespace

HSMUX_FUZZ(config) {
  const std::string_view text = fuzz::text_of(input);
  const Result<Config> config = parse_config(text, "file.toml", "/folder");
  if (!config) {
    const std::string& message = config.error().message;
    fuzz::promise(config.error().kind == ErrorKind::kInvalidConfig, "a text can only be an invalid configuration");
    fuzz::promise(message.starts_with("file.toml"), "the error names the file");
    fuzz::promise(message.size() < 2000, "the error can be read");
    fuzz::promise(std::ranges::none_of(message, [](unsigned char c) { return c < 0x20 || c == 0x7f; }),
                  "the error can be shown");
    if (pin_in_place(text)) fuzz::promise(message.find(kPinText) == std::string::npos, "no PIN is in the error");
    return;
  }
  fuzz::promise(!config->slots.empty() && config->slots.size() <= 64, "1 to 64 slots");
  fuzz::promise(!config->modules.empty() && config->modules.size() <= 16, "1 to 16 modules");
  for (const SlotConfig& slot : config->slots) {
    fuzz::promise(slot.sessions_max >= 1 && slot.sessions_max <= 4096 && slot.sessions_min <= slot.sessions_max,
                  "sessions within limits");
    fuzz::promise(slot.weight > 0 && slot.weight <= 1000, "weight within limits");
    fuzz::promise(std::ranges::any_of(config->modules, [&](const auto& module) { return module.name == slot.module; }),
                  "every slot has a module");
  }
  for (const ModuleConfig& module : config->modules) {
    fuzz::promise(!module.path.empty(), "every module has a path");
  }
  const Status again = check_config(*config);
  fuzz::promise(again.has_value(), "what was read passes the check for programs");
}

} // namespace hsmux
