// The table behind ShimControl.
#include "tests/shim/shim.h"
#include "tests/shim/state.h"

namespace hsmux::shim {
namespace {

State& state() { return State::get(); }

std::optional<Match> match_of(const char* function, unsigned long slot) {
  if (std::string_view(function) == "*") return Match{std::nullopt, slot};
  const std::optional<Function> named = function_named(function);
  if (!named) return std::nullopt;
  return Match{named, slot};
}

// False for an unknown name.
bool change_rules(const char* function, unsigned long slot, const std::function<void(Rules&, Match)>& change) {
  const std::optional<Match> match = match_of(function, slot);
  if (!match) return false;
  state().change_rules([&](Rules& rules) { change(rules, *match); });
  return true;
}

constexpr hsmux_shim_table kTable = {
    .count = [](const char* function, unsigned long slot) -> long long {
      const std::optional<Match> match = match_of(function, slot);
      return match ? state().count(match->function, slot) : -1;
    },
    .reset_counts = [] { state().reset_counts(); },
    .reset = [] { state().reset(); },

    .answer =
        [](const char* function, unsigned long slot, unsigned long rv, unsigned long times, unsigned long skip) {
          return change_rules(function, slot,
                              [=](Rules& rules, Match match) { rules.answers.add(match, times, skip, rv); });
        },
    .corrupt =
        [](const char* function, unsigned long slot, unsigned long times) {
          return change_rules(function, slot, [=](Rules& rules, Match match) { rules.corrupt.add(match, times, 0); });
        },
    .overlong =
        [](const char* function, unsigned long slot, unsigned long times) {
          return change_rules(function, slot, [=](Rules& rules, Match match) { rules.overlong.add(match, times, 0); });
        },
    .clear_answers =
        [] {
          state().change_rules([](Rules& rules) {
            rules.answers.clear();
            rules.corrupt.clear();
            rules.overlong.clear();
          });
        },

    .delay =
        [](const char* function, unsigned long slot, unsigned long milliseconds) {
          return change_rules(function, slot, [=](Rules& rules, Match match) {
            rules.set_delay(match, std::chrono::milliseconds(milliseconds));
          });
        },
    .hang =
        [](const char* function, unsigned long slot) {
          return change_rules(function, slot, [](Rules& rules, Match match) { rules.hangs.push_back(match); });
        },
    .release = [] { state().release(); },
    .wait_hung = [](unsigned long calls,
                    unsigned long ms) { return state().wait_hung(calls, std::chrono::milliseconds(ms)); },

    .kill_sessions = [](unsigned long slot) { return state().kill_sessions(slot); },
    .open_sessions = [](unsigned long slot) { return state().open_sessions(slot); },
    .logout = [](unsigned long slot) { return state().logout(slot); },
    .set_sessions_max = [](unsigned long sessions, bool report) { state().set_sessions_max(sessions, report); },
    .set_token_flags = [](unsigned long slot, unsigned long set,
                          unsigned long clear) { state().set_token_flags(slot, set, clear); },

    .hide_mechanism = [](unsigned long type) { state().hide_mechanism(type); },
    .add_mechanism = [](unsigned long type) { state().add_mechanism(type); },

    .violations = [] { return state().violations(); },
    .last_violation =
        [](char* text, unsigned long bytes) {
          if (bytes == 0) return;
          const std::string last = state().last_violation();
          const std::size_t copied = last.copy(text, bytes - 1);
          text[copied] = '\0';
        },
    .logins = [](unsigned long slot) { return state().logins(slot); },
    .write_counts = [](const char* path) { return state().write_counts(path); },
};

} // namespace
} // namespace hsmux::shim

extern "C" const hsmux_shim_table* hsmux_shim_control() { return &hsmux::shim::kTable; }
