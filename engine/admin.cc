#include "engine/admin.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

namespace hsmux {
namespace {

constexpr int kPatienceMs = 5000;

std::unexpected<Error> refuse_socket(const std::string& path, ErrorKind kind, std::string_view why) {
  return fail(kind, fmt::format("the admin socket {} cannot be opened: {}", path, why));
}

std::unexpected<Error> refuse_socket_errno(const std::string& path) {
  return refuse_socket(path, ErrorKind::kIo, std::generic_category().message(errno));
}

// A socket of ours that nobody listens on any more is in the way.
Status clear_the_way(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return refuse_socket(path, ErrorKind::kIo, "something that is no socket is there");
  if (status.st_uid != geteuid()) return refuse_socket(path, ErrorKind::kIo, "a socket of another user is there");
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return refuse_socket_errno(path);
  const bool dead =
      ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED;
  ::close(probe);
  if (!dead)
    return refuse_socket(path, ErrorKind::kConflict, "another process listens there; give each engine its own");
  if (::unlink(path.c_str()) != 0) return refuse_socket_errno(path);
  return {};
}

bool same_user(int client) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

bool send_all(int client, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(client, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false; // also after SO_SNDTIMEO
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

} // namespace

Result<std::unique_ptr<AdminSocket>> AdminSocket::open(const std::string& path, Answer answer) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return refuse_socket(path, ErrorKind::kIo, fmt::format("the path has 1 to {} bytes", sizeof address.sun_path - 1));
  }
  path.copy(static_cast<char*>(address.sun_path), path.size());
  HSMUX_CHECK(clear_the_way(path, address));
  const int ending = ::eventfd(0, EFD_CLOEXEC);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  std::unique_ptr<AdminSocket> socket(new AdminSocket(path, std::move(answer), listener, ending));
  if (ending < 0 || listener < 0) return refuse_socket_errno(path);
  // On Linux the file gets this mode from the first moment on: there is no time at which others may connect.
  if (::fchmod(listener, S_IRUSR | S_IWUSR) != 0 ||
      ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || ::listen(listener, 4) != 0) {
    return refuse_socket_errno(path);
  }
  try {
    socket->thread_ = std::thread([raw = socket.get()] { raw->run(); });
  } catch (const std::system_error&) {
    return refuse_socket(path, ErrorKind::kIo, "no thread for it");
  }
  return socket;
}

AdminSocket::~AdminSocket() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    (void)!::write(ending_, &one, sizeof one);
    thread_.join();
    ::unlink(path_.c_str());
  }
  if (listener_ >= 0) ::close(listener_);
  if (ending_ >= 0) ::close(ending_);
}

bool AdminSocket::wait_readable(int fd, int timeout_ms) const {
  std::array<pollfd, 2> waiting{pollfd{.fd = fd, .events = POLLIN, .revents = 0},
                                pollfd{.fd = ending_, .events = POLLIN, .revents = 0}};
  while (true) {
    const int count = ::poll(waiting.data(), waiting.size(), timeout_ms);
    if (count < 0 && errno == EINTR) continue;
    return count > 0 && waiting[1].revents == 0;
  }
}

void AdminSocket::run() {
  while (wait_readable(listener_, -1)) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    if (same_user(client)) serve(client);
    ::close(client);
  }
}

void AdminSocket::serve(int client) {
  const timeval patience{.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
  ::setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  std::string buffer;
  std::array<char, kLineBytesMax> chunk{};
  while (wait_readable(client, kPatienceMs)) {
    const ssize_t got = ::recv(client, chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    buffer.append(chunk.data(), static_cast<std::size_t>(got));
    for (std::size_t end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n')) {
      const std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      if (!send_all(client, answer_(line) + "\n")) return;
    }
    if (buffer.size() > kLineBytesMax) return;
  }
}

} // namespace hsmux
