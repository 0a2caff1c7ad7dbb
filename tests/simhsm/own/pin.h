// One PIN of a token: a salted digest of it and how often it was given wrongly. Owned and guarded by the token.
#pragma once

#include <array>

#include "tests/simhsm/own/openssl_objects.h"

namespace hsmux::sim::own {

class Pin {
public:
  static constexpr std::size_t kBytesMin = 4, kBytesMax = 255;
  enum class Doubt : std::uint8_t { kNone, kCountLow, kFinalTry, kLocked };

  explicit Pin(unsigned tries) : tries_(tries == 0 ? 1 : tries) {}

  // Refuses with CKR_PIN_LEN_RANGE. For what callers give; Settings may have any PIN.
  static void check_length(View pin);

  // Sets it, with all tries left.
  void set(View pin);
  void forget();
  [[nodiscard]] bool is_set() const { return !digest_.empty(); }

  // Refuses with CKR_PIN_LOCKED or CKR_PIN_INCORRECT; counts. Takes as long for a wrong as for a right one.
  void check(View pin);

  [[nodiscard]] Doubt doubt() const;

private:
  [[nodiscard]] Bytes salted(View pin) const;

  unsigned tries_;
  unsigned wrong_ = 0;
  std::array<unsigned char, 16> salt_{};
  Bytes digest_;
};

} // namespace hsmux::sim::own
