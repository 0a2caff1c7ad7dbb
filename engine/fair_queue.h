// Who waits, in the order in which they are served: fair between flows, first in first out within one. A flow is a key
// and what is done with it, so that a flood of slow decryptions takes its share of an HSM and not all of it. The order
// is start-time fair queueing (Goyal, Vin, Cheng, 1996): each waiter bears the virtual time at which its flow's share
// would let it begin, and the smallest goes first. Not thread-safe: the router's mutex guards it.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/slot_load.h"
#include "slots/deadline.h"

namespace hsmux {

using FlowId = std::uint64_t;

// One who waits. Owned by its waiter, and in the queue between push() and take_off().
struct QueueEntry {
  SlotSet eligible = 0;
  FlowId flow = 0;
  Duration cost{}; // service time that it will take, as far as is known
  TimePoint since{};

private:
  friend class FairQueue;
  static constexpr std::uint8_t kNone = 0xff;
  QueueEntry *older_ = nullptr, *newer_ = nullptr;
  Duration arrived_{};        // virtual
  std::uint8_t lane_ = kNone; // kNone: not in the queue
};

class FairQueue {
public:
  static constexpr std::size_t kFlowsMax = 64; // that wait at once; more share places

  void push(QueueEntry& entry);
  void take_off(QueueEntry& entry); // it is in the queue
  [[nodiscard]] static bool contains(const QueueEntry& entry) { return entry.lane_ != QueueEntry::kNone; }
  // Who is to get a session of `slot`; nullptr when nobody who waits can use it.
  [[nodiscard]] QueueEntry* next(std::size_t slot) const;
  // Takes `entry` off because it is served, which takes `cost`: the virtual time goes on to its turn. What is taken off
  // unserved costs its flow nothing.
  void serve(QueueEntry& entry, Duration cost);
  void serve(QueueEntry& entry) { serve(entry, entry.cost); }
  // Since when the longest-waiting of those has waited who can use one of `slots`.
  [[nodiscard]] std::optional<TimePoint> oldest(SlotSet slots) const;
  // The service time of all that wait in this flow.
  [[nodiscard]] Duration waiting_cost(FlowId flow) const;
  [[nodiscard]] std::size_t size() const { return size_; }

  // Each entry, which the visitor may take off.
  template <class Visit> void for_each(Visit visit) {
    for (std::uint64_t lanes = busy_; lanes != 0; lanes &= lanes - 1) {
      QueueEntry* entry = lanes_[static_cast<std::size_t>(std::countr_zero(lanes))].oldest;
      while (entry != nullptr) {
        QueueEntry& each = *entry;
        entry = entry->newer_;
        visit(each);
      }
    }
  }

private:
  struct Lane {
    FlowId flow = 0;
    QueueEntry *oldest = nullptr, *newest = nullptr;
    Duration ends{};      // virtual: when all that was served would be done
    Duration cost{};      // of those that wait
    SlotSet eligible = 0; // of all that waited since it was empty: who is not in it need not look
  };

  [[nodiscard]] std::size_t lane_of(FlowId flow) const;
  // When it would begin, were it the next of its lane.
  [[nodiscard]] static Duration begins(const Lane& lane, const QueueEntry& entry) {
    return entry.arrived_ > lane.ends ? entry.arrived_ : lane.ends;
  }

  std::array<Lane, kFlowsMax> lanes_{};
  std::uint64_t busy_ = 0; // lanes in which somebody waits
  Duration now_{};         // virtual
  std::size_t size_ = 0;
};

} // namespace hsmux
