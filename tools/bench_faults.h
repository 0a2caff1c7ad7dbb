// hsmux bench faults: what callers notice when simulated HSMs fail under load, in milliseconds. Main thread.
#pragma once

#include <cstdint>
#include <string>

#include "tools/program.h"

namespace hsmux {

struct FaultBenchOptions {
  std::string simhsm, only;
  std::uint32_t callers = 8, seconds = 3, gone_seconds = 10;
};

// Adds `faults` to `bench`; true once it was chosen.
CLI::App* add_bench_faults(CLI::App& bench, const std::shared_ptr<FaultBenchOptions>& options);
Result<ExitCode> bench_faults(Program& program, const FaultBenchOptions& options);

} // namespace hsmux
