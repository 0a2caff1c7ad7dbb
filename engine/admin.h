// The operators' door to a running engine: a Unix socket of mode 0600 that answers processes of the same user only
// (SO_PEERCRED). One line of JSON each way; one connection at a time; a client that does not speak for five seconds is
// left. docs/health.md tells the commands. Owned by the engine; a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "slots/result.h"

namespace hsmux {

class AdminSocket {
public:
  // The answer to one line, without its line break; any number of lines, one at a time.
  using Answer = std::function<std::string(std::string_view line)>;
  static constexpr std::size_t kLineBytesMax = 4096;

  // A socket that a dead process left at `path` is replaced. Errors: kConflict (another process listens there), kIo.
  static Result<std::unique_ptr<AdminSocket>> open(const std::string& path, Answer answer);
  // Ends the thread, and removes the socket.
  ~AdminSocket();
  AdminSocket(const AdminSocket&) = delete;
  AdminSocket& operator=(const AdminSocket&) = delete;

private:
  AdminSocket(std::string path, Answer answer, int listener, int ending)
      : path_(std::move(path)), answer_(std::move(answer)), listener_(listener), ending_(ending) {}
  void run();
  void serve(int client);
  // What is to be read is there: false when it ends, or nothing comes for long.
  [[nodiscard]] bool wait_readable(int fd, int timeout_ms) const;

  const std::string path_;
  const Answer answer_;
  const int listener_;
  const int ending_; // an eventfd: written when it is to end
  std::thread thread_;
};

} // namespace hsmux
