#include "tests/simhsm/sim_slot.h"

#include <algorithm>

namespace hsmux::sim {

SlotProfile profile_of(const Settings& settings, CK_SLOT_ID id, std::string_view label) {
  SlotProfile profile;
  const auto hsm = std::ranges::find_if(settings.hsms, [&](const HsmRow& row) { return selects(row.slot, id, label); });
  if (hsm != settings.hsms.end()) profile.hsm = *hsm;
  for (std::size_t i = 0; i < kFunctions; ++i) {
    const auto function = static_cast<Function>(i);
    if (!profile.hsm.local.contains(function)) profile.round_trip.at(i) = profile.hsm.round_trip;
    for (const TimeRow& row : settings.times) {
      const bool fits = !row.match.function || *row.match.function == function;
      if (fits && selects(row.match.slot, id, label)) profile.times.at(i).push_back(row);
    }
  }
  return profile;
}

} // namespace hsmux::sim
