// The audit of keys: are the replicas of a key the same key, and do its attributes keep it where it belongs? Blocking;
// changes nothing; any thread.
#pragma once

#include "engine/key_index.h"

namespace hsmux {

// What is wrong with a replica, or not as keys of hsmux are; one sentence each. Pure.
std::vector<std::string> attribute_findings(const ReplicaAudit& replica);

// All findings of a report: of keys, unfinished ones, and slots that were not asked. Pure.
std::size_t findings_of(const AuditReport& report);

// Keys of `name`, or all.
Result<AuditReport> audit_keys(SlotGroup& group, KeyIndex& index, std::string_view name, Deadline deadline);

} // namespace hsmux
