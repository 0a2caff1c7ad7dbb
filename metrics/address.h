// Where to listen for HTTP: an IP address and a port, as text. A plain value like events.h, so that the configuration's
// reader can check it, too. Pure; any thread.
#pragma once

#include <arpa/inet.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hsmux::metrics {

inline constexpr std::string_view kDefaultAddress = "127.0.0.1:9467";

struct Address {
  std::string host; // "127.0.0.1", "::1"
  std::uint16_t port = 0;
  bool loopback = false; // reached from this machine only
  bool ipv6 = false;

  [[nodiscard]] std::string text() const { return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port); }
};

// "127.0.0.1:9467" or "[::1]:9467"; port 0 lets the system choose. Names are not looked up. nullopt: it is neither.
inline std::optional<Address> parse_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size() || text.size() > 64) return std::nullopt;
  Address address;
  const std::string_view port = text.substr(colon + 1);
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (code != std::errc() || end != port.data() + port.size()) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  address.ipv6 = host.size() > 2 && host.starts_with('[') && host.ends_with(']');
  if (address.ipv6) host = host.substr(1, host.size() - 2);
  address.host = host;
  if (address.ipv6) {
    in6_addr bytes{};
    if (inet_pton(AF_INET6, address.host.c_str(), &bytes) != 1) return std::nullopt;
    address.loopback = IN6_IS_ADDR_LOOPBACK(&bytes);
  } else {
    in_addr bytes{};
    if (inet_pton(AF_INET, address.host.c_str(), &bytes) != 1) return std::nullopt;
    address.loopback = (ntohl(bytes.s_addr) >> 24) == 127;
  }
  return address;
}

} // namespace hsmux::metrics
