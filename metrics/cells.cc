#include "metrics/cells.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace hsmux::metrics {
namespace {

using Cell = std::atomic<std::uint64_t>;

// Outcomes, buckets and sum of one kind of operation stand together.
constexpr std::size_t kOutcomeCells = kOutcomes.size(), kTimesCells = kBuckets + 1;
constexpr std::size_t kKindCells = kOutcomeCells + kTimesCells;

std::size_t bucket_of(std::int64_t time_ns) {
  std::size_t bucket = 0;
  while (bucket < kBucketBounds.size() && time_ns > kBucketBounds[bucket]) ++bucket;
  return bucket;
}

std::unique_ptr<Cell[]> make_cells(std::size_t count) { return std::make_unique<Cell[]>(count); }

} // namespace

// One thread's numbers. They stay when the thread ends, and the next new thread goes on with them.
struct Cells::Block {
  explicit Block(std::size_t kinds, bool shared_) : shared(shared_), requests(make_cells(kinds * kKindCells)) {}
  ~Block() {
    for (auto& slot : slots) delete[] slot.load();
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void add(Cell& cell, std::uint64_t amount) const {
    if (shared) [[unlikely]] {
      cell.fetch_add(amount, std::memory_order_relaxed);
    } else {
      cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
  }
  void add_times(Cell* cells, std::int64_t time_ns) const {
    time_ns = std::max<std::int64_t>(time_ns, 0);
    add(cells[bucket_of(time_ns)], 1);
    add(cells[kBuckets], static_cast<std::uint64_t>(time_ns));
  }
  // The cells of a slot, made at their first use: kinds, waiting, and when it last succeeded.
  Cell* slot_cells(std::size_t slot, std::size_t kinds) {
    Cell* cells = slots[slot].load(std::memory_order_acquire);
    if (cells != nullptr) [[likely]]
      return cells;
    std::unique_ptr<Cell[]> made = make_cells(kinds * kKindCells + kTimesCells + 1);
    if (slots[slot].compare_exchange_strong(cells, made.get(), std::memory_order_acq_rel)) cells = made.release();
    return cells;
  }

  const bool shared; // by several threads
  const std::unique_ptr<Cell[]> requests;
  std::array<std::atomic<Cell*>, kSlotsMax> slots{};
};

struct Cells::Pool {
  Block* take(std::size_t kinds) {
    const std::lock_guard lock(mutex);
    if (!free.empty()) {
      Block* block = free.back();
      free.pop_back();
      return block;
    }
    if (blocks.size() < kBlocksMax) {
      // The last one is for all further threads.
      blocks.push_back(std::make_unique<Block>(kinds, blocks.size() + 1 == kBlocksMax));
    }
    return blocks.back().get();
  }
  void give_back(Block* block) {
    if (block->shared) return;
    const std::lock_guard lock(mutex);
    free.push_back(block);
  }

  mutable std::mutex mutex; // guards what follows
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<Block*> free; // of threads that ended
};

// The blocks of one thread: of each Cells that it wrote to.
class Cells::Mine {
public:
  Mine() = default;
  ~Mine() {
    for (const auto& [pool, block] : held_) pool->give_back(block);
  }
  Mine(const Mine&) = delete;
  Mine& operator=(const Mine&) = delete;

  Block& of(const std::shared_ptr<Pool>& pool, std::size_t kinds) {
    for (const auto& [held, block] : held_) {
      if (held == pool) [[likely]]
        return *block;
    }
    std::erase_if(held_, [](const auto& entry) { return entry.first.use_count() == 1; }); // its Cells is gone
    return *held_.emplace_back(pool, pool->take(kinds)).second;
  }

private:
  std::vector<std::pair<std::shared_ptr<Pool>, Block*>> held_;
};

Cells::Cells(std::size_t kinds) : kinds_(kinds), pool_(std::make_shared<Pool>()) {}

Cells::Block& Cells::mine() const {
  static thread_local Mine mine;
  return mine.of(pool_, kinds_);
}

void Cells::add_attempt(const Attempt& attempt) {
  if (attempt.slot >= kSlotsMax || attempt.kind >= kinds_) return;
  Block& block = mine();
  Cell* cells = block.slot_cells(attempt.slot, kinds_);
  Cell* kind = cells + attempt.kind * kKindCells;
  Cell* waiting = cells + kinds_ * kKindCells;
  block.add(kind[static_cast<std::size_t>(attempt.outcome)], 1);
  block.add_times(kind + kOutcomeCells, attempt.took_ns);
  block.add_times(waiting, attempt.waited_ns);
  if (attempt.outcome != Outcome::kOk) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now); // to some milliseconds, and so without asking the processor's clock
  waiting[kTimesCells].store(static_cast<std::uint64_t>(now.tv_sec), std::memory_order_relaxed);
}

void Cells::add_request(std::size_t kind, Outcome outcome, std::int64_t took_ns) {
  if (kind >= kinds_) return;
  Block& block = mine();
  Cell* cells = block.requests.get() + kind * kKindCells;
  block.add(cells[static_cast<std::size_t>(outcome)], 1);
  block.add_times(cells + kOutcomeCells, took_ns);
}

namespace {

void sum_times(Times& sum, const Cell* cells) {
  for (std::size_t i = 0; i < kBuckets; ++i) sum.buckets[i] += cells[i].load(std::memory_order_relaxed);
  sum.sum_ns += cells[kBuckets].load(std::memory_order_relaxed);
}

void sum_kind(Outcomes& outcomes, Times& took, const Cell* cells) {
  for (std::size_t i = 0; i < kOutcomeCells; ++i) outcomes[i] += cells[i].load(std::memory_order_relaxed);
  sum_times(took, cells + kOutcomeCells);
}

} // namespace

Cells::SlotSums Cells::slot_sums(std::size_t slot) const {
  SlotSums sums{.outcomes = std::vector<Outcomes>(kinds_), .took = std::vector<Times>(kinds_), .waited = {}};
  if (slot >= kSlotsMax) return sums;
  const std::lock_guard lock(pool_->mutex);
  for (const auto& block : pool_->blocks) {
    const Cell* cells = block->slots[slot].load(std::memory_order_acquire);
    if (cells == nullptr) continue;
    for (std::size_t kind = 0; kind < kinds_; ++kind) {
      sum_kind(sums.outcomes[kind], sums.took[kind], cells + kind * kKindCells);
    }
    const Cell* waiting = cells + kinds_ * kKindCells;
    sum_times(sums.waited, waiting);
    sums.last_success =
        std::max(sums.last_success, static_cast<std::int64_t>(waiting[kTimesCells].load(std::memory_order_relaxed)));
  }
  return sums;
}

Cells::RequestSums Cells::request_sums() const {
  RequestSums sums{.outcomes = std::vector<Outcomes>(kinds_), .took = std::vector<Times>(kinds_)};
  const std::lock_guard lock(pool_->mutex);
  for (const auto& block : pool_->blocks) {
    for (std::size_t kind = 0; kind < kinds_; ++kind) {
      sum_kind(sums.outcomes[kind], sums.took[kind], block->requests.get() + kind * kKindCells);
    }
  }
  return sums;
}

std::size_t Cells::blocks() const {
  const std::lock_guard lock(pool_->mutex);
  return pool_->blocks.size();
}

} // namespace hsmux::metrics
