#include "tests/metrics/browser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/tools/child.h"

namespace hsmux {

std::optional<std::string> installed(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    for (const char* folder : {"/usr/bin/", "/usr/local/bin/"}) {
      if (std::filesystem::exists(folder + name)) return folder + name;
    }
  }
  return std::nullopt;
}

std::optional<std::string> browser() { return installed({"chromium", "chromium-browser", "google-chrome"}); }

std::string page_in_browser(std::uint16_t port, int milliseconds) {
  const TemporaryFolder folder;
  const Ended ended =
      run(folder, {*browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-extensions", "--disable-background-networking",
                   "--user-data-dir=" + folder.file("data"), fmt::format("--virtual-time-budget={}", milliseconds),
                   "--dump-dom", fmt::format("http://127.0.0.1:{}/", port)});
  EXPECT_EQ(ended.code, 0) << ended.err;
  return ended.out;
}

} // namespace hsmux
