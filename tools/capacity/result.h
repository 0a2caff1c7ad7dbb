// What a capacity run leaves behind: a JSON document of a documented, versioned form (docs/capacity.schema.json), and
// how its parts are written. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tools/capacity/load.h"
#include "tools/capacity/raw.h"
#include "tools/capacity/search.h"
#include "tools/capacity/statistics.h"

namespace hsmux::capacity {

using Json = nlohmann::json;

inline constexpr const char* kFormat = "hsmux-capacity";
inline constexpr int kFormatVersion = 1;

Json latency_json(const Histogram& histogram); // microseconds, and the histogram itself
Json stage_json(const LoadResult& result, const std::vector<std::string>& slots, std::uint32_t sessions);
Json raw_json(const std::string& name, const std::string& slot, std::uint32_t threads, const RawResult& result);
Json row_json(const std::string& name, const Histogram& histogram);
Json machine_json();
Json slot_json(const SlotReport& report, const ModuleConfig& module);
Json stability_json(const StabilityVerdict& verdict);
Json estimate_json(const Estimate& estimate);
std::string utc_text(std::int64_t unix_ms); // "2026-11-24T12:00:00Z"
std::int64_t unix_ms_now();

// Reads a result file. Errors: kIo, kInvalidArgument (not such a document, or of another version).
Result<Json> read_result(const std::string& path);

// The figures for people: tables and sentences.
std::string text_report(const Json& document);

// HdrHistogram's own log (version 1.3) with a line for each stage and entry.
std::string histogram_log(const Json& document);

} // namespace hsmux::capacity
