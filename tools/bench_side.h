// One side of a comparison: a process of its own, so that both sides have a module, its locks and their memory for
// themselves, and both stay warm while the other runs.
#pragma once

#include <memory>

#include "slots/result.h"
#include "tools/bench_work.h"

namespace hsmux {

// The side's process, as its parent sees it. One thread.
class BenchSide {
public:
  // Starts this program again as a side, and waits until it is ready. Errors: what the side reports.
  static Result<std::unique_ptr<BenchSide>> start(const BenchWork& work);
  ~BenchSide(); // ends the process
  BenchSide(const BenchSide&) = delete;
  BenchSide& operator=(const BenchSide&) = delete;

  Result<BenchRun> run(std::uint32_t milliseconds);
  [[nodiscard]] int process() const { return process_; }

private:
  BenchSide() = default;
  Result<std::string> read_line();

  int process_ = -1, to_ = -1, from_ = -1;
  std::string read_;
};

// What the side's process does: work from standard input, a line of JSON; then a run for each line with a number of
// milliseconds, until the end of the input. Its exit status.
int serve_bench_side();

} // namespace hsmux
