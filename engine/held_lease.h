// A session of one slot for several steps, given back at the end with the first failure that was answered. One thread.
#pragma once

#include <memory>
#include <utility>

#include "engine/slot_group.h"

namespace hsmux {

class HeldLease {
public:
  static Result<std::unique_ptr<HeldLease>> take(SlotGroup& group, std::size_t slot, Deadline deadline) {
    HSMUX_TRY(RoutedLease routed, group.router.lease({.eligible = slot_bit(slot), .deadline = deadline}));
    return std::unique_ptr<HeldLease>(new HeldLease(group, std::move(routed)));
  }
  ~HeldLease() { group_.router.finish(std::move(routed_), status_, false); }
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;

  [[nodiscard]] std::size_t slot() const { return routed_.slot; }
  Lease& lease() { return routed_.lease; }
  Session& session() { return *routed_.lease; }
  // What a step answered: passes the result on, and keeps the first failure about this slot for the end.
  template <class Answer> Answer noted(Answer answer) {
    if (answer) return answer;
    const std::string& name = group_.slots[slot()]->name();
    if (answer.error().slot.empty()) answer.error().slot = name;
    if (answer.error().slot == name && status_.rv == 0) status_ = answer.error().status();
    return answer;
  }

private:
  HeldLease(SlotGroup& group, RoutedLease routed) : group_(group), routed_(std::move(routed)) {}

  SlotGroup& group_;
  RoutedLease routed_;
  CallStatus status_;
};

} // namespace hsmux
