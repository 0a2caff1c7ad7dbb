#include "engine/config_places.h"

#include <algorithm>

#include <fmt/format.h>

namespace hsmux {
namespace {

// "slot[2].pin" -> "slot.pin": with a line the number says nothing more.
std::string without_numbers(std::string_view key) {
  std::string out;
  bool inside = false;
  for (const char c : key) {
    inside = inside || c == '[';
    if (!inside) out += c;
    inside = inside && c != ']';
  }
  return out;
}

} // namespace

std::unexpected<Error> ConfigPlaces::refuse(std::string_view key, std::string_view reason) const {
  std::uint32_t line = 0;
  for (std::string_view place = key; line == 0; place = place.substr(0, place.rfind('.'))) {
    if (const auto found = lines_.find(place); found != lines_.end()) line = found->second;
    if (place.find('.') == std::string_view::npos) break;
  }
  std::string message = line == 0 ? name_ : fmt::format("{}:{}", name_, line);
  if (!key.empty()) message += ": " + (line == 0 ? std::string(key) : without_numbers(key));
  return fail(ErrorKind::kInvalidConfig, fmt::format("{}: {}", message, reason));
}

std::string shown(std::string_view text) {
  constexpr std::size_t kShownMax = 64;
  std::string out(text.substr(0, kShownMax));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text.size() > kShownMax ? out + "..." : out;
}

} // namespace hsmux
