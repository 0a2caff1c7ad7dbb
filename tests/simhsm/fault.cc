#include "tests/simhsm/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/disposition.h"

namespace hsmux::sim {
namespace {

template <class Value> struct Named {
  Value value;
  std::string_view name;
};

constexpr std::array kActions{
    Named<Action>{Action::kAnswer, "answer"},
    Named<Action>{Action::kRefuse, "refuse"},
    Named<Action>{Action::kLoseReply, "lose-reply"},
    Named<Action>{Action::kCorrupt, "corrupt"},
    Named<Action>{Action::kShort, "short"},
    Named<Action>{Action::kOverlong, "overlong"},
    Named<Action>{Action::kDelay, "delay"},
    Named<Action>{Action::kHang, "hang"},
    Named<Action>{Action::kCrash, "crash"},
    Named<Action>{Action::kRemoveToken, "remove-token"},
    Named<Action>{Action::kInsertToken, "insert-token"},
    Named<Action>{Action::kLoseSessions, "lose-sessions"},
    Named<Action>{Action::kLogout, "logout"},
    Named<Action>{Action::kPinState, "pin-state"},
};

constexpr std::array kPinStates{
    Named<PinState>{PinState::kTrue, "true"},
    Named<PinState>{PinState::kCountLow, "count-low"},
    Named<PinState>{PinState::kFinalTry, "final-try"},
    Named<PinState>{PinState::kLocked, "locked"},
    Named<PinState>{PinState::kExpired, "expired"},
    Named<PinState>{PinState::kNotInitialised, "not-initialised"},
    Named<PinState>{PinState::kToBeChanged, "to-be-changed"},
};

std::string_view name_in(const auto& table, auto value) {
  const auto found = std::ranges::find(table, value, [](const auto& row) { return row.value; });
  return found == table.end() ? "" : found->name;
}

template <class Value, std::size_t kRows>
std::optional<Value> named_in(const std::array<Named<Value>, kRows>& table, std::string_view name) {
  const auto found = std::ranges::find(table, name, [](const auto& row) { return row.name; });
  if (found == table.end()) return std::nullopt;
  return found->value;
}

bool in_time(const Fault& fault, Nanoseconds since_start) {
  return (!fault.at || since_start >= *fault.at) && (!fault.until || since_start < *fault.until);
}

// A slot's fault that waits for nothing but its time.
bool needs_no_call(const Fault& fault) {
  return is_for_slot(fault.action) && fault.at && fault.call == 0 && fault.every == 0 && fault.probability <= 0 &&
         fault.skip == 0 && !fault.match.function;
}

} // namespace

std::string_view action_name(Action action) { return name_in(kActions, action); }
std::optional<Action> action_named(std::string_view name) { return named_in(kActions, name); }
std::string_view pin_state_name(PinState state) { return name_in(kPinStates, state); }
std::optional<PinState> pin_state_named(std::string_view name) { return named_in(kPinStates, name); }

bool selects(const SlotSelector& selector, CK_SLOT_ID id, std::string_view label) {
  if (const auto* wanted = std::get_if<CK_SLOT_ID>(&selector)) return *wanted == id;
  if (const auto* wanted = std::get_if<std::string>(&selector)) return *wanted == label;
  return true;
}

std::string selector_text(const SlotSelector& selector) {
  if (const auto* id = std::get_if<CK_SLOT_ID>(&selector)) return std::to_string(*id);
  if (const auto* label = std::get_if<std::string>(&selector)) return fmt::format("'{}'", *label);
  return "'*'";
}

bool has_rv(Action action) {
  return action == Action::kAnswer || action == Action::kRefuse || action == Action::kLoseReply;
}

std::string replay_row(const Fault& fault, const Played& played) {
  std::string row = fmt::format("[[fault]] # at {:.6f} s\naction = '{}'\n",
                                std::chrono::duration<double>(played.at).count(), action_name(fault.action));
  // A quote cannot stand in a literal string of TOML; the slot's id says the same.
  const bool by_label = !played.label.empty() && played.label.find_first_of("'\n\r") == std::string::npos;
  constexpr CK_SLOT_ID kNoSlot = ~0UL; // a call such as C_Initialize
  if (by_label) {
    row += fmt::format("slot = '{}'\n", played.label);
  } else if (played.slot != kNoSlot) {
    row += fmt::format("slot = {}\n", played.slot);
  }
  if (played.function) {
    row += fmt::format("function = '{}'\ncall = {}\n", name_of(*played.function), played.call);
  } else {
    row += fmt::format("at_us = {}\n", fault.at.value_or(played.at).count() / 1000);
  }
  if (has_rv(fault.action)) {
    // Codes without a name, a vendor's for instance, stand as numbers.
    const std::string name = rv_name(fault.rv);
    const bool named = name.find_first_of(" +") == std::string::npos;
    row += named ? fmt::format("rv = '{}'\n", name) : fmt::format("rv = {:#x}\n", fault.rv);
  }
  if (fault.time.count() > 0) row += fmt::format("time_us = {}\n", fault.time.count() / 1000);
  if (fault.action == Action::kPinState) row += fmt::format("pin = '{}'\n", pin_state_name(fault.pin));
  if (fault.slot_id) row += fmt::format("slot_id = {}\n", *fault.slot_id);
  return row + "\n";
}

const Fault* find(std::span<const Fault> faults, Action action) {
  const auto found = std::ranges::find(faults, action, &Fault::action);
  return found == faults.end() ? nullptr : &*found;
}

void Script::clear(Action action) {
  std::erase_if(rows_, [action](const Row& row) { return row.fault.action == action; });
}

// Counts the call for the row. `turns_taken`: the actions whose turn has gone to an earlier row.
bool Script::plays(Row& row, bool has_what_it_changes, std::uint32_t& turns_taken) const {
  Fault& fault = row.fault;
  // Call numbers are those of the log, which counts size queries.
  if (!has_what_it_changes && fault.call == 0) return false;
  const std::uint64_t number = ++row.matched;
  if (fault.call != 0) return number >= fault.call && has_what_it_changes;
  if (fault.every != 0) return number % fault.every == 0;
  if (fault.probability > 0) return uniform(seed_, row.stream, number) < fault.probability;

  const std::uint32_t turn = 1U << static_cast<unsigned>(fault.action);
  // Delays that fit the same call add up; all others are one after the other.
  if (fault.action != Action::kDelay && (turns_taken & turn) != 0) return false;
  turns_taken |= turn;
  if (fault.skip == 0) return true;
  --fault.skip;
  return false;
}

std::vector<Fault> Script::take(Function function, CK_SLOT_ID slot, std::string_view label, Nanoseconds since_start,
                                bool with_buffer) {
  std::vector<Fault> taken;
  std::uint32_t turns_taken = 0;
  for (Row& row : rows_) {
    Fault& fault = row.fault;
    if (fault.match.function && *fault.match.function != function) continue;
    if (needs_no_call(fault) || !selects(fault.match.slot, slot, label) || !in_time(fault, since_start)) continue;
    if (is_for_output(fault.action) && !has_output(function)) continue;
    if (!plays(row, with_buffer || !is_for_output(fault.action), turns_taken)) continue;
    taken.push_back(fault);
    const bool once = fault.call != 0;
    row.used_up = once || (fault.times != 0 && --fault.times == 0);
  }
  std::erase_if(rows_, [](const Row& row) { return row.used_up; });
  return taken;
}

std::vector<Fault> Script::due(Nanoseconds since_start) {
  std::vector<Fault> taken;
  std::erase_if(rows_, [&](const Row& row) {
    if (!needs_no_call(row.fault) || since_start < *row.fault.at) return false;
    taken.push_back(row.fault);
    return true;
  });
  return taken;
}

} // namespace hsmux::sim
