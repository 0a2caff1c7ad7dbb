// What one side of a comparison does, and what it measured: carried as JSON between `hsmux bench` and its two
// processes.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace hsmux {

enum class BenchMode : std::uint8_t {
  kCalls,  // each caller a thread that does one operation after the other
  kSubmit, // as many requests in flight as callers, each submitted by the completion of the one before; engine only
  // Requests at random times, `rate` a second; latency from the time intended; engine only.
  kPoissonCalls,  // by callers, each of whom sleeps until the next arrival that nobody has taken yet
  kPoissonSubmit, // submitted by one thread
};

struct BenchWork {
  std::string config_path;
  BenchMode mode = BenchMode::kCalls;
  double rate = 0;
  bool raw = false; // the module alone: a session and a key handle per caller, dealt out over the slots by hand
  std::string key, algorithm;
  bool make_key = false; // where there is none: on tokens of our own
  std::uint32_t callers = 1;
  std::string slot; // only this one; empty = all
  std::uint32_t slots = 0,
                sessions = 0; // of the configured slots, the first so many; sessions of each; 0 = as configured
  std::string locks, copies;  // as in the configuration; empty = as configured
};

struct BenchRun {
  std::uint64_t operations = 0, errors = 0;
  double seconds = 0, cpu_seconds = 0;
  double mean_us = 0, p50_us = 0, p99_us = 0, p999_us = 0;
  double own_p50_us = 0; // of Poisson arrivals: from the call, which may be later than intended
  std::string first_error;

  [[nodiscard]] double rate() const { return seconds > 0 ? static_cast<double>(operations) / seconds : 0; }
  [[nodiscard]] double cpu_us() const {
    return operations > 0 ? cpu_seconds / static_cast<double>(operations) * 1e6 : 0;
  }
};

nlohmann::json to_json(const BenchWork& work);
BenchWork bench_work_from(const nlohmann::json& json);
nlohmann::json to_json(const BenchRun& run);
BenchRun bench_run_from(const nlohmann::json& json);

} // namespace hsmux
