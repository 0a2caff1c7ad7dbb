// The load generator: sends the requests of a workload at intended times (open model) or one after the other (closed
// model), and measures. One thread, which is the one that waits; requests end on the engine's threads.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tools/capacity/arrivals.h"
#include "tools/capacity/histogram.h"
#include "tools/capacity/load_interval.h"
#include "tools/capacity/slot_counter.h"
#include "tools/capacity/workload.h"

namespace hsmux::capacity {

enum class LoadModel : std::uint8_t {
  kOpen,   // requests start when they are meant to, however long others take; latency counts from that time
  kClosed, // so many callers, each one request after the other; "service time": a stall holds back what it delays
};

struct LoadPlan {
  std::string name; // of the stage
  LoadModel model = LoadModel::kOpen;
  double rate = 0; // open: a second
  ArrivalKind arrivals = ArrivalKind::kPoisson;
  std::uint32_t callers = 1; // closed
  std::chrono::milliseconds warm_up{500}, time{2000};
  std::chrono::milliseconds timeout{10'000}; // of each request, from its intended start
  std::uint64_t waiting_max = 0;             // open: so many requests under way end the stage; 0 = none do
  std::uint64_t seed = 1;
  double step_s = 0;                          // of the intervals; 0: the 120th part of the time, 0.1 to 10 s
  std::chrono::system_clock::time_point at{}; // when it starts; in the past: now
};

struct EntryResult {
  std::string name;
  std::uint64_t completed = 0, errors = 0;
  Histogram latency;
};

struct LoadResult {
  LoadPlan plan;
  double seconds = 0;              // measured; less than planned when it was ended early
  std::uint64_t intended = 0;      // open: that were meant to start in that time
  std::uint64_t completed = 0;     // of those (open), or within it (closed)
  std::uint64_t errors = 0;        // that started and failed
  std::uint64_t not_started = 0;   // refused, or never sent because the stage ended
  std::uint64_t ended_in_time = 0; // completions within the measured time, whenever they were meant to start
  std::map<std::string, std::uint64_t> error_kinds;
  std::string first_error;
  Histogram latency; // of what completed
  Histogram lag;     // open: how late the generator itself sent
  std::vector<EntryResult> entries;
  std::vector<Interval> intervals;
  std::vector<std::uint64_t> slots;
  std::uint64_t retries = 0;
  double process_cpu_share = 0, host_cpu_share = 0; // of all processors
  bool overloaded = false;                          // ended by waiting_max
  bool generator_late = false; // the generator could not keep the rate: figures are its own, not the HSM's
  bool interrupted = false;
  std::int64_t started_unix_ms = 0;
  TimePoint window_at{}; // the measured time's beginning

  [[nodiscard]] double rate() const { return seconds > 0 ? static_cast<double>(ended_in_time) / seconds : 0; }
};

// How it goes, now and then, on the thread that runs the load.
struct LoadProgress {
  const LoadPlan* plan = nullptr;
  double seconds_left = 0;
  double rate = 0; // since the last time
  std::int64_t p50_ns = 0, p99_ns = 0;
  std::uint64_t errors = 0, waiting = 0;
  std::vector<double> slot_share;
};
using LoadObserver = std::function<void(const LoadProgress&)>;

class Load {
public:
  // All three outlive the Load's engine's last completion: close the engine first.
  Load(Engine& engine, const Workload& workload, const SlotCounter& slots);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Runs until the time is over, or `over` says so, and what was sent has ended; an interruption ends it, too. Both
  // functions are called now and then on the calling thread.
  LoadResult run(const LoadPlan& plan, const LoadObserver& observer = {}, const std::function<bool()>& over = {});

  // Later than this, at the 99th percentile, the generator is a part of what it measures.
  static constexpr std::chrono::nanoseconds kLagMax = std::chrono::milliseconds(1);

private:
  struct Run;
  void send_open(Run& run);
  void start_chain(Run& run);
  void tick(Run& run, LoadResult& result, const LoadObserver& observer);
  void begin(Run& run, LoadResult& result);
  void count_host(Run& run, LoadResult& result, const std::vector<std::uint64_t>& done, std::int64_t now_ns);
  static void count_slots(Run& run, LoadResult& result, const std::vector<std::uint64_t>& done, std::int64_t now_ns);
  static void count_samples(Run& run, LoadResult& result);
  static void close_intervals(Run& run, LoadResult& result, std::int64_t now_ns);
  static void tell(Run& run, const std::vector<std::uint64_t>& done, TimePoint now, const LoadObserver& observer);
  static void conclude(Run& run, LoadResult& result, std::int64_t over_ns);

  Engine& engine_;
  const Workload& workload_;
  const SlotCounter& slots_;
  std::vector<std::unique_ptr<Run>> runs_; // kept: a completion may still come
};

} // namespace hsmux::capacity
