#include "mechanisms/quirks.h"

#include <array>

namespace hsmux {
namespace {

constexpr std::array kRows{
    Quirks{"softhsm", "SoftHSM project", "SoftHSM v2", GcmIvBits::kEightTimesLength},
    Quirks{"standard", "", "", GcmIvBits::kEightTimesLength},
};

} // namespace

const Quirks& quirks_of(const TokenIdentity& token) {
  for (const Quirks& row : kRows) {
    if (token.manufacturer.starts_with(row.manufacturer) && token.model.starts_with(row.model)) return row;
  }
  return kRows.back();
}

} // namespace hsmux
