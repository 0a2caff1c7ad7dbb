// The module called alone, without hsmux's pool and routing: a session and key handles per thread on one slot. What the
// engine is compared with, and rows of its own: opening a session, the way to the HSM and back, finding a key. One
// thread, which starts the others.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "tools/capacity/histogram.h"
#include "tools/capacity/workload.h"

namespace hsmux::capacity {

struct RawResult {
  std::uint64_t operations = 0, errors = 0;
  double seconds = 0;
  std::string first_error;
  Histogram latency;
  [[nodiscard]] double rate() const { return seconds > 0 ? static_cast<double>(operations) / seconds : 0; }
};

class RawSlot {
public:
  // `config` tells the module of the slot, `engine` where its token and the workload's keys are; both are needed only
  // here. `opens_per_second` limits C_OpenSession. Errors: those of the calls; kUnsupported.
  static Result<std::unique_ptr<RawSlot>> open(Engine& engine, const Config& config, std::size_t slot,
                                               const Workload& workload, std::uint32_t threads,
                                               std::uint32_t opens_per_second);
  ~RawSlot();
  RawSlot(const RawSlot&) = delete;
  RawSlot& operator=(const RawSlot&) = delete;

  // The first `threads` of them, each one operation after the other.
  RawResult run(std::uint32_t threads, std::chrono::milliseconds warm_up, std::chrono::milliseconds time);

  [[nodiscard]] std::uint32_t threads() const; // as many as the token has opened sessions for
  [[nodiscard]] const Histogram& opened() const { return opened_; }
  Result<Histogram> round_trips(std::size_t count); // C_GetSessionInfo
  Result<Histogram> finds(std::size_t count);       // C_FindObjectsInit to Final, of the first key by its id

private:
  struct Caller;
  RawSlot() = default;
  std::vector<std::unique_ptr<Caller>> callers_;
  Histogram opened_;
  const Workload* workload_ = nullptr;
  Template wanted_;
};

} // namespace hsmux::capacity
