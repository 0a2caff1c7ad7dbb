// A fault script: what an HSM does wrong, and when. Rows of plain values; Script says which of them a call meets. The
// simulator guards a Script by its mutex.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tests/simhsm/distribution.h"
#include "tests/simhsm/function_table.h"

namespace hsmux::sim {

enum class Action : std::uint8_t {
  // For one call.
  kAnswer,    // `rv`; an operation that the call would end is ended, as PKCS#11 2.40, 5.2 wants it
  kRefuse,    // `rv`, and the HSM never sees the call: an operation stays active
  kLoseReply, // `rv`, though the HSM has done what was asked
  kCorrupt,   // one bit of the output is another
  kShort,     // the output lacks its last byte
  kOverlong,  // the length is one more than the buffer's; nothing is written outside of it
  kDelay,     // `time` more
  kHang,      // until it is released, or for `time`
  kCrash,     // the process gets SIGSEGV, as by a bug in the module
  // For a slot.
  kRemoveToken,  // until kInsertToken, or for `time`
  kInsertToken,  // with another slot id where `slot_id` says so
  kLoseSessions, // as a restart of the HSM, or of the connection to it
  kLogout,       // the login is gone, sessions stay
  kPinState,     // `pin`
};
std::string_view action_name(Action action); // "answer", "remove-token"
std::optional<Action> action_named(std::string_view name);
constexpr bool is_for_output(Action action) { return action >= Action::kCorrupt && action <= Action::kOverlong; }
bool has_rv(Action action);
constexpr bool is_for_slot(Action action) { return action >= Action::kRemoveToken; }

// What the token says of its user PIN, whatever is true.
enum class PinState : std::uint8_t { kTrue, kCountLow, kFinalTry, kLocked, kExpired, kNotInitialised, kToBeChanged };
std::string_view pin_state_name(PinState state); // "true", "count-low", "final-try", ...
std::optional<PinState> pin_state_named(std::string_view name);

// Any slot, the one with this id, or the one whose token has this label.
using SlotSelector = std::variant<std::monostate, CK_SLOT_ID, std::string>;
bool selects(const SlotSelector& selector, CK_SLOT_ID id, std::string_view label);
std::string selector_text(const SlotSelector& selector); // "*", "3", "\"sim-0\""; as TOML

struct Match {
  std::optional<Function> function; // none = all
  SlotSelector slot;
};

struct Fault {
  Match match;
  // When. The first three look at the number of the calls that fit `match` since the row was added; without them rows
  // of one action take turns: the next one begins when the one before is used up.
  std::uint64_t call = 0;        // this one; the first is 1
  std::uint64_t every = 0;       // each that is a multiple of it
  double probability = 0;        // each with this one, by the seed
  std::uint64_t skip = 0;        // so many calls pass first
  std::uint64_t times = 1;       // then it is played so often; 0 = for ever
  std::optional<Nanoseconds> at; // not before; in a file since the row is added, in a Script since the beginning
  std::optional<Nanoseconds> until;

  Action action = Action::kAnswer;
  CK_RV rv = CKR_OK;
  Nanoseconds time{0}; // 0 = until something ends it
  PinState pin = PinState::kTrue;
  std::optional<CK_SLOT_ID> slot_id;
};

// Where and when a fault was played.
struct Played {
  std::optional<Function> function; // none: its time alone brought it about
  std::uint64_t call = 0;           // of this function and slot since the module was loaded
  CK_SLOT_ID slot = 0;
  std::string label;
  Nanoseconds at{0};
};
// A row of TOML that plays `fault` there again and nowhere else: what the log of played faults is made of.
std::string replay_row(const Fault& fault, const Played& played);

// The first of these with this action; nullptr for none.
const Fault* find(std::span<const Fault> faults, Action action);

class Script {
public:
  explicit Script(std::uint64_t seed = 0) : seed_(seed) {}

  void add(Fault fault) { rows_.push_back({std::move(fault), next_stream_++, 0, false}); }
  void clear() { rows_.clear(); }
  // As a new one: the next rows draw the same random numbers again.
  void restart() {
    rows_.clear();
    next_stream_ = 0;
  }
  void clear(Action action);
  void set_seed(std::uint64_t seed) { seed_ = seed; }
  [[nodiscard]] bool empty() const { return rows_.empty(); }

  // The faults of this call, copied: rows may go meanwhile. Rows that are used up are dropped. `with_buffer`: the
  // caller gives room for an output; a size query has none that could be wrong.
  std::vector<Fault> take(Function function, CK_SLOT_ID slot, std::string_view label, Nanoseconds since_start,
                          bool with_buffer = true);

  // Slot faults that a time alone brings about: `match.slot` says whose. They are played by whoever asks first.
  std::vector<Fault> due(Nanoseconds since_start);

private:
  struct Row {
    Fault fault;
    std::uint64_t stream; // of random numbers: the row's own
    std::uint64_t matched;
    bool used_up;
  };
  [[nodiscard]] bool plays(Row& row, bool has_what_it_changes, std::uint32_t& turns_taken) const;

  std::uint64_t seed_;
  std::uint64_t next_stream_ = 0;
  std::vector<Row> rows_;
};

} // namespace hsmux::sim
