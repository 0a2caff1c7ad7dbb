// The metrics as data: one row per metric, with the words that its labels may have and the bounds of its buckets.
// docs/metrics.md has the same rows, and a test compares them. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hsmux::metrics {

enum class Type : std::uint8_t { kGauge, kCounter, kHistogram };
constexpr std::string_view type_name(Type type) {
  return type == Type::kGauge ? "gauge" : type == Type::kCounter ? "counter" : "histogram";
}

// In the order of the table.
enum class Metric : std::uint8_t {
  kBuildInfo,
  kHealthState,
  kSlotInfo,
  kSlotState,
  kSlotUsable,
  kSlotEpoch,
  kSlotLosses,
  kSessions,
  kSessionsLimit,
  kSessionOpens,
  kSessionDiscards,
  kOperations,
  kOperationDuration,
  kWaitDuration,
  kRequests,
  kRequestDuration,
  kInFlight,
  kConcurrency,
  kWaiters,
  kSubmitted,
  kThreads,
  kRetries,
  kOverdue,
  kLogins,
  kPinLatches,
  kKeyFinds,
  kOddities,
  kCanaries,
  kWrongResults,
  kLastSuccess,
};

struct MetricRow {
  Metric metric;
  std::string_view name;
  Type type;
  std::string_view labels; // names, separated by commas
  std::string_view help;
};

inline constexpr auto kTable = std::to_array<MetricRow>({
    {Metric::kBuildInfo, "hsmux_build_info", Type::kGauge, "version", "Always 1; the version of hsmux."},
    {Metric::kHealthState, "hsmux_health_state", Type::kGauge, "state",
     "1 for the state that the engine is in, 0 for the others."},
    {Metric::kSlotInfo, "hsmux_slot_info", Type::kGauge, "slot,model,firmware,library",
     "Always 1; what the token says it is. The label serial is there only where the configuration asks for it."},
    {Metric::kSlotState, "hsmux_slot_state", Type::kGauge, "slot,state",
     "1 for the state that the slot is in, 0 for the others."},
    {Metric::kSlotUsable, "hsmux_slot_usable", Type::kGauge, "slot",
     "1 while the slot takes requests, if need be as the last one that can."},
    {Metric::kSlotEpoch, "hsmux_slot_epoch", Type::kGauge, "slot",
     "Grows each time all sessions and handles of the slot became void."},
    {Metric::kSlotLosses, "hsmux_slot_losses_total", Type::kCounter, "slot",
     "How often token, login or all sessions of the slot were lost."},
    {Metric::kSessions, "hsmux_sessions", Type::kGauge, "slot,state",
     "Open sessions, the anchor not counted; quarantined: a call on it does not return."},
    {Metric::kSessionsLimit, "hsmux_sessions_limit", Type::kGauge, "slot",
     "Sessions that the slot may have: sessions_max, or less where the token has no more."},
    {Metric::kSessionOpens, "hsmux_session_opens_total", Type::kCounter, "slot,outcome",
     "Sessions opened for the pool, and attempts at it that failed."},
    {Metric::kSessionDiscards, "hsmux_session_discards_total", Type::kCounter, "slot,reason",
     "Sessions that left the pool because of what a call answered."},
    {Metric::kOperations, "hsmux_operations_total", Type::kCounter, "slot,op,spec,outcome",
     "Attempts of requests that ended on a slot."},
    {Metric::kOperationDuration, "hsmux_operation_duration_seconds", Type::kHistogram, "slot,op,spec",
     "Time that the module took for an attempt, failed ones too."},
    {Metric::kWaitDuration, "hsmux_wait_duration_seconds", Type::kHistogram, "slot",
     "Time that attempts waited for a session of the slot that served them."},
    {Metric::kRequests, "hsmux_requests_total", Type::kCounter, "op,spec,outcome",
     "Signatures, decryptions and encryptions that ended, as their callers saw it."},
    {Metric::kRequestDuration, "hsmux_request_duration_seconds", Type::kHistogram, "op,spec",
     "Time from asking to answer, with waiting and all attempts."},
    {Metric::kInFlight, "hsmux_slot_requests_in_flight", Type::kGauge, "slot", "Requests at the slot now."},
    {Metric::kConcurrency, "hsmux_slot_concurrency_limit", Type::kGauge, "slot",
     "Requests given to the slot at once, at most; adapts to what the token gains by more."},
    {Metric::kWaiters, "hsmux_waiters", Type::kGauge, "", "Requests that wait for a session of any slot."},
    {Metric::kSubmitted, "hsmux_submitted_requests", Type::kGauge, "", "Requests submitted and not ended."},
    {Metric::kThreads, "hsmux_worker_threads", Type::kGauge, "state",
     "Threads of the engine; quarantined: the module does not let them go."},
    {Metric::kRetries, "hsmux_retries_total", Type::kCounter, "slot,reason",
     "Attempts on the slot after which the request was tried again."},
    {Metric::kOverdue, "hsmux_overdue_total", Type::kCounter, "slot",
     "Attempts that were given up on because the module did not return in time."},
    {Metric::kLogins, "hsmux_logins_total", Type::kCounter, "slot,outcome", "Logins tried at the token."},
    {Metric::kPinLatches, "hsmux_pin_latches_total", Type::kCounter, "slot",
     "How often a refused PIN stopped all further logins."},
    {Metric::kKeyFinds, "hsmux_key_finds_total", Type::kCounter, "slot", "Searches of the token for a key's handle."},
    {Metric::kOddities, "hsmux_module_oddities_total", Type::kCounter, "slot",
     "Answers of the module that break a rule of PKCS#11 and that hsmux works around."},
    {Metric::kCanaries, "hsmux_canaries_total", Type::kCounter, "slot,result",
     "Calls of hsmux's own that find out whether the slot works."},
    {Metric::kWrongResults, "hsmux_wrong_results_total", Type::kCounter, "slot",
     "Results of the module that the host found wrong; none was released."},
    {Metric::kLastSuccess, "hsmux_last_success_timestamp_seconds", Type::kGauge, "slot",
     "When an operation on the slot last succeeded, in seconds since 1970; 0: not yet."},
});
constexpr const MetricRow& row_of(Metric metric) { return kTable[static_cast<std::size_t>(metric)]; }
static_assert([] {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    if (kTable[i].metric != static_cast<Metric>(i)) return false;
  }
  return true;
}());

// Upper bounds of the buckets of every histogram, in nanoseconds; one more bucket holds what is longer.
inline constexpr std::array<std::int64_t, 17> kBucketBounds{
    50'000,      100'000,       200'000,       500'000,       1'000'000,     2'000'000,
    5'000'000,   10'000'000,    20'000'000,    50'000'000,    100'000'000,   200'000'000,
    500'000'000, 1'000'000'000, 2'000'000'000, 5'000'000'000, 10'000'000'000};
inline constexpr std::size_t kBuckets = kBucketBounds.size() + 1;

// How an attempt or a request ended.
enum class Outcome : std::uint8_t {
  kOk,
  kCaller,    // the caller's data: bad ciphertext, wrong size, cancelled
  kKey,       // no such key, or it is not for this
  kTransient, // session, login or slot lost, or the engine closing
  kDevice,    // the HSM or its module failed, or the PIN is refused
  kTimeout,   // the deadline passed, or the module did not return
  kShed,      // refused at once: too much is waiting
};
inline constexpr auto kOutcomes =
    std::to_array<std::string_view>({"ok", "caller", "key", "transient", "device", "timeout", "shed"});

// As slots/slot_health.h names them.
inline constexpr auto kSlotStates =
    std::to_array<std::string_view>({"healthy", "suspect", "ejected", "probing", "draining", "latched"});
inline constexpr auto kHealthStates = std::to_array<std::string_view>({"ok", "degraded", "failed", "fatal"});
inline constexpr auto kSessionStates = std::to_array<std::string_view>({"idle", "leased", "quarantined"});
inline constexpr auto kThreadStates = std::to_array<std::string_view>({"idle", "busy", "quarantined"});
inline constexpr auto kCanaryResults = std::to_array<std::string_view>({"well", "failed", "inconclusive"});
inline constexpr auto kSuccess = std::to_array<std::string_view>({"ok", "failed"});

// Slots whose events are counted: as many as a configuration may have.
inline constexpr std::size_t kSlotsMax = 64;

} // namespace hsmux::metrics
