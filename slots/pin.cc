#include "slots/pin.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/ui.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "slots/deadline.h"

namespace hsmux {
namespace {

constexpr std::size_t kSecureHeapBytes = 256 * 1024;
constexpr std::size_t kSecureHeapBlockMin = 16;
// A PIN, its line break, and one byte more that tells a longer line from a fitting one.
constexpr std::size_t kLineBytesMax = Pin::kBytesMax + 3;
// Whoever hands over a descriptor writes the PIN at once; a forgotten write end must not hold up the start for ever.
constexpr std::chrono::seconds kDescriptorWait{60};

// One heap for the process. Where memory may not be locked (RLIMIT_MEMLOCK) OpenSSL still sets the heap up, unlocked;
// where that fails too, allocations come from the ordinary heap and are wiped all the same.
void use_secure_heap() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (CRYPTO_secure_malloc_initialized() == 0) CRYPTO_secure_malloc_init(kSecureHeapBytes, kSecureHeapBlockMin);
  });
}

// Room for one line, in the secure heap, wiped whatever happens.
class LineBuffer {
public:
  LineBuffer() {
    use_secure_heap();
    bytes_ = static_cast<char*>(OPENSSL_secure_zalloc(kLineBytesMax));
  }
  ~LineBuffer() { OPENSSL_secure_clear_free(bytes_, kLineBytesMax); }
  LineBuffer(const LineBuffer&) = delete;
  LineBuffer& operator=(const LineBuffer&) = delete;

  [[nodiscard]] char* data() { return bytes_; }

private:
  char* bytes_;
};

class FileDescriptor {
public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  [[nodiscard]] int get() const { return fd_; }

private:
  int fd_;
};

std::unexpected<Error> refuse(const std::string& source, std::string_view reason) {
  return fail(ErrorKind::kCredentials, fmt::format("PIN from {}: {}", source, reason));
}

std::unexpected<Error> refuse_errno(const std::string& source, std::string_view doing) {
  return refuse(source, fmt::format("cannot {}: {}", doing, std::generic_category().message(errno)));
}

std::unexpected<Error> heap_exhausted() {
  return fail(ErrorKind::kInternal, "the secure heap is exhausted: too many PINs in memory at once");
}

// One PIN of what a source held. A second line or a NUL byte is refused: a token would count it as a wrong try.
Result<Pin> pin_of_line(const std::string& source, std::span<const char> bytes) {
  std::string_view line(bytes.data(), bytes.size());
  if (line.ends_with('\n')) {
    line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
  }
  if (line.empty()) return refuse(source, "it is empty: put the PIN there, in one line");
  if (line.size() > Pin::kBytesMax) {
    return refuse(source, fmt::format("it is too long: a PIN has at most {} bytes", Pin::kBytesMax));
  }
  if (line.find_first_of(std::string_view("\n\r\0", 3)) != std::string_view::npos) {
    return refuse(source, "it holds several lines or a NUL byte: put the PIN there, in one line of UTF-8");
  }
  return Pin::copy_of(line);
}

Result<Pin> read_environment(const std::string& source, const PinFromEnvironment& origin) {
  const char* value = std::getenv(origin.variable.c_str());
  if (value == nullptr) return refuse(source, "it is not set: set it to the PIN");
  return pin_of_line(source, {value, ::strnlen(value, kLineBytesMax)});
}

// Who may use a PIN file: the first row that a file's mode hits is the reason to refuse it.
struct ModeRule {
  mode_t bits;
  bool lifted_by_setting; // allow_group_read
  std::string_view reason;
};
constexpr auto kModeRules = std::to_array<ModeRule>({
    {S_IRWXO, false, "it is open to other users"},
    {S_IWGRP, false, "its group can write it"},
    {S_IRGRP, true, "its group can read it"},
});

Status check_file(const std::string& source, const PinFromFile& origin, int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return refuse_errno(source, "look at it");
  if (!S_ISREG(status.st_mode)) return refuse(source, "it is not a regular file: name a file that holds the PIN");
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return refuse(source, fmt::format("it belongs to another user (uid {}), who can change it: it must belong to root "
                                      "or to the user that runs this process (uid {}): chown {} {}",
                                      status.st_uid, ::geteuid(), ::geteuid(), origin.path));
  }
  for (const ModeRule& rule : kModeRules) {
    if ((status.st_mode & rule.bits) == 0 || (rule.lifted_by_setting && origin.allow_group_read)) continue;
    const bool keep_group = origin.allow_group_read && !rule.lifted_by_setting;
    return refuse(source, fmt::format("{}: chmod {} {}{}", rule.reason, keep_group ? "640" : "600", origin.path,
                                      rule.lifted_by_setting ? ", or allow it by allow_group_read = true" : ""));
  }
  return {};
}

Result<Pin> read_file(const std::string& source, const PinFromFile& origin) {
  // O_NONBLOCK: a FIFO without a writer must not hang the open; it is refused just after.
  const FileDescriptor file(::open(origin.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (file.get() < 0) return refuse_errno(source, "open it");
  HSMUX_CHECK(check_file(source, origin, file.get()));
  LineBuffer line;
  if (line.data() == nullptr) return heap_exhausted();
  std::size_t size = 0;
  while (size < kLineBytesMax) {
    const ssize_t count = ::read(file.get(), line.data() + size, kLineBytesMax - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse_errno(source, "read it");
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  return pin_of_line(source, {line.data(), size});
}

// One byte of `fd`, or none at its end. It may be a pipe, a socket or a terminal, and in non-blocking mode.
Result<std::optional<char>> read_byte(const std::string& source, int fd, Deadline deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.left(MonotonicClock::now()));
    pollfd watched{fd, POLLIN, 0};
    const int ready = ::poll(&watched, 1, static_cast<int>(left.count()));
    if (ready == 0) return refuse(source, "nothing came: write the PIN and a line break to it, or close it");
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return refuse_errno(source, "wait for it");
    char byte = 0;
    const ssize_t count = ::read(fd, &byte, 1);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return refuse_errno(source, "read it");
    if (count == 0) return std::nullopt;
    return byte;
  }
}

// Byte by byte: what follows the first line break belongs to somebody else.
Result<Pin> read_descriptor(const std::string& source, const PinFromDescriptor& origin) {
  LineBuffer line;
  if (line.data() == nullptr) return heap_exhausted();
  const Deadline deadline = Deadline::after(kDescriptorWait);
  std::size_t size = 0;
  while (size < kLineBytesMax) {
    HSMUX_TRY(const std::optional<char> byte, read_byte(source, origin.fd, deadline));
    if (!byte) break;
    line.data()[size++] = *byte;
    if (*byte == '\n') break;
  }
  return pin_of_line(source, {line.data(), size});
}

Result<Pin> read_prompt(const std::string& source, const PinFromPrompt& origin) {
  static std::mutex terminal; // one question at a time
  const std::scoped_lock lock(terminal);
  // OpenSSL would fall back to standard input, with echo, where there is no terminal.
  const FileDescriptor tty(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (tty.get() < 0) return refuse(source, "there is no terminal: use pin = { env, file or fd } instead");
  LineBuffer line;
  if (line.data() == nullptr) return heap_exhausted();
  const std::string text = (origin.text.empty() ? std::string("PIN") : origin.text) + ": ";
  if (UI_UTIL_read_pw_string(line.data(), kLineBytesMax - 1, text.c_str(), 0) != 0) {
    return refuse(source, "it was not entered");
  }
  return pin_of_line(source, {line.data(), ::strnlen(line.data(), kLineBytesMax)});
}

Result<Pin> read_origin(const std::string& source, const PinOrigin& origin) {
  return std::visit(
      [&](const auto& from) -> Result<Pin> {
        using From = std::decay_t<decltype(from)>;
        if constexpr (std::is_same_v<From, PinFromEnvironment>) return read_environment(source, from);
        if constexpr (std::is_same_v<From, PinFromFile>) return read_file(source, from);
        if constexpr (std::is_same_v<From, PinFromDescriptor>) return read_descriptor(source, from);
        if constexpr (std::is_same_v<From, PinFromPrompt>) return read_prompt(source, from);
        if constexpr (std::is_same_v<From, PinFromValue>) {
          if (from.pin == nullptr || from.pin->empty()) return refuse(source, "it is empty: give a PIN");
          return from.pin->copy();
        }
      },
      origin);
}

std::string describe_origin(const PinOrigin& origin) {
  return std::visit(
      [](const auto& from) -> std::string {
        using From = std::decay_t<decltype(from)>;
        if constexpr (std::is_same_v<From, PinFromEnvironment>) return "environment variable " + from.variable;
        if constexpr (std::is_same_v<From, PinFromFile>) return "file " + from.path;
        if constexpr (std::is_same_v<From, PinFromDescriptor>) return fmt::format("descriptor {}", from.fd);
        if constexpr (std::is_same_v<From, PinFromPrompt>) return "prompt";
        if constexpr (std::is_same_v<From, PinFromValue>) return "value";
      },
      origin);
}

bool read_once(const PinOrigin& origin) {
  return std::holds_alternative<PinFromDescriptor>(origin) || std::holds_alternative<PinFromPrompt>(origin);
}

} // namespace

void Pin::Wipe::operator()(char* bytes) const { OPENSSL_secure_clear_free(bytes, size); }

Result<Pin> Pin::copy_of(std::span<const char> bytes) {
  if (bytes.empty()) return fail(ErrorKind::kCredentials, "a PIN is empty: give one");
  if (bytes.size() > kBytesMax) {
    return fail(ErrorKind::kCredentials, fmt::format("a PIN is too long: at most {} bytes", kBytesMax));
  }
  use_secure_heap();
  char* memory = static_cast<char*>(OPENSSL_secure_malloc(bytes.size()));
  if (memory == nullptr) return heap_exhausted();
  std::memcpy(memory, bytes.data(), bytes.size());
  Pin pin;
  pin.bytes_ = std::unique_ptr<char, Wipe>(memory, Wipe{bytes.size()});
  return pin;
}

struct PinSource::State {
  explicit State(PinOrigin from) : origin(std::move(from)), source(describe_origin(origin)) {}

  const PinOrigin origin;
  const std::string source;
  std::mutex mutex;
  Pin kept; // guarded by mutex; only of a descriptor or a prompt
};

PinSource::PinSource(PinOrigin origin) : state_(std::make_unique<State>(std::move(origin))) {}
PinSource::~PinSource() = default;
PinSource::PinSource(PinSource&&) noexcept = default;
PinSource& PinSource::operator=(PinSource&&) noexcept = default;

Result<Pin> PinSource::read() {
  const std::scoped_lock lock(state_->mutex);
  if (!state_->kept.empty()) return state_->kept.copy();
  HSMUX_TRY(Pin pin, read_origin(state_->source, state_->origin));
  if (!read_once(state_->origin)) return pin;
  state_->kept = std::move(pin);
  return state_->kept.copy();
}

std::string PinSource::describe() const { return state_->source; }

} // namespace hsmux
