// One HTTP request over a socket of its own, to a server on this machine. Any thread.
#pragma once

#include <cstdint>
#include <string>

namespace hsmux {

struct HttpAnswer {
  int status = 0; // 0: no answer
  std::string head, body;
};

// `head`: request line and headers, without the empty line at the end. `timeout_s`: of each wait for bytes.
HttpAnswer http(std::uint16_t port, const std::string& head, int timeout_s = 10);
// GET with the usual Host.
HttpAnswer http_get(std::uint16_t port, const std::string& path);

// A socket that listens on a free port of 127.0.0.1 as long as it lives: so that others find the port taken.
class TakenPort {
public:
  TakenPort();
  ~TakenPort();
  TakenPort(const TakenPort&) = delete;
  TakenPort& operator=(const TakenPort&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

private:
  int fd_;
  std::uint16_t port_ = 0;
};

} // namespace hsmux
