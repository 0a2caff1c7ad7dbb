// Which signatures are verified on the host before they leave: the first of each key handle (so of each key, slot and
// epoch), a configured share of the others, and all of a slot that gave a wrong one lately. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "engine/slot_load.h"
#include "engine/work.h"
#include "slots/key_handles.h"

namespace hsmux {

class SelfCheck {
public:
  // After a wrong one, so many in a row must be right before the slot is trusted again.
  static constexpr std::uint32_t kDistrusted = 1000;

  // `share`: 0 to 1.
  explicit SelfCheck(double share) : share_(share) {}

  // Is what `handle` made on `slot` for this work to be verified? Only signatures are, and only where the key's public
  // half is known.
  [[nodiscard]] bool wanted(const Work& work, std::size_t slot, const KeyHandle& handle) const;
  // Verifies it. Errors: kDevice, worth another attempt elsewhere.
  Status verify(const Work& work, std::size_t slot, ByteView signature);

private:
  const double share_;
  std::array<std::atomic<std::uint32_t>, kSlotsMax> distrusted_{};
};

} // namespace hsmux
