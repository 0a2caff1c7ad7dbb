// The texts of PKCS#11's structures: of a fixed length, padded with blanks and not terminated. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace hsmux::sim::own {

template <std::size_t Size> void fill(unsigned char (&field)[Size], std::string_view text) {
  const std::string_view fitting = text.substr(0, Size);
  std::ranges::fill(std::ranges::copy(fitting, field).out, field + Size, static_cast<unsigned char>(' '));
}

} // namespace hsmux::sim::own
