#include "engine/slot_group.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace hsmux {

namespace {

template <class Is> SlotSet those_that(const std::vector<std::unique_ptr<Slot>>& slots, Is is) {
  SlotSet set = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (is(*slots[i])) set |= slot_bit(i);
  }
  return set;
}

} // namespace

SlotSet SlotGroup::ready() const {
  return those_that(slots, [](const Slot& slot) { return slot.ready(); });
}

SlotSet SlotGroup::connected() const {
  return those_that(slots, [](const Slot& slot) { return slot.state() == SlotState::kReady; });
}

std::uint64_t SlotGroup::generation() const {
  // Per slot 2 × epoch + connected only ever grows (a loss raises the epoch), and so does the sum.
  std::uint64_t sum = 0;
  for (const auto& slot : slots) sum += 2 * slot->epoch() + (slot->state() == SlotState::kReady ? 1 : 0);
  return sum;
}

std::vector<std::string> SlotGroup::names(SlotSet set) const {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if ((set & slot_bit(i)) != 0) result.push_back(slots[i]->name());
  }
  return result;
}

Result<std::size_t> SlotGroup::find(std::string_view name) const {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i]->name() == name) return i;
  }
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("no slot is named '{}'; configured are: {}", name, fmt::join(names(router.all()), ", ")));
}

Status SlotGroup::check_replica(std::size_t slot, Lease& lease, ReplicaCheck& check, ObjectHandle key) {
  HSMUX_TRY(const RecipeChoice* const choice, recipes[slot].get(check.spec(), *slots[slot], lease));
  return check.check(*choice, recipes[slot].quirks(), *lease, key);
}

} // namespace hsmux
