// The script of a test: which calls are answered, changed, delayed or held. Plain values; State's mutex guards it.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "tests/shim/function_table.h"
#include "tests/shim/shim.h"

namespace hsmux::shim {

// The calls that a rule is about.
struct Match {
  std::optional<Function> function; // none = all
  CK_SLOT_ID slot = HSMUX_SHIM_ANY_SLOT;

  [[nodiscard]] bool fits(Function called, CK_SLOT_ID at) const {
    return (!function || *function == called) && (slot == HSMUX_SHIM_ANY_SLOT || slot == at);
  }
  bool operator==(const Match&) const = default;
};

// Rules of one kind, used up one after the other.
class Script {
public:
  void add(Match match, unsigned long times, unsigned long skip, CK_RV rv = CKR_OK) {
    rules_.push_back({match, times == 0, times, skip, rv});
  }
  void clear() { rules_.clear(); }

  // The answer for this call if it is its turn. Only the first rule that fits counts the call.
  std::optional<CK_RV> take(Function called, CK_SLOT_ID at) {
    const auto rule = std::ranges::find_if(rules_, [&](const Rule& each) { return each.match.fits(called, at); });
    if (rule == rules_.end()) return std::nullopt;
    if (rule->skip > 0) {
      --rule->skip;
      return std::nullopt;
    }
    const CK_RV rv = rule->rv;
    if (!rule->for_ever && --rule->times == 0) rules_.erase(rule);
    return rv;
  }

private:
  struct Rule {
    Match match;
    bool for_ever;
    unsigned long times, skip;
    CK_RV rv;
  };
  std::vector<Rule> rules_;
};

struct Rules {
  Script answers, corrupt, overlong;
  std::vector<std::pair<Match, std::chrono::milliseconds>> delays;
  std::vector<Match> hangs;

  void set_delay(Match match, std::chrono::milliseconds time) {
    std::erase_if(delays, [&](const auto& delay) { return delay.first == match; });
    if (time.count() > 0) delays.emplace_back(match, time);
  }
  // Delays that fit the same call add up.
  [[nodiscard]] std::chrono::milliseconds delay(Function called, CK_SLOT_ID at) const {
    std::chrono::milliseconds sum{0};
    for (const auto& [match, time] : delays) {
      if (match.fits(called, at)) sum += time;
    }
    return sum;
  }
  [[nodiscard]] bool hangs_for(Function called, CK_SLOT_ID at) const {
    return std::ranges::any_of(hangs, [&](const Match& match) { return match.fits(called, at); });
  }
};

} // namespace hsmux::shim
