// What the status page shows, as one JSON text: the snapshot, what the collector counted, and the last errors. Rates
// and percentiles are the page's to work out, from two of them. Any thread.
#pragma once

#include <string>

#include "metrics/collector.h"
#include "metrics/snapshot.h"

namespace hsmux::metrics {

std::string status_report(const Collector& collector, const std::optional<Snapshot>& snapshot,
                          const std::string& version);

} // namespace hsmux::metrics
