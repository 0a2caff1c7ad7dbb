// What an hsmux_status means for the metrics. Pure; any thread.
#pragma once

#include <cstdint>

#include "metrics/table.h"

namespace hsmux::metrics {

// `status`: an hsmux_status; one that is not known counts as the device's.
Outcome outcome_of(std::int32_t status);

} // namespace hsmux::metrics
