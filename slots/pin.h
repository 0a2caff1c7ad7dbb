// PINs: where they come from, and the one buffer type that holds one. A Pin cannot be printed, copied, compared or
// logged; its bytes live in OpenSSL's secure heap (locked, not in core dumps) and are wiped when it ends.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <variant>

#include "slots/result.h"

namespace hsmux {

// The bytes of one PIN (UTF-8, 1 to 256 bytes). Move-only; one thread at a time.
class Pin {
public:
  static constexpr std::size_t kBytesMax = 256;

  Pin() = default; // empty: no PIN
  // Copies `bytes` into the secure heap. Errors: kCredentials when empty or over kBytesMax; kInternal when the secure
  // heap is exhausted. The caller wipes its own copy.
  static Result<Pin> copy_of(std::span<const char> bytes);

  [[nodiscard]] Result<Pin> copy() const { return copy_of(view()); }
  [[nodiscard]] bool empty() const { return bytes_ == nullptr; }
  // For C_Login and C_InitToken only.
  [[nodiscard]] std::span<const char> view() const { return {bytes_.get(), empty() ? 0 : bytes_.get_deleter().size}; }

private:
  struct Wipe {
    std::size_t size; // no initialiser: it would hide unique_ptr's default constructor from Pin's own
    void operator()(char* bytes) const;
  };
  std::unique_ptr<char, Wipe> bytes_;
};

struct PinFromEnvironment {
  std::string variable;
};
struct PinFromFile {
  std::string path;
  bool allow_group_read = false; // Kubernetes mounts secrets group-readable
};
struct PinFromDescriptor {
  int fd = -1; // read once, to its end or the first line break
};
struct PinFromPrompt {
  std::string text; // asked on the terminal without echo; an error when there is no terminal
};
struct PinFromValue {
  std::shared_ptr<const Pin> pin; // already in memory: the driver's inline value, tests
};
using PinOrigin = std::variant<PinFromEnvironment, PinFromFile, PinFromDescriptor, PinFromPrompt, PinFromValue>;

// A source of a PIN. File and environment are read again for each login, so a changed PIN is seen; descriptor, prompt
// and value are kept in one secure buffer after the first read, and wiped when the source ends. Thread-safe.
class PinSource {
public:
  explicit PinSource(PinOrigin origin);
  ~PinSource();
  PinSource(PinSource&&) noexcept;
  PinSource& operator=(PinSource&&) noexcept;

  // The PIN, without one trailing line break (LF or CRLF). Errors: kCredentials naming the source and what to do, never
  // its content: variable not set, file missing, empty, too long, several lines or a NUL byte (a token would count each
  // as a wrong try), not a regular file, or a file that belongs neither to this user nor to root, that others can use,
  // that its group can write, or (unless allow_group_read) read. Permissions are checked on the opened file (fstat), so
  // a symbolic link is judged by its target. A descriptor is waited for at most 60 s and never closed; a prompt waits
  // for its human. kInternal when the secure heap (256 KiB for the process) is exhausted.
  Result<Pin> read();

  // "file /etc/hsmux/pin", "environment variable HSM_PIN", "descriptor 3", "prompt", "value": for messages.
  [[nodiscard]] std::string describe() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace hsmux
