// A lock-free last-in-first-out list of indices (R. K. Treiber, 1986): who is on it is linked through an array that
// several lists may share, since an index is on at most one of them. No allocation, no system call. Any thread.
// docs/session-pool.md has the argument for its correctness.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace hsmux {

class IndexStack {
public:
  using Index = std::uint16_t;
  static constexpr Index kNone = 0xffff;
  using Links = std::unique_ptr<std::atomic<Index>[]>;

  // `links` has one element per index and outlives the list.
  explicit IndexStack(std::atomic<Index>* links) : links_(links) {}

  // The caller owns `index`, and gives it up.
  void push(Index index) {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      links_[index].store(index_of(head), std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(head, ((head >> kIndexBits) + 1) << kIndexBits | index,
                                          std::memory_order_seq_cst, std::memory_order_relaxed));
  }

  // The index pushed last, which is the caller's then; kNone when the list is empty.
  Index pop() {
    std::uint64_t head = head_.load(std::memory_order_seq_cst);
    while (index_of(head) != kNone) {
      const Index next = links_[index_of(head)].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, (head & ~kIndexMask) | next, std::memory_order_seq_cst)) break;
    }
    return index_of(head);
  }

  // All of the list at once: the index pushed last; next() tells the others. They are the caller's.
  Index take_all() {
    std::uint64_t head = head_.load(std::memory_order_seq_cst);
    while (index_of(head) != kNone) {
      if (head_.compare_exchange_weak(head, head | kIndexMask, std::memory_order_seq_cst)) break;
    }
    return index_of(head);
  }
  // Of one that take_all() gave, before it is pushed anywhere.
  [[nodiscard]] Index next(Index index) const { return links_[index].load(std::memory_order_relaxed); }

  [[nodiscard]] bool empty() const { return index_of(head_.load(std::memory_order_seq_cst)) == kNone; }

private:
  static constexpr int kIndexBits = 16;
  static constexpr std::uint64_t kIndexMask = 0xffff;
  static Index index_of(std::uint64_t head) { return static_cast<Index>(head & kIndexMask); }

  std::atomic<Index>* const links_;
  // The index pushed last, and above it how often anything was pushed: while a pop looks at an index, that index
  // cannot leave and come back unnoticed, short of 2^48 pushes in between.
  alignas(64) std::atomic<std::uint64_t> head_{kIndexMask};
};

} // namespace hsmux
