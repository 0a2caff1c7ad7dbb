// Programs that tests of the metrics use where they are installed; and the status page as a browser shows it. One
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hsmux {

// The path of the first of these programs that is installed, looked for where Debian puts them.
std::optional<std::string> installed(const std::vector<std::string>& names);

std::optional<std::string> browser();
inline constexpr const char* kNoBrowser = "no Chromium: nobody looks at the page (Debian: chromium)";

// The page at / on this machine as a headless browser has it after so much of the browser's time: its DOM as HTML.
std::string page_in_browser(std::uint16_t port, int milliseconds);

} // namespace hsmux
