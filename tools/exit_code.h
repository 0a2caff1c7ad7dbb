// What the program's exit status says. One table, read by the program, `hsmux --help` and docs/command-line.md. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "slots/error.h"

namespace hsmux {

// Stable: scripts test these numbers.
enum class ExitCode : std::uint8_t {
  kOk = 0,
  kNo = 1,
  kUsage = 2,
  kConfig = 3,
  kKey = 4,
  kCredentials = 5,
  kHsm = 6,
  kTimeout = 7,
  kDecryptFailed = 8,
  kInternal = 9,
  kIo = 10,
  kInterrupted = 130,
};

struct ExitMeaning {
  ExitCode code;
  std::string_view text;
};
std::span<const ExitMeaning> exit_meanings();

ExitCode exit_code(ErrorKind kind);

} // namespace hsmux
