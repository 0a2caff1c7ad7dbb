// What is shown to people: progress while something takes long, tables, and text that comes from tokens and files made
// harmless for a terminal.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace hsmux {

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// Control characters as \xNN: a token's label must not move the cursor. Line breaks and tabs too.
std::string printable(std::string_view text);

// Columns padded to the widest cell, two blanks between; every line ends with a line break.
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

// A line on standard error, only when that is a terminal, rewritten in place; gone when the object ends. One thread.
class StatusLine {
public:
  StatusLine() = default;
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(std::string_view text); // cut to the terminal's width
  void clear();

private:
  bool shown_ = false;
};

// "connecting ... 3 s" on standard error while the object lives, from two seconds on, only on a terminal.
class Progress {
public:
  explicit Progress(std::string what);
  ~Progress() = default; // joins
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

private:
  void run(const std::stop_token& stop);

  const std::string what_;
  std::mutex mutex_; // guards nothing but the waiting
  std::condition_variable_any ended_;
  std::jthread thread_; // last: ends before the members it uses
};

} // namespace hsmux
