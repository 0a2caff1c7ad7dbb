#include "engine/fair_queue.h"

#include <algorithm>
#include <utility>

namespace hsmux {

static_assert(FairQueue::kFlowsMax == 64, "busy_ has a bit for each lane");

// The lane in which the flow waits, or still owes time; else one that nobody needs; else one that is shared.
std::size_t FairQueue::lane_of(FlowId flow) const {
  const std::size_t home = (flow ^ flow >> 32) % kFlowsMax;
  std::size_t unused = kFlowsMax;
  for (std::size_t i = 0; i < kFlowsMax; ++i) {
    const std::size_t lane = (home + i) % kFlowsMax;
    const bool needed = lanes_[lane].oldest != nullptr || lanes_[lane].ends > now_;
    if (needed && lanes_[lane].flow == flow) return lane;
    if (!needed && unused == kFlowsMax) unused = lane;
  }
  return unused == kFlowsMax ? home : unused;
}

void FairQueue::push(QueueEntry& entry) {
  const std::size_t number = lane_of(entry.flow);
  Lane& lane = lanes_[number];
  if (lane.oldest == nullptr) {
    lane.flow = entry.flow;
    lane.eligible = 0;
  }
  lane.eligible |= entry.eligible;
  entry.lane_ = static_cast<std::uint8_t>(number);
  entry.arrived_ = now_;
  lane.cost += entry.cost;
  entry.older_ = lane.newest;
  entry.newer_ = nullptr;
  (lane.newest == nullptr ? lane.oldest : lane.newest->newer_) = &entry;
  lane.newest = &entry;
  busy_ |= std::uint64_t{1} << number;
  ++size_;
}

void FairQueue::take_off(QueueEntry& entry) {
  const std::uint8_t number = std::exchange(entry.lane_, QueueEntry::kNone);
  Lane& lane = lanes_[number];
  (entry.older_ == nullptr ? lane.oldest : entry.older_->newer_) = entry.newer_;
  (entry.newer_ == nullptr ? lane.newest : entry.newer_->older_) = entry.older_;
  lane.cost -= entry.cost;
  if (lane.oldest == nullptr) busy_ &= ~(std::uint64_t{1} << number);
  --size_;
}

QueueEntry* FairQueue::next(std::size_t slot) const {
  QueueEntry* first = nullptr;
  Duration first_begins{};
  for (std::uint64_t lanes = busy_; lanes != 0; lanes &= lanes - 1) {
    const Lane& lane = lanes_[static_cast<std::size_t>(std::countr_zero(lanes))];
    if ((lane.eligible & slot_bit(slot)) == 0) continue;
    QueueEntry* entry = lane.oldest;
    while (entry != nullptr && (entry->eligible & slot_bit(slot)) == 0) entry = entry->newer_;
    if (entry == nullptr || (first != nullptr && begins(lane, *entry) >= first_begins)) continue;
    first = entry;
    first_begins = begins(lane, *entry);
  }
  return first;
}

void FairQueue::serve(QueueEntry& entry, Duration cost) {
  Lane& lane = lanes_[entry.lane_];
  const Duration start = begins(lane, entry);
  now_ = std::max(now_, start);
  lane.ends = start + cost;
  take_off(entry);
}

std::optional<TimePoint> FairQueue::oldest(SlotSet slots) const {
  std::optional<TimePoint> since;
  for (std::uint64_t lanes = busy_; lanes != 0; lanes &= lanes - 1) {
    const Lane& lane = lanes_[static_cast<std::size_t>(std::countr_zero(lanes))];
    if ((lane.eligible & slots) == 0) continue;
    const QueueEntry* entry = lane.oldest;
    while (entry != nullptr && (entry->eligible & slots) == 0) entry = entry->newer_;
    if (entry != nullptr && (!since || entry->since < *since)) since = entry->since;
  }
  return since;
}

Duration FairQueue::waiting_cost(FlowId flow) const {
  const Lane& lane = lanes_[lane_of(flow)];
  return lane.oldest != nullptr && lane.flow == flow ? lane.cost : Duration{};
}

} // namespace hsmux
