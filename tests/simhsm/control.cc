// The table behind SimControl.
#include "tests/simhsm/control.h"

#include <cstring>

#include "tests/simhsm/control_socket.h"
#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

// None for an unknown name.
std::optional<Match> match_of(const char* function, unsigned long slot) {
  Match match;
  if (slot != HSMUX_SIM_ANY_SLOT) match.slot = slot;
  if (std::string_view(function) == "*") return match;
  match.function = function_named(function);
  return match.function ? std::optional(match) : std::nullopt;
}

bool add(const char* function, unsigned long slot, Fault fault) {
  const std::optional<Match> match = match_of(function, slot);
  if (!match) return false;
  fault.match = *match;
  simulator().change_script([&](Script& script) { script.add(fault); });
  return true;
}

Fault fault_of(Action action, std::uint64_t times) {
  Fault fault;
  fault.action = action;
  fault.times = times;
  return fault;
}

char* copy_of(const std::string& text) { return strdup(text.c_str()); }

constexpr hsmux_sim_table kTable = {
    .count = [](const char* function, unsigned long slot) -> long long {
      const std::optional<Match> match = match_of(function, slot);
      return match ? simulator().count(match->function, slot) : -1;
    },
    .reset_counts = [] { simulator().reset_counts(); },
    .reset = [] { simulator().reset(); },

    .answer =
        [](const char* function, unsigned long slot, unsigned long rv, unsigned long times, unsigned long skip) {
          Fault fault = fault_of(Action::kAnswer, times);
          fault.rv = rv;
          fault.skip = skip;
          return add(function, slot, fault);
        },
    .corrupt = [](const char* function, unsigned long slot,
                  unsigned long times) { return add(function, slot, fault_of(Action::kCorrupt, times)); },
    .overlong = [](const char* function, unsigned long slot,
                   unsigned long times) { return add(function, slot, fault_of(Action::kOverlong, times)); },
    .clear_answers =
        [] {
          simulator().change_script([](Script& script) {
            for (const Action each : {Action::kAnswer, Action::kCorrupt, Action::kOverlong}) script.clear(each);
          });
        },

    .delay =
        [](const char* function, unsigned long slot, unsigned long milliseconds) {
          if (milliseconds == 0) {
            simulator().change_script([](Script& script) { script.clear(Action::kDelay); });
            return true;
          }
          Fault fault = fault_of(Action::kDelay, 0);
          fault.time = std::chrono::milliseconds(milliseconds);
          return add(function, slot, fault);
        },
    .hang = [](const char* function, unsigned long slot) { return add(function, slot, fault_of(Action::kHang, 0)); },
    .release = [] { simulator().release(); },
    .wait_hung = [](unsigned long calls,
                    unsigned long ms) { return simulator().wait_hung(calls, std::chrono::milliseconds(ms)); },

    .kill_sessions = [](unsigned long slot) { return simulator().lose_sessions_now(slot); },
    .open_sessions =
        [](unsigned long slot) {
          unsigned long open = 0;
          for (const SimSlot* each : simulator().slots(slot)) open += each->sessions;
          return open;
        },
    .logout = [](unsigned long slot) -> unsigned long {
      SimSlot* found = simulator().find_slot(slot);
      return found == nullptr ? CKR_SLOT_ID_INVALID : simulator().log_out_now(*found);
    },
    .set_token_flags =
        [](unsigned long slot, unsigned long set, unsigned long clear) {
          SimSlot* found = simulator().find_slot(slot);
          if (found == nullptr) return;
          found->flags_set = set;
          found->flags_cleared = clear;
        },

    .hide_mechanism = [](unsigned long type) { simulator().hide_mechanism(type); },
    .add_mechanism = [](unsigned long type) { simulator().list_mechanism(type); },

    .violations = [](const char* kind) -> unsigned long {
      if (kind == nullptr) return simulator().violations().total();
      const std::optional<Violation> named = violation_named(kind);
      return named ? simulator().violations().count(*named) : ~0UL;
    },
    .last_violation = [] { return copy_of(simulator().violations().last()); },
    .request = [](const char* json) { return copy_of(answer_control(json)); },
};

} // namespace
} // namespace hsmux::sim

extern "C" const hsmux_sim_table* hsmux_sim_control() {
  return hsmux::sim::Simulator::get().start() ? &hsmux::sim::kTable : nullptr;
}
