// A small HTTP server over civetweb: it answers GET for a few paths and nothing else. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "metrics/address.h"

struct mg_context;
struct mg_connection;

namespace hsmux::metrics {

struct Answer {
  int status = 200;
  std::string_view type = "text/plain; charset=utf-8"; // of the content
  std::string body;
};
// What a path answers; nullopt: there is no such path. Called on several threads at once.
using Pages = std::function<std::optional<Answer>(std::string_view path)>;

class Server {
public:
  // `warn` gets what civetweb has to say. Does not listen yet.
  Server(Address address, Pages pages, std::function<void(const std::string&)> warn);
  ~Server(); // ends the requests under way and closes the port
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // False: the port cannot be had; `warn` was told why, or not. Once it listens, no more. One thread at a time.
  enum class Failure : std::uint8_t { kTold, kQuiet };
  bool listen(Failure failure);
  // The port in use; 0 while it does not listen.
  [[nodiscard]] std::uint16_t port() const { return port_; }

  // May a browser that believes to talk to this host have the answer? On a loopback address only names of this machine
  // are served: a page from elsewhere whose name was made to point here (DNS rebinding) is not.
  static bool host_allowed(std::string_view host, const Address& address);

private:
  static int on_request(mg_connection* connection);
  static int on_message(const mg_connection* connection, const char* message);
  void answer(mg_connection* connection) const;

  const Address address_;
  const Pages pages_;
  const std::function<void(const std::string&)> warn_;
  std::atomic<std::uint16_t> port_{0};
  std::atomic<bool> quiet_{false};
  mg_context* context_ = nullptr;
};

} // namespace hsmux::metrics
