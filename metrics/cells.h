// What the requests' way counts: numbers of each thread's own, which only that thread writes, without a lock and
// without an instruction that other processors notice; summed when somebody asks. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "metrics/table.h"

namespace hsmux::metrics {

// Times in buckets (kBucketBounds), and their sum.
struct Times {
  std::array<std::uint64_t, kBuckets> buckets{};
  std::uint64_t sum_ns = 0;
};
using Outcomes = std::array<std::uint64_t, kOutcomes.size()>;

class Cells {
public:
  // `kinds`: kinds of operations, that is of operation and algorithm together.
  explicit Cells(std::size_t kinds);

  // Of an attempt on a slot, below kSlotsMax, that ended.
  struct Attempt {
    std::size_t slot = 0, kind = 0;
    Outcome outcome{};
    std::int64_t took_ns = 0, waited_ns = 0;
  };
  void add_attempt(const Attempt& attempt);
  void add_request(std::size_t kind, Outcome outcome, std::int64_t took_ns);

  // Sums over all threads, those that have ended too. Each number is as of some moment during the call.
  struct SlotSums {
    std::vector<Outcomes> outcomes; // by kind
    std::vector<Times> took;        // by kind
    Times waited;
    std::int64_t last_success = 0; // seconds since 1970; 0: never
  };
  [[nodiscard]] SlotSums slot_sums(std::size_t slot) const;
  struct RequestSums {
    std::vector<Outcomes> outcomes;
    std::vector<Times> took;
  };
  [[nodiscard]] RequestSums request_sums() const;

  // Threads beyond so many at once share one block of numbers.
  static constexpr std::size_t kBlocksMax = 4096;
  [[nodiscard]] std::size_t blocks() const;

private:
  struct Block;
  struct Pool;
  class Mine;
  Block& mine() const;

  const std::size_t kinds_;
  const std::shared_ptr<Pool> pool_; // shared with the threads that have a block
};

} // namespace hsmux::metrics
