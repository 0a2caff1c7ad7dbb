// One slot as the simulator's callers see it: its id, its token's presence and PIN, its epoch, its engines, and what
// has been asked of it. Made when the slot is first named and never destroyed; any thread, see each member.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/simhsm/settings.h"

namespace hsmux::sim {

// What the settings mean for one slot.
struct SlotProfile {
  HsmRow hsm;
  std::array<Nanoseconds, kFunctions> round_trip{};
  std::array<std::vector<TimeRow>, kFunctions> times; // that may apply to a function, in order
};
SlotProfile profile_of(const Settings& settings, CK_SLOT_ID id, std::string_view label);

struct SimSlot {
  SimSlot(CK_SLOT_ID backend, std::size_t number) : backend_id(backend), stream(number), id(backend) {}

  const CK_SLOT_ID backend_id;
  const std::size_t stream; // of random numbers
  std::atomic<CK_SLOT_ID> id;
  std::atomic<bool> present{true};
  std::atomic<PinState> pin{PinState::kTrue};
  std::atomic<CK_FLAGS> flags_set{0}, flags_cleared{0};
  std::atomic<std::int64_t> back_at_ns{0}; // a token that was pulled for a time comes back; 0 = not by itself

  // A new one begins when the login ends, for whatever reason: handles of one epoch are not used in another.
  std::atomic<std::uint64_t> epoch{1};
  std::atomic<std::uint64_t> login_epoch{0}; // the caller knows this one: it has logged in since it began

  std::atomic<unsigned long> sessions{0};
  // Shared by who opens a session or logs in, alone for who loses them: so that nothing comes between the loss of the
  // sessions and that of their login.
  std::shared_mutex gate;
  std::array<std::atomic<std::uint64_t>, kFunctions> calls{};   // since the module was loaded
  std::array<std::atomic<std::uint64_t>, kFunctions> offered{}; // of these, to the fault script: not refused before

  // Replaced as a whole when settings change; old ones stay, calls may still read them.
  std::atomic<const SlotProfile*> profile{nullptr};

  std::mutex schedule_mutex; // guards schedule
  Schedule schedule;

  std::mutex label_mutex; // guards label
  std::string label;

  std::shared_mutex objects_mutex;                             // guards objects
  std::unordered_map<CK_OBJECT_HANDLE, std::uint64_t> objects; // handles given out, with their epoch

  [[nodiscard]] std::string label_now() {
    const std::lock_guard lock(label_mutex);
    return label;
  }
};

} // namespace hsmux::sim
