#include "metrics/recent_errors.h"

#include <algorithm>

#include "engine/hsmux.h"
#include "metrics/outcome.h"

namespace hsmux::metrics {
namespace {

// How an event is called here; empty: it tells of nothing wrong.
std::string_view what(const Event& event) {
  switch (event.kind) {
  case EventKind::kOperation: return event.status == ErrorKind{} ? "" : "operation";
  case EventKind::kRequest: return event.status == ErrorKind{} ? "" : "request";
  case EventKind::kLogin: return event.rv == 0 ? "" : "login";
  case EventKind::kKeyFind: return event.rv == 0 ? "" : "key search";
  case EventKind::kSessionOpenFailed: return "session not opened";
  case EventKind::kSessionDiscarded: return "session discarded";
  case EventKind::kSlotLost: return "slot lost";
  case EventKind::kPinLatched: return "PIN latched";
  case EventKind::kUnusual: return "module breaks a rule";
  case EventKind::kOverdue: return "overdue";
  case EventKind::kSlotHealth: return event.detail == "healthy" || event.detail == "probing" ? "" : event.detail;
  case EventKind::kCanary: return event.detail == "failed" ? "canary failed" : "";
  case EventKind::kWrongResult: return "wrong result";
  default: return "";
  }
}

RecentError error_of(const Event& event, std::string_view what) {
  RecentError error{.what = std::string(what),
                    .slot = std::string(event.slot),
                    .call = std::string(event.call),
                    .algorithm = std::string(event.algorithm),
                    .outcome = {},
                    .reason = std::string(event.reason),
                    .rv = event.rv};
  const auto status = static_cast<std::int32_t>(event.status);
  if (status != HSMUX_OK) error.outcome = kOutcomes[static_cast<std::size_t>(outcome_of(status))];
  // Why a ciphertext does not decrypt is told nobody: all such failures look alike.
  if (status == HSMUX_DECRYPT_FAILED) {
    error.call.clear();
    error.rv = 0;
  }
  return error;
}

bool alike(const RecentError& a, const RecentError& b) {
  return a.what == b.what && a.slot == b.slot && a.call == b.call && a.algorithm == b.algorithm &&
         a.outcome == b.outcome && a.reason == b.reason && a.rv == b.rv;
}

} // namespace

void RecentErrors::add(const Event& event) {
  const std::string_view wrong = what(event);
  if (wrong.empty()) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return;
  RecentError error = error_of(event, wrong);
  const auto known = std::ranges::find_if(errors_, [&](const RecentError& other) { return alike(error, other); });
  if (known != errors_.end()) {
    errors_.splice(errors_.begin(), errors_, known);
  } else {
    errors_.push_front(std::move(error));
    if (errors_.size() > kMax) errors_.pop_back();
  }
  ++errors_.front().count;
  errors_.front().last = std::chrono::system_clock::now();
}

std::vector<RecentError> RecentErrors::list() const {
  const std::lock_guard lock(mutex_);
  return {errors_.begin(), errors_.end()};
}

} // namespace hsmux::metrics
