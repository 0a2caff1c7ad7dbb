#include "tools/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace hsmux {
namespace {

std::size_t columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80U;
}

// Characters of UTF-8, near enough to columns for names.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string line_of(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths[i] - width(cells[i]) + 2, ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

} // namespace

bool stdin_is_terminal() { return isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) != 0; }

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters as well: 0xc2 0x80 to 0xc2 0x9f.
    const bool c1 = c == 0xc2 && i + 1 < text.size() && (text[i + 1] & 0xe0) == 0x80;
    if (c < 0x20 || c == 0x7f || c1) {
      shown += fmt::format("\\x{:02x}", c1 ? static_cast<unsigned char>(text[++i]) : c);
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> lines{header};
  for (const auto& row : rows) {
    auto& line = lines.emplace_back();
    for (const std::string& cell : row) line.push_back(printable(cell));
    line.resize(header.size());
  }
  std::vector<std::size_t> widths(header.size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width(line[i]));
  }
  std::string text;
  for (const auto& line : lines) text += line_of(line, widths);
  return text;
}

void StatusLine::show(std::string_view text) {
  if (!stderr_is_terminal()) return;
  const std::string line = printable(text).substr(0, columns() - 1);
  std::fputs(fmt::format("\r\x1b[K{}", line).c_str(), stderr);
  std::fflush(stderr);
  shown_ = true;
}

void StatusLine::clear() {
  if (!shown_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  shown_ = false;
}

Progress::Progress(std::string what) : what_(std::move(what)) {
  if (stderr_is_terminal()) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Progress::run(const std::stop_token& stop) {
  using namespace std::chrono_literals;
  const auto start = std::chrono::steady_clock::now();
  StatusLine line;
  std::unique_lock lock(mutex_);
  auto next = start + 2s;
  while (!stop.stop_requested()) {
    (void)ended_.wait_until(lock, stop, next, [] { return false; });
    if (stop.stop_requested()) return;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start);
    line.show(fmt::format("{} ... {} s (Ctrl-C ends it)", what_, seconds.count()));
    next += 1s;
  }
}

} // namespace hsmux
