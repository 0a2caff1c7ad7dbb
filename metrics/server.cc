#include "metrics/server.h"

#include <civetweb.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace hsmux::metrics {
namespace {

// Few threads: answers come from memory, and who is slow is cut off.
constexpr const char* kThreads = "4";
constexpr const char* kRequestTimeoutMs = "5000";

std::string_view name_of(int status) {
  switch (status) {
  case 200: return "OK";
  case 400: return "Bad Request";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 503: return "Service Unavailable";
  default: return "Internal Server Error";
  }
}

void send(mg_connection* connection, const Answer& answer, bool with_body) {
  // What the page may do is the least that it needs: scripts, styles and data from here.
  const std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n"
                  "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
                  "Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n"
                  "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
                  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n{}\r\n",
                  answer.status, name_of(answer.status), answer.type, answer.body.size(),
                  answer.status == 405 ? "Allow: GET, HEAD\r\n" : "");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, answer.body.data(), answer.body.size());
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  return std::ranges::equal(a, b, [&](char x, char y) { return lower(x) == lower(y); });
}

} // namespace

Server::Server(Address address, Pages pages, std::function<void(const std::string&)> warn)
    : address_(std::move(address)), pages_(std::move(pages)), warn_(std::move(warn)) {
  static const unsigned features = mg_init_library(MG_FEATURES_DEFAULT); // once per process, and never undone
  (void)features;
}

Server::~Server() {
  if (context_ != nullptr) mg_stop(context_);
}

bool Server::listen(Failure failure) {
  if (context_ != nullptr) return true;
  quiet_ = failure == Failure::kQuiet;
  const std::string port = address_.text();
  const std::array<const char*, 13> options{"listening_ports",
                                            port.c_str(),
                                            "num_threads",
                                            kThreads,
                                            "request_timeout_ms",
                                            kRequestTimeoutMs,
                                            "enable_keep_alive",
                                            "no",
                                            "enable_directory_listing",
                                            "no",
                                            "tcp_nodelay",
                                            "1",
                                            nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = on_request;
  callbacks.log_message = on_message;
  context_ = mg_start(&callbacks, this, const_cast<const char**>(options.data()));
  quiet_ = false;
  if (context_ == nullptr) return false;
  mg_server_port bound{};
  if (mg_get_server_ports(context_, 1, &bound) == 1) port_ = static_cast<std::uint16_t>(bound.port);
  return true;
}

int Server::on_message(const mg_connection* connection, const char* message) {
  const auto* self = static_cast<const Server*>(mg_get_user_data(mg_get_context(connection)));
  if (self != nullptr && self->warn_ && !self->quiet_) self->warn_(message);
  return 1; // not to standard error as well
}

int Server::on_request(mg_connection* connection) {
  static_cast<const Server*>(mg_get_request_info(connection)->user_data)->answer(connection);
  return 1; // handled, whatever came of it: nothing of civetweb's own is ever served
}

bool Server::host_allowed(std::string_view host, const Address& address) {
  if (!address.loopback) return true;
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return equal_ignoring_case(host, "localhost") || host == "127.0.0.1" || host == "::1" || host == address.host;
}

void Server::answer(mg_connection* connection) const {
  const mg_request_info& request = *mg_get_request_info(connection);
  const std::string_view method = request.request_method == nullptr ? "" : request.request_method;
  const bool head = method == "HEAD";
  if (method != "GET" && !head) return send(connection, {.status = 405, .body = "only GET is answered\n"}, true);
  const char* host = mg_get_header(connection, "Host");
  if (host == nullptr) return send(connection, {.status = 400, .body = "the request names no host\n"}, !head);
  if (!host_allowed(host, address_)) {
    return send(connection, {.status = 403, .body = "this host name is not served here: use the address\n"}, !head);
  }
  const std::optional<Answer> answer = pages_(request.local_uri == nullptr ? "" : request.local_uri);
  send(connection, answer ? *answer : Answer{.status = 404, .body = "there is nothing here\n"}, !head);
}

} // namespace hsmux::metrics
