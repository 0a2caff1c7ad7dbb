// A conversation over a Unix socket, one line each way: with a running simulator, or another process of ours. One
// thread.
#pragma once

#include <chrono>
#include <string>

#include "slots/result.h"

namespace hsmux {

// Sends `line` (without a line break) to the process that listens at `path` and returns its answer. Errors: kIo (nobody
// listens, it went away, it said nothing for `timeout`, its answer has more than 4 MiB), kInvalidArgument (path too
// long).
Result<std::string> ask_socket(const std::string& path, const std::string& line, std::chrono::milliseconds timeout);

} // namespace hsmux
