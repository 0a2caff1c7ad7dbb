// The loops that are compared: callers that do one operation after the other, through the engine or with the module
// alone. One thread, which starts those of the callers.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "tools/bench_work.h"

namespace hsmux {

class BenchLoop {
public:
  // Opens the engine, makes the key where there is none and the work says so (in software and imported where there are
  // several slots), and for the raw side sessions and handles. Errors: those of the engine.
  static Result<std::unique_ptr<BenchLoop>> prepare(const BenchWork& work);

  // All callers at once for so long.
  BenchRun run(std::chrono::milliseconds time);

private:
  struct Caller;
  struct Measured;
  BenchLoop() = default;
  Status prepare_key();
  Status prepare_callers();
  Status prepare_raw(Caller& caller, std::size_t number);
  Result<std::size_t> once(Caller& caller);
  Result<std::size_t> by_engine(Caller& caller);
  Result<std::size_t> by_module(Caller& caller);
  void work(Caller& caller, const std::atomic<bool>& stop, Measured& measured);
  Result<Job> submit(const Caller& caller, Completion<Bytes> done);
  struct Chain;
  void go_on(Chain& chain);
  void run_calls(std::chrono::milliseconds time, std::vector<Measured>& measured);
  void run_submit(std::chrono::milliseconds time, std::vector<Measured>& measured);
  [[nodiscard]] std::vector<Duration> arrivals(std::chrono::milliseconds time) const;
  void run_poisson_calls(std::chrono::milliseconds time, std::vector<Measured>& measured);
  void run_poisson_submit(std::chrono::milliseconds time, std::vector<Measured>& measured);

  BenchWork work_;
  const AlgorithmSpec* spec_ = nullptr;
  Config config_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Caller>> callers_;

public:
  ~BenchLoop();
  BenchLoop(const BenchLoop&) = delete;
  BenchLoop& operator=(const BenchLoop&) = delete;
};

} // namespace hsmux
