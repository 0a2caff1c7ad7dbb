#include "tools/capacity/load.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <thread>

#include "tools/program.h"

namespace hsmux::capacity {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kTick(100);
constexpr nanoseconds kLateMax = std::chrono::seconds(2); // the generator gives up when it is so far behind
constexpr milliseconds kDrainMore(5000);                  // after the last deadline, for completions to come

struct CpuTimes {
  double process_s = 0, busy_s = 0; // busy_s: of the whole machine
};

CpuTimes cpu_times() {
  CpuTimes times;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  times.process_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  std::ifstream stat("/proc/stat"); // proc(5): user nice system idle iowait irq softirq steal, in ticks
  std::string cpu;
  std::array<double, 8> ticks{};
  stat >> cpu;
  for (double& each : ticks) stat >> each;
  const double per_second = static_cast<double>(std::max(sysconf(_SC_CLK_TCK), 1L));
  times.busy_s = (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) / per_second;
  return times;
}

struct Sample {
  std::int64_t intended_ns, ended_ns; // since the stage began
  std::uint32_t entry;
  std::uint8_t kind; // ErrorKind; 0 = done
  bool started;
};

// Where completions leave their samples, whatever thread they come on.
class SampleShards {
public:
  void add(const Sample& sample) {
    Shard& shard = shards_.at(mine());
    const std::lock_guard lock(shard.mutex);
    shard.samples.push_back(sample);
  }
  void note(const Error& error) {
    const std::lock_guard lock(error_mutex_);
    if (first_error_.empty()) first_error_ = error.text();
  }
  template <class Take> void drain(Take take) {
    std::vector<Sample> samples;
    for (Shard& shard : shards_) {
      samples.clear();
      {
        const std::lock_guard lock(shard.mutex);
        samples.swap(shard.samples);
        shard.samples.reserve(samples.size());
      }
      for (const Sample& sample : samples) take(sample);
    }
  }
  std::string first_error() const {
    const std::lock_guard lock(error_mutex_);
    return first_error_;
  }

private:
  static constexpr std::size_t kShards = 16;
  struct alignas(64) Shard {
    std::mutex mutex; // guards samples
    std::vector<Sample> samples;
  };
  static std::size_t mine() {
    static std::atomic<std::size_t> next{0};
    thread_local const std::size_t place = next.fetch_add(1) % kShards;
    return place;
  }
  std::array<Shard, kShards> shards_;
  mutable std::mutex error_mutex_; // guards first_error_
  std::string first_error_;
};

double share_of(double part, double whole) { return whole > 0 ? part / whole : 0; }

} // namespace

struct Load::Run {
  LoadPlan plan;
  TimePoint start;
  std::atomic<bool> stop{false}, late{false};
  std::atomic<std::uint64_t> waiting{0}, sent{0};
  std::atomic<std::uint32_t> parked{0}; // closed: callers whose last request was refused
  SampleShards samples;
  MixPicker picker{Mix{}, 0};
  std::mutex picker_mutex; // closed: guards picker
  Histogram lag;           // the sender's, until it has ended

  // Of the tick.
  std::map<std::size_t, Histogram> open_intervals;
  double step_s = 1;
  std::vector<std::uint64_t> slots_before;
  CpuTimes cpu_before{};
  std::uint64_t retries_before = 0;
  bool window_open = false, window_closed = false;
  TimePoint progress_at{}, last_tick{};
  Histogram recent;
  std::uint64_t recent_done = 0, recent_errors = 0;
  std::vector<std::uint64_t> recent_slots;

  Run() = default;
  [[nodiscard]] std::int64_t since_start() const { return (MonotonicClock::now() - start).count(); }
  [[nodiscard]] std::int64_t window_from() const { return nanoseconds(plan.warm_up).count(); }
  [[nodiscard]] std::int64_t window_to() const { return nanoseconds(plan.warm_up + plan.time).count(); }

  void ended(std::int64_t intended_ns, std::uint32_t entry, const Error* error, bool started) {
    samples.add({.intended_ns = intended_ns,
                 .ended_ns = since_start(),
                 .entry = entry,
                 .kind = error == nullptr ? std::uint8_t{0} : static_cast<std::uint8_t>(error->kind),
                 .started = started});
    if (error != nullptr) samples.note(*error);
    if (waiting.fetch_sub(1) == 1) waiting.notify_all();
  }
};

Load::Load(Engine& engine, const Workload& workload, const SlotCounter& slots)
    : engine_(engine), workload_(workload), slots_(slots) {}
Load::~Load() = default;

// On its own thread. A request that is late is sent at once: its latency counts from when it was meant to start.
void Load::send_open(Run& run) {
  prctl(PR_SET_TIMERSLACK, 1UL);
  Arrivals arrivals(run.plan.arrivals, run.plan.rate, run.plan.seed);
  while (!run.stop.load(std::memory_order_relaxed)) {
    const nanoseconds at = arrivals.next();
    if (at.count() >= run.window_to()) return;
    const TimePoint intended = run.start + at;
    while (true) { // in parts, so that an interruption ends it
      const TimePoint now = MonotonicClock::now();
      if (now >= intended) break;
      std::this_thread::sleep_until(std::min(intended, now + milliseconds(50)));
      if (run.stop.load(std::memory_order_relaxed)) return;
    }
    const nanoseconds lag = MonotonicClock::now() - intended;
    if (at.count() >= run.window_from()) run.lag.record(lag.count());
    if (lag > kLateMax) {
      run.late = true;
      return;
    }
    run.waiting.fetch_add(1);
    run.sent.fetch_add(1, std::memory_order_relaxed);
    const auto entry = static_cast<std::uint32_t>(run.picker.next());
    const RequestOptions options{.deadline = Deadline(intended + run.plan.timeout), .slot = {}, .hard = false};
    const Result<Job> job = workload_.submit(engine_, entry, options, [&run, at, entry](const Result<Bytes>& result) {
      run.ended(at.count(), entry, result ? nullptr : &result.error(), true);
    });
    if (!job) run.ended(at.count(), entry, &job.error(), job.error().kind != ErrorKind::kOverloaded);
  }
}

void Load::start_chain(Run& run) {
  std::uint32_t entry = 0;
  {
    const std::lock_guard lock(run.picker_mutex);
    entry = static_cast<std::uint32_t>(run.picker.next());
  }
  const std::int64_t now = run.since_start();
  run.waiting.fetch_add(1);
  const RequestOptions options{.deadline = Deadline::after(run.plan.timeout), .slot = {}, .hard = false};
  const Result<Job> job =
      workload_.submit(engine_, entry, options, [this, &run, now, entry](const Result<Bytes>& result) {
        // The next is under way before this one is gone: nobody may take the stage for ended in between.
        if (!run.stop.load(std::memory_order_relaxed)) start_chain(run);
        run.ended(now, entry, result ? nullptr : &result.error(), true);
      });
  if (job) return;
  run.parked.fetch_add(1); // before ended(), so that it is started again; not from here, which might never return
  run.ended(now, entry, &job.error(), job.error().kind != ErrorKind::kOverloaded);
}

// Waits for the time that was given, and fills in what is known from the start.
void Load::begin(Run& run, LoadResult& result) {
  const LoadPlan& plan = run.plan;
  result.plan = plan;
  for (const MixEntry& entry : workload_.mix().entries) result.entries.push_back({.name = entry.name(), .latency = {}});
  result.slots.resize(slots_.names().size());
  while (std::chrono::system_clock::now() < plan.at && !Program::interrupted()) {
    std::this_thread::sleep_for(std::min<nanoseconds>(plan.at - std::chrono::system_clock::now(), milliseconds(50)));
  }
  result.started_unix_ms =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  run.start = MonotonicClock::now();
  run.last_tick = run.progress_at = run.start;
  result.window_at = run.start + plan.warm_up;
  run.recent_slots = slots_.done();
}

// All that is known once nothing can come any more.
void Load::conclude(Run& run, LoadResult& result, std::int64_t over_ns) {
  result.seconds = std::max(0.0, static_cast<double>(over_ns - run.window_from()) / 1e9);
  result.generator_late = run.late.load() || run.lag.percentile(99) > kLagMax.count();
  result.lag = run.lag;
  result.first_error = run.samples.first_error();
  for (auto& [number, histogram] : run.open_intervals) {
    Interval& interval = result.intervals.at(number);
    interval.p50_ns = histogram.percentile(50);
    interval.p99_ns = histogram.percentile(99);
    interval.max_ns = histogram.max();
  }
  run.open_intervals.clear();
  if (!result.intervals.empty()) {
    result.intervals.back().seconds = std::max(0.0, result.seconds - result.intervals.back().at_s);
    if (result.intervals.back().seconds < run.step_s / 4 && result.intervals.size() > 1) result.intervals.pop_back();
  }
  if (run.plan.model == LoadModel::kOpen) {
    // What was meant to start in the measured time and never was sent, since the generator was late.
    const std::uint64_t seen = result.completed + result.errors + result.not_started;
    result.intended = seen;
    if (run.late.load()) {
      const auto meant = static_cast<std::uint64_t>(run.plan.rate * result.seconds);
      result.not_started += meant > seen ? meant - seen : 0;
      result.intended = std::max(seen, meant);
    }
  } else {
    result.intended = result.completed + result.errors;
  }
}

LoadResult Load::run(const LoadPlan& plan, const LoadObserver& observer, const std::function<bool()>& over) {
  runs_.push_back(std::make_unique<Run>());
  Run& run = *runs_.back();
  run.plan = plan;
  run.picker = MixPicker(workload_.mix(), plan.seed + 1);
  run.step_s =
      plan.step_s > 0 ? plan.step_s : std::clamp(std::chrono::duration<double>(plan.time).count() / 120, 0.1, 10.0);
  LoadResult result;
  begin(run, result);
  std::jthread sender;
  if (plan.model == LoadModel::kOpen) {
    sender = std::jthread([this, &run] { send_open(run); });
  } else {
    for (std::uint32_t i = 0; i < plan.callers; ++i) start_chain(run);
  }
  const TimePoint end = run.start + plan.warm_up + plan.time;
  for (TimePoint next = run.start + kTick; MonotonicClock::now() < end; next += kTick) {
    // The window's ends are ticks of their own.
    for (const TimePoint edge : {run.start + plan.warm_up, end}) {
      if (MonotonicClock::now() < edge) next = std::min(next, edge);
    }
    std::this_thread::sleep_until(next);
    tick(run, result, observer);
    result.interrupted = Program::interrupted();
    result.overloaded = plan.waiting_max > 0 && run.waiting.load() > plan.waiting_max;
    if (result.interrupted || result.overloaded || run.late.load() || (over && over())) break;
    for (std::uint32_t parked = run.parked.exchange(0); parked > 0; --parked) start_chain(run);
  }
  const std::int64_t over_ns = std::min(run.since_start(), run.window_to());
  run.window_closed = true;
  run.stop = true;
  tick(run, result, {});
  if (sender.joinable()) sender.join();
  // What was sent ends by its deadline; the engine promises a completion for each.
  const TimePoint drained = MonotonicClock::now() + plan.timeout + kDrainMore;
  while (run.waiting.load() > 0 && MonotonicClock::now() < drained) {
    std::this_thread::sleep_for(milliseconds(2));
    if (MonotonicClock::now() - run.last_tick > kTick) tick(run, result, {});
  }
  tick(run, result, {});
  conclude(run, result, over_ns);
  return result;
}

namespace {
// Of the time since the start; made where there is none yet.
template <class Run> std::size_t interval_of(const Run& run, LoadResult& result, std::int64_t ns) {
  const auto number = static_cast<std::size_t>(static_cast<double>(ns - run.window_from()) / 1e9 / run.step_s);
  while (result.intervals.size() <= number) {
    const double at = static_cast<double>(result.intervals.size()) * run.step_s;
    result.intervals.push_back({.at_s = at, .seconds = run.step_s, .slots = {}});
    result.intervals.back().slots.resize(result.slots.size());
  }
  return number;
}
} // namespace

// Processors and retries: between the ends of the window, as near as ticks are.
void Load::count_host(Run& run, LoadResult& result, const std::vector<std::uint64_t>& done, std::int64_t now_ns) {
  const std::int64_t from = run.window_from(), to = run.window_to();
  if (!run.window_open && now_ns >= from) {
    run.window_open = true;
    run.slots_before = done;
    run.cpu_before = cpu_times();
    run.retries_before = slots_.retries();
  } else if (run.window_open && result.host_cpu_share == 0 && (run.window_closed || now_ns >= to)) {
    const CpuTimes after = cpu_times();
    const double all = static_cast<double>(std::min(now_ns, to) - from) / 1e9 *
                       static_cast<double>(std::max(std::thread::hardware_concurrency(), 1U));
    result.process_cpu_share = share_of(after.process_s - run.cpu_before.process_s, all);
    result.host_cpu_share = std::max(share_of(after.busy_s - run.cpu_before.busy_s, all), result.process_cpu_share);
    result.retries = slots_.retries() - run.retries_before;
  }
}

void Load::count_slots(Run& run, LoadResult& result, const std::vector<std::uint64_t>& done, std::int64_t now_ns) {
  const std::int64_t from = run.window_from(), to = run.window_to();
  if (run.window_open && !run.slots_before.empty() && now_ns <= to + nanoseconds(kTick).count()) {
    // They were done between the last time and now: its middle says in which interval.
    const std::int64_t middle = ((run.last_tick - run.start).count() + now_ns) / 2;
    const std::size_t number = interval_of(run, result, std::clamp(middle, from, to - 1));
    for (std::size_t i = 0; i < done.size(); ++i) {
      result.intervals[number].slots[i] += done[i] - run.slots_before[i];
      result.slots[i] += done[i] - run.slots_before[i];
    }
    run.slots_before = done;
  }
}

void Load::count_samples(Run& run, LoadResult& result) {
  const std::int64_t from = run.window_from(), to = run.window_to();
  const bool open_model = run.plan.model == LoadModel::kOpen;
  run.samples.drain([&](const Sample& sample) {
    const std::int64_t latency = sample.ended_ns - sample.intended_ns;
    const bool ended_then = sample.ended_ns >= from && sample.ended_ns < to;
    const bool meant_then = sample.intended_ns >= from && sample.intended_ns < to;
    if (sample.kind == 0) {
      run.recent.record(latency);
      ++run.recent_done;
    } else {
      ++run.recent_errors;
    }
    if (ended_then) {
      Interval& interval = result.intervals[interval_of(run, result, sample.ended_ns)];
      ++(sample.kind == 0 ? interval.completed : interval.errors);
      if (sample.kind == 0) ++result.ended_in_time;
    }
    if (open_model ? !meant_then : !ended_then) return;
    EntryResult& entry = result.entries[sample.entry];
    if (sample.kind != 0) {
      ++(sample.started ? result.errors : result.not_started);
      ++entry.errors;
      ++result.error_kinds[std::string(error_kind_name(static_cast<ErrorKind>(sample.kind)))];
      return;
    }
    ++result.completed;
    ++entry.completed;
    result.latency.record(latency);
    entry.latency.record(latency);
    if (meant_then) run.open_intervals[interval_of(run, result, sample.intended_ns)].record(latency);
  });
}

void Load::close_intervals(Run& run, LoadResult& result, std::int64_t now_ns) {
  const std::int64_t from = run.window_from();
  // Intervals for which nothing can come any more: only their percentiles are kept.
  while (!run.open_intervals.empty()) {
    const auto first = run.open_intervals.begin();
    Interval& interval = result.intervals[first->first];
    const double complete_s =
        interval.at_s + interval.seconds + std::chrono::duration<double>(run.plan.timeout).count();
    if (static_cast<double>(now_ns - from) / 1e9 < complete_s + 1) break;
    interval.p50_ns = first->second.percentile(50);
    interval.p99_ns = first->second.percentile(99);
    interval.max_ns = first->second.max();
    run.open_intervals.erase(first);
  }
}

void Load::tell(Run& run, const std::vector<std::uint64_t>& done, TimePoint now, const LoadObserver& observer) {
  const std::int64_t now_ns = (now - run.start).count(), to = run.window_to();
  LoadProgress progress{.plan = &run.plan,
                        .seconds_left = std::max(0.0, static_cast<double>(to - now_ns) / 1e9),
                        .rate = static_cast<double>(run.recent_done) /
                                std::chrono::duration<double>(now - run.progress_at).count(),
                        .p50_ns = run.recent.percentile(50),
                        .p99_ns = run.recent.percentile(99),
                        .errors = run.recent_errors,
                        .waiting = run.waiting.load(),
                        .slot_share = {}};
  double all = 0;
  for (std::size_t i = 0; i < done.size(); ++i) all += static_cast<double>(done[i] - run.recent_slots[i]);
  for (std::size_t i = 0; i < done.size(); ++i) {
    progress.slot_share.push_back(share_of(static_cast<double>(done[i] - run.recent_slots[i]), all));
  }
  observer(progress);
  run.progress_at = now;
  run.recent = {};
  run.recent_done = 0;
  run.recent_slots = done;
}

// Takes what has ended since the last time, on the thread that waits.
void Load::tick(Run& run, LoadResult& result, const LoadObserver& observer) {
  const TimePoint now = MonotonicClock::now();
  const std::int64_t now_ns = (now - run.start).count();
  const std::vector<std::uint64_t> done = slots_.done();
  count_host(run, result, done, now_ns);
  count_slots(run, result, done, now_ns);
  count_samples(run, result);
  close_intervals(run, result, now_ns);
  run.last_tick = now;
  if (observer && now - run.progress_at >= milliseconds(250)) tell(run, done, now, observer);
}

} // namespace hsmux::capacity
