// What Prometheus is told: counts of the collector and a snapshot of the engine as metric families of prometheus-cpp.
// Thread-safe.
#pragma once

#include <prometheus/collectable.h>

#include <string>
#include <vector>

#include "metrics/collector.h"
#include "metrics/snapshot.h"

namespace hsmux::metrics {

class Exposition final : public prometheus::Collectable {
public:
  // `collector` outlives it. `token_serial`: hsmux_slot_info has the token's serial number.
  Exposition(const Collector& collector, SnapshotSource source, std::string version, bool token_serial)
      : collector_(collector), source_(std::move(source)), version_(std::move(version)), token_serial_(token_serial) {}

  // All series of all slots, those that were never counted too.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;
  // The same as text, as Prometheus reads it (text format 0.0.4).
  [[nodiscard]] std::string text() const;

private:
  const Collector& collector_;
  const SnapshotSource source_;
  const std::string version_;
  const bool token_serial_;
};

} // namespace hsmux::metrics
