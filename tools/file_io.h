// Reading a command's input and writing its result: bounded, atomic, and never over a file that is there already. Main
// thread.
#pragma once

#include <cstddef>
#include <string>

#include "mechanisms/secure_bytes.h"
#include "slots/result.h"

namespace hsmux {

inline constexpr std::size_t kInputBytesMax = 64UL << 20;

// All of the file, or of standard input when `path` is empty or "-"; wiped at its end, since it may be a plaintext. An
// interruption ends the wait for input. Errors: kIo, kInvalidArgument (more than `bytes_max`).
Result<SecureBytes> read_input(const std::string& path, std::size_t bytes_max = kInputBytesMax);

struct Output {
  std::string path; // empty or "-": standard output
  bool force = false;
  bool secret = false; // mode 0600 instead of 0666 less the umask

  [[nodiscard]] bool to_stdout() const { return path.empty() || path == "-"; }

  // What write() would refuse, told before any work is done. Errors: kConflict (the file exists and there is no
  // --force), kInvalidArgument (a folder), kIo.
  [[nodiscard]] Status check() const;
  // A regular file appears whole or not at all: written beside its place, then renamed. Devices and pipes are written
  // to as they are. Binary data is not sent to a terminal without --force. Errors: as check(), kInvalidArgument.
  [[nodiscard]] Status write(ByteView bytes) const;
};

// A new file with exactly this mode, for set-up. Errors: kConflict, kIo.
Status write_new_file(const std::string& path, ByteView bytes, unsigned mode);

ByteView bytes_of(const std::string& text);

} // namespace hsmux
