#include "tools/file_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "mechanisms/host_crypto.h"
#include "tools/program.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

std::unexpected<Error> io_error(std::string_view what, std::string_view path) {
  const int why = errno;
  return fail(ErrorKind::kIo, fmt::format("{} {}: {}", path, what, std::strerror(why)));
}

std::unexpected<Error> exists_already(const std::string& path) {
  return fail(ErrorKind::kConflict, fmt::format("{} exists already and is left alone; --force overwrites it", path));
}

class Descriptor {
public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ > STDERR_FILENO) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  // The answer counts: network file systems report failed writes here.
  [[nodiscard]] bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

private:
  int fd_;
};

// Signals that come between the test and a blocking read() would be lost: the wait has a limit.
bool wait_readable(int fd) {
  pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
  while (!Program::interrupted()) {
    const int ready = poll(&waiting, 1, 200);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
  }
  return false;
}

SecureBytes grown(SecureBytes bytes, std::size_t size) {
  SecureBytes larger(size);
  std::ranges::copy(bytes.view(), larger.span().begin());
  return larger;
}

Result<SecureBytes> read_all(int fd, const std::string& name, std::size_t bytes_max) {
  struct stat info{};
  constexpr std::size_t kFirst = 64UL << 10;
  const bool sized = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
  // One byte more than wanted tells whether there is too much.
  SecureBytes bytes(std::min(sized ? static_cast<std::size_t>(info.st_size) + 1 : kFirst, bytes_max + 1));
  std::size_t size = 0;
  while (true) {
    if (!wait_readable(fd)) return fail(ErrorKind::kIo, fmt::format("reading {} was interrupted", name));
    const ssize_t got = read(fd, bytes.span().data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("cannot be read", name);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
    if (size > bytes_max) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("{} has more than {} bytes", name, bytes_max));
    }
    if (size == bytes.size()) bytes = grown(std::move(bytes), std::min(2 * size, bytes_max + 1));
  }
  bytes.resize_down(size);
  return bytes;
}

Status write_all(int fd, ByteView bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return io_error("cannot be written", name);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

bool plain_text(ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::uint8_t c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; });
}

// A name beside `path`; removed unless it was renamed.
class TemporaryFile {
public:
  static Result<std::string> name_beside(const std::string& path) {
    std::array<std::uint8_t, 8> random{};
    HSMUX_CHECK(random_bytes(random));
    return (std::filesystem::path(path).parent_path() / (".hsmux-" + to_hex(random))).string();
  }
  explicit TemporaryFile(std::string name) : name_(std::move(name)) {}
  ~TemporaryFile() {
    if (!renamed_) unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  [[nodiscard]] Status rename_to(const std::string& path, bool force) {
    if (force) {
      if (rename(name_.c_str(), path.c_str()) != 0) return io_error("cannot be written", path);
      renamed_ = true;
      return {};
    }
    // Somebody may have made the file meanwhile.
    if (renameat2(AT_FDCWD, name_.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
      renamed_ = true;
      return {};
    }
    if (errno == EEXIST) return exists_already(path);
    if (link(name_.c_str(), path.c_str()) == 0) return {}; // file systems without RENAME_NOREPLACE
    if (errno == EEXIST) return exists_already(path);
    return io_error("cannot be written", path);
  }

private:
  std::string name_;
  bool renamed_ = false;
};

enum class Place : std::uint8_t { kFree, kFile, kStream, kFolder };

Result<Place> place_at(const std::string& path) {
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return Place::kFree;
    return io_error("cannot be written", path);
  }
  if (S_ISLNK(info.st_mode) && stat(path.c_str(), &info) != 0) return Place::kFile; // dangling
  if (S_ISDIR(info.st_mode)) return Place::kFolder;
  return S_ISREG(info.st_mode) ? Place::kFile : Place::kStream;
}

} // namespace

ByteView bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

Result<SecureBytes> read_input(const std::string& path, std::size_t bytes_max) {
  if (path.empty() || path == "-") return read_all(STDIN_FILENO, "standard input", bytes_max);
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return io_error("cannot be read", path);
  return read_all(file.get(), path, bytes_max);
}

Status Output::check() const {
  if (to_stdout()) return {};
  HSMUX_TRY(const Place place, place_at(path));
  if (place == Place::kFolder) return fail(ErrorKind::kInvalidArgument, fmt::format("{} is a folder", path));
  if (place == Place::kFile && !force) return exists_already(path);
  return {};
}

Status Output::write(ByteView bytes) const {
  if (to_stdout()) {
    if (stdout_is_terminal() && !force && !plain_text(bytes)) {
      return fail(ErrorKind::kInvalidArgument,
                  "the result is binary and standard output is a terminal: give --out FILE, or --force");
    }
    std::fflush(stdout);
    return write_all(STDOUT_FILENO, bytes, "standard output");
  }
  HSMUX_CHECK(check());
  HSMUX_TRY(const Place place, place_at(path));
  if (place == Place::kStream) {
    const Descriptor stream(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (stream.get() < 0) return io_error("cannot be written", path);
    return write_all(stream.get(), bytes, path);
  }
  HSMUX_TRY(const std::string name, TemporaryFile::name_beside(path));
  Descriptor file(open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0600 : 0666));
  if (file.get() < 0) return io_error("cannot be written (its folder takes no new file)", path);
  TemporaryFile temporary(name);
  HSMUX_CHECK(write_all(file.get(), bytes, path));
  if (fsync(file.get()) != 0 || !file.close()) return io_error("cannot be written", path);
  return temporary.rename_to(path, force);
}

Status write_new_file(const std::string& path, ByteView bytes, unsigned mode) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (file.get() < 0) return errno == EEXIST ? exists_already(path) : io_error("cannot be made", path);
  if (fchmod(file.get(), mode) != 0) return io_error("cannot be made", path);
  HSMUX_CHECK(write_all(file.get(), bytes, path));
  if (!file.close()) return io_error("cannot be written", path);
  return {};
}

} // namespace hsmux
