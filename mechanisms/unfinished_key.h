// The mark of a key that is not whole yet: while a key is being placed in several slots, its objects bear this label,
// and a CKA_ID that says whose they are. Nobody takes them for a key; what a crash leaves behind is found by the label.
// Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "slots/result.h"

namespace hsmux {

inline constexpr std::string_view kUnfinishedLabel = "hsmux unfinished key";

// A process, told apart from every other one on every host. All zero: unknown.
struct ProcessIdentity {
  std::uint64_t host = 0;    // of the running kernel and the process namespace
  std::uint32_t process = 0; // its id there
  std::uint64_t started = 0; // so that a later process with the same id is another one
  bool operator==(const ProcessIdentity&) const = default;
};

struct UnfinishedMark {
  ProcessIdentity owner;
  std::chrono::sys_seconds expires; // the owner has given up by then
  Bytes id;                         // CKA_ID of the key to be
};

// As a CKA_ID: "hsmux-unfinished", version, and the fields in order, big-endian.
Bytes unfinished_id(const UnfinishedMark& mark);
std::optional<UnfinishedMark> parse_unfinished_id(ByteView cka_id);
bool is_unfinished_id(ByteView cka_id);

// What becomes of one that was found.
enum class Leftover : std::uint8_t {
  kLeave,  // somebody is at work on it, or it is not known yet whether it is needed
  kFinish, // the key exists in other slots: this is its last step
  kRemove,
};
struct LeftoverFacts {
  enum class Owner : std::uint8_t { kAlive, kDead, kUnknown } owner = Owner::kUnknown;
  bool expired = false;            // with kClockSkew on top
  bool whole = false;              // both halves are there
  bool finished_elsewhere = false; // another slot has the key
  bool all_slots_asked = false;
};
inline constexpr std::chrono::minutes kClockSkew{5}; // between hosts
Leftover judge_leftover(const LeftoverFacts& facts);

} // namespace hsmux
