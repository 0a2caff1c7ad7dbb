// How an engine is at one moment, as plain values: what the metrics and the status page show besides what they count
// themselves. Nothing here is secret.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace hsmux::metrics {

struct SlotSnapshot {
  std::string name = {}, state = {}; // state: one of kSlotStates (metrics/table.h)
  std::string model = {}, firmware = {}, library = {}, serial = {};
  std::string reason = {}; // why it is not healthy; empty when it is
  bool usable = false;     // takes requests, if need be as the last one
  std::uint64_t epoch = 0;
  std::uint32_t sessions_idle = 0, sessions_leased = 0, sessions_quarantined = 0, sessions_limit = 0;
  std::uint32_t in_flight = 0, concurrency = 0;
};

struct Snapshot {
  std::string health = "failed";         // one of kHealthStates
  std::vector<std::string> reasons = {}; // why it is not "ok": sentences
  std::vector<SlotSnapshot> slots = {};
  std::uint64_t waiting = 0, submitted = 0;
  std::uint64_t threads = 0, threads_idle = 0, threads_quarantined = 0;
};

// Answers at once, from memory: no module is asked. Empty: there is no engine (any more). Any thread.
using SnapshotSource = std::function<std::optional<Snapshot>()>;

} // namespace hsmux::metrics
