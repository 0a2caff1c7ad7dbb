#include "tools/line_socket.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tools/program.h"

namespace hsmux {
namespace {

constexpr std::size_t kAnswerBytesMax = 4UL << 20;

class Socket {
public:
  Socket() : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

private:
  int fd_;
};

std::unexpected<Error> failure(const std::string& path, std::string_view what) {
  return fail(ErrorKind::kIo, fmt::format("{}: {}", path, what));
}

Status wait_for(int fd, short events, const std::string& path, Deadline deadline) {
  constexpr std::chrono::milliseconds kLookForSignals{100};
  pollfd waiting{.fd = fd, .events = events, .revents = 0};
  while (!Program::interrupted()) {
    if (poll(&waiting, 1, static_cast<int>(kLookForSignals.count())) > 0) return {};
    if (deadline.passed(MonotonicClock::now())) return failure(path, "no answer in time");
  }
  return fail(ErrorKind::kUnavailable, "interrupted");
}

Status send_line(int fd, std::string_view line, const std::string& path, Deadline deadline) {
  while (!line.empty()) {
    const ssize_t sent = send(fd, line.data(), line.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      HSMUX_CHECK(wait_for(fd, POLLOUT, path, deadline));
    } else if (sent < 0) {
      return failure(path, std::strerror(errno));
    } else {
      line.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  return {};
}

Result<std::string> receive_line(int fd, const std::string& path, Deadline deadline) {
  std::string answer;
  std::array<char, 16'384> chunk{};
  while (answer.size() <= kAnswerBytesMax) {
    HSMUX_CHECK(wait_for(fd, POLLIN, path, deadline));
    const ssize_t got = recv(fd, chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) return failure(path, "the other side went away without an answer");
    answer.append(chunk.data(), static_cast<std::size_t>(got));
    if (const std::size_t end = answer.find('\n'); end != std::string::npos) return answer.substr(0, end);
  }
  return failure(path, "the answer is too long");
}

} // namespace

Result<std::string> ask_socket(const std::string& path, const std::string& line, std::chrono::milliseconds timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: the path of a socket has at most {} bytes", path, sizeof address.sun_path - 1));
  }
  path.copy(static_cast<char*>(address.sun_path), path.size());
  const Socket socket;
  const Deadline deadline = Deadline::after(timeout);
  if (socket.fd() < 0) return failure(path, std::strerror(errno));
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failure(path, fmt::format("nobody listens there ({})", std::strerror(errno)));
  }
  HSMUX_CHECK(send_line(socket.fd(), line + "\n", path, deadline));
  return receive_line(socket.fd(), path, deadline);
}

} // namespace hsmux
