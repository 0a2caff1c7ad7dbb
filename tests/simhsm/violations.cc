#include "tests/simhsm/violations.h"

#include <algorithm>

namespace hsmux::sim {
namespace {

constexpr std::array<std::string_view, kViolations> kNames{
    "two-threads", "operation-active", "stale-handle", "size-query", "finalised", "pin-try", "others-login"};

} // namespace

std::string_view violation_name(Violation violation) { return kNames[static_cast<std::size_t>(violation)]; }

std::optional<Violation> violation_named(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Violation>(found - kNames.begin());
}

void Violations::note(Violation violation, std::string text) {
  ++counts_[static_cast<std::size_t>(violation)];
  const std::lock_guard lock(mutex_);
  last_ = std::move(text);
}

void Violations::reset() {
  for (auto& count : counts_) count = 0;
  const std::lock_guard lock(mutex_);
  last_.clear();
}

unsigned long Violations::total() const {
  unsigned long sum = 0;
  for (const auto& count : counts_) sum += count;
  return sum - count(Violation::kPinTry);
}

std::string Violations::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

} // namespace hsmux::sim
