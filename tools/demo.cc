// hsmux demo: all algorithms at once over all slots for a few seconds
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "mechanisms/host_crypto.h"
#include "tools/command.h"
#include "tools/latencies.h"
#include "tools/metrics_service.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::size_t kLatenciesKept = 200'000; // 1.6 MB each
constexpr std::uint64_t kCheckEvery = 1024;     // results checked: the first of each caller, then one in this many
constexpr std::size_t kMessageBytes = 34;       // what a Canton sequencer signs: a multihash of SHA-256
constexpr std::size_t kBlockBytes = 1024;

struct DemoOptions {
  std::uint32_t seconds = 5;
  std::uint32_t callers = 2; // per algorithm
  std::string key_prefix = "demo";
  std::string metrics; // where to serve them; empty: nowhere
};

struct DemoJob {
  Algorithm algorithm;
  Operation operation;
  std::string_view suffix; // of the key's label
};
constexpr std::array kJobs{DemoJob{Algorithm::kEcdsaP256Sha256, Operation::kSign, "-sign"},
                           DemoJob{Algorithm::kRsaOaepSha256, Operation::kDecrypt, "-decrypt"},
                           DemoJob{Algorithm::kAes256Gcm, Operation::kEncrypt, "-encrypt"}};

// Attempts per algorithm and slot, counted from the engine's events.
class SlotCounts {
public:
  explicit SlotCounts(const Config& config) {
    for (const SlotConfig& slot : config.slots) {
      names_.push_back(slot.name);
      for (auto& counts : counts_) counts.emplace(slot.name, std::make_unique<std::atomic<std::uint64_t>>(0));
    }
  }
  void record(const Event& event) {
    if (event.kind != EventKind::kOperation || event.rv != 0) return;
    const AlgorithmSpec* spec = find_spec(event.algorithm);
    if (spec == nullptr) return;
    auto& counts = counts_.at(static_cast<std::size_t>(spec->algorithm));
    if (const auto found = counts.find(event.slot); found != counts.end()) found->second->fetch_add(1);
  }
  void reset() {
    for (auto& counts : counts_) {
      for (auto& [name, count] : counts) *count = 0;
    }
  }
  [[nodiscard]] std::map<std::string, std::uint64_t> of(Algorithm algorithm) const {
    std::map<std::string, std::uint64_t> result;
    for (const auto& [name, count] : counts_.at(static_cast<std::size_t>(algorithm))) result[name] = *count;
    return result;
  }

private:
  std::vector<std::string> names_;
  std::array<std::map<std::string, std::unique_ptr<std::atomic<std::uint64_t>>, std::less<>>, kAlgorithmCount> counts_;
};

// One thread's calls of one algorithm.
class Caller {
public:
  Caller(Engine& engine, const DemoJob& job, std::string key, const Program& program, std::uint64_t seed)
      : engine_(engine), job_(job), key_(std::move(key)), program_(program), latencies_(kLatenciesKept, seed),
        plain_(job.operation == Operation::kEncrypt ? kBlockBytes : kMessageBytes, 0x6d) {}

  Status prepare() {
    out_.resize(Engine::output_bytes_max(job_.algorithm, job_.operation, kBlockBytes));
    if (job_.operation != Operation::kDecrypt) return {};
    HSMUX_TRY(sealed_, engine_.encrypt({.key = key_,
                                        .algorithm = job_.algorithm,
                                        .plaintext = plain_,
                                        .aad = {},
                                        .options = program_.request_options()}));
    out_.resize(std::max(out_.size(), sealed_.size()));
    return {};
  }

  void run(const std::atomic<bool>& stop) {
    for (std::uint64_t turn = 0; !stop; ++turn) {
      const TimePoint start = MonotonicClock::now();
      const Result<std::size_t> size = once();
      const nanoseconds time = MonotonicClock::now() - start;
      if (!size) {
        fail_with(size.error());
        continue;
      }
      latencies_.add(time);
      done_.fetch_add(1, std::memory_order_relaxed);
      if (turn % kCheckEvery != 0) continue;
      if (const Status good = check(ByteView(out_).first(*size)); good) {
        ++checked_;
      } else {
        fail_with(good.error());
      }
    }
  }

  [[nodiscard]] const DemoJob& job() const { return job_; }
  [[nodiscard]] std::uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }
  // After run():
  [[nodiscard]] std::uint64_t checked() const { return checked_; }
  [[nodiscard]] const Latencies& latencies() const { return latencies_; }
  [[nodiscard]] const std::string& first_error() const { return first_error_; }

private:
  Result<std::size_t> once() {
    switch (job_.operation) {
    case Operation::kSign:
      return engine_.sign({.key = key_,
                           .algorithm = job_.algorithm,
                           .message = plain_,
                           .prehashed = false,
                           .options = program_.request_options()},
                          out_);
    case Operation::kDecrypt:
      return engine_.decrypt({.key = key_,
                              .algorithm = job_.algorithm,
                              .ciphertext = sealed_,
                              .aad = {},
                              .bound_to = std::nullopt,
                              .options = program_.request_options()},
                             out_);
    case Operation::kEncrypt:
      return engine_.encrypt({.key = key_,
                              .algorithm = job_.algorithm,
                              .plaintext = plain_,
                              .aad = {},
                              .options = program_.request_options()},
                             out_);
    }
    return fail(ErrorKind::kInternal, "no such operation");
  }

  Status check(ByteView result) {
    if (job_.operation == Operation::kSign) {
      return engine_.verify({.key = key_,
                             .algorithm = job_.algorithm,
                             .message = plain_,
                             .prehashed = false,
                             .signature = result,
                             .options = program_.request_options()});
    }
    Bytes opened(result.begin(), result.end());
    if (job_.operation == Operation::kEncrypt) {
      HSMUX_TRY(opened, engine_.decrypt({.key = key_,
                                         .algorithm = job_.algorithm,
                                         .ciphertext = result,
                                         .aad = {},
                                         .bound_to = std::nullopt,
                                         .options = program_.request_options()}));
    }
    if (opened == plain_) return {};
    return fail(ErrorKind::kDevice, "a result is wrong");
  }

  void fail_with(const Error& error) {
    if (errors_.fetch_add(1) == 0) first_error_ = error.text();
  }

  Engine& engine_;
  const DemoJob& job_;
  const std::string key_;
  const Program& program_; // each request gets a deadline of its own
  Latencies latencies_;
  const Bytes plain_;
  Bytes sealed_, out_;
  std::atomic<std::uint64_t> done_{0}, errors_{0};
  std::uint64_t checked_ = 0;
  std::string first_error_;
};

// Keys for the demonstration: those that exist, else temporary ones that are deleted at the end.
class DemoKeys {
public:
  DemoKeys(Engine& engine, const Program& program) : engine_(engine), program_(program) {}
  DemoKeys(const DemoKeys&) = delete;
  DemoKeys& operator=(const DemoKeys&) = delete;
  ~DemoKeys() {
    for (const std::string& id : made_) {
      if (const Result<KeyInfo> gone = engine_.delete_key(id); !gone) program_.report(gone.error());
    }
  }

  Result<std::string> get(const DemoJob& job, const std::string& prefix) {
    std::string label = prefix + std::string(job.suffix);
    HSMUX_TRY(const bool there, engine_.exists(label, program_.request_options()));
    if (there) return label;
    HSMUX_TRY(const KeyInfo key,
              engine_.generate({.label = label,
                                .algorithm = job.algorithm,
                                .bits = 0,
                                .placement = PlacementConfig{.kind = Placement::kAll, .quorum = 0, .slots = {}},
                                .software_key = false,
                                .options = program_.request_options()}));
    made_.push_back("id:" + key.id);
    return made_.back();
  }

private:
  Engine& engine_;
  const Program& program_;
  std::vector<std::string> made_;
};

struct Summary {
  std::string algorithm;
  std::map<std::string, std::uint64_t> slots;
  std::uint64_t operations = 0, checked = 0, errors = 0;
  double per_second = 0;
  nanoseconds p50{}, p99{};
  bool exact = true;
  std::string first_error;
};

using Callers = std::vector<std::unique_ptr<Caller>>;

Summary summarise(const DemoJob& job, const Callers& callers, const SlotCounts& slots, double elapsed) {
  Summary sum;
  sum.algorithm = spec_of(job.algorithm).name;
  sum.slots = slots.of(job.algorithm);
  std::vector<nanoseconds> values;
  for (const auto& caller : callers) {
    if (&caller->job() != &job) continue;
    sum.operations += caller->done();
    sum.checked += caller->checked();
    sum.errors += caller->errors();
    sum.exact = sum.exact && caller->latencies().exact();
    values.insert(values.end(), caller->latencies().kept().begin(), caller->latencies().kept().end());
    if (sum.first_error.empty()) sum.first_error = caller->first_error();
  }
  sum.per_second = static_cast<double>(sum.operations) / elapsed;
  sum.p50 = percentile(values, 0.50);
  sum.p99 = percentile(values, 0.99);
  return sum;
}

double in_us(nanoseconds time) { return static_cast<double>(time.count()) / 1000.0; }

Status report(const Program& program, const std::vector<Summary>& summaries, double elapsed) {
  if (program.options.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const Summary& sum : summaries) {
      rows.push_back({{"algorithm", sum.algorithm},
                      {"slots", sum.slots},
                      {"operations", sum.operations},
                      {"operations_per_second", sum.per_second},
                      {"p50_us", in_us(sum.p50)},
                      {"p99_us", in_us(sum.p99)},
                      {"percentiles_exact", sum.exact},
                      {"checked", sum.checked},
                      {"errors", sum.errors},
                      {"first_error", sum.first_error}});
    }
    return Program::print_json({{"seconds", elapsed}, {"algorithms", std::move(rows)}});
  }
  std::vector<std::vector<std::string>> lines;
  std::string errors;
  for (const Summary& sum : summaries) {
    std::vector<std::string> shares;
    for (const auto& [name, count] : sum.slots) {
      if (count > 0) shares.push_back(fmt::format("{} ({})", name, count));
    }
    lines.push_back({sum.algorithm, fmt::format("{}", fmt::join(shares, ", ")), std::to_string(sum.operations),
                     fmt::format("{:.0f}", sum.per_second), fmt::format("{:.0f} us", in_us(sum.p50)),
                     fmt::format("{:.0f} us{}", in_us(sum.p99), sum.exact ? "" : " (sampled)"),
                     std::to_string(sum.checked), std::to_string(sum.errors)});
    if (!sum.first_error.empty()) errors += fmt::format("{}: first error: {}\n", sum.algorithm, sum.first_error);
  }
  HSMUX_CHECK(Program::print(
      table({"ALGORITHM", "SLOTS USED", "OPERATIONS", "OP/S", "P50", "P99", "CHECKED", "ERRORS"}, lines)));
  return Program::print(errors);
}

// Runs the callers until the time is over or an interruption; shows how it goes. The seconds that it took.
double drive(const Callers& callers, std::uint32_t wanted) {
  std::atomic<bool> stop{false};
  const TimePoint start = MonotonicClock::now();
  const TimePoint end = start + seconds(wanted);
  {
    std::vector<std::jthread> threads;
    threads.reserve(callers.size());
    for (const auto& caller : callers) threads.emplace_back([&caller, &stop] { caller->run(stop); });

    StatusLine line;
    std::mutex mutex;
    std::condition_variable never;
    TimePoint next_plain = start + seconds(2);
    std::map<Algorithm, std::uint64_t> before;
    TimePoint last = start;
    while (MonotonicClock::now() < end && !Program::interrupted()) {
      std::unique_lock lock(mutex);
      never.wait_until(lock, std::min(end, MonotonicClock::now() + std::chrono::milliseconds(250)));
      const TimePoint now = MonotonicClock::now();
      const bool terminal = stderr_is_terminal();
      if (!terminal && now < next_plain) continue;
      next_plain = now + seconds(2);
      std::string text = fmt::format("{} s left", std::chrono::ceil<seconds>(end - now).count());
      std::uint64_t errors = 0;
      const double span = std::chrono::duration<double>(now - last).count();
      for (const DemoJob& job : kJobs) {
        std::uint64_t sum = 0;
        for (const auto& caller : callers) {
          if (&caller->job() == &job) sum += caller->done();
        }
        text += fmt::format("   {} {:.0f}/s", spec_of(job.algorithm).name,
                            static_cast<double>(sum - before[job.algorithm]) / span);
        before[job.algorithm] = sum;
      }
      for (const auto& caller : callers) errors += caller->errors();
      text += fmt::format("   errors {}", errors);
      last = now;
      if (terminal)
        line.show(text);
      else
        fmt::print(stderr, "{}\n", text);
    }
    stop = true;
  }
  return std::chrono::duration<double>(MonotonicClock::now() - start).count();
}

Result<ExitCode> demo(Program& program, const DemoOptions& options) {
  HSMUX_TRY(const Config config, program.read_configuration());
  SlotCounts counts(config);
  MetricsService service;
  HSMUX_TRY(const std::unique_ptr<Engine> engine,
            program.open_engine({.events = [&counts, metrics = service.events()](const Event& event) {
              counts.record(event);
              metrics(event);
            }}));
  MetricsConfig wanted = config.metrics.value_or(MetricsConfig{});
  std::unique_ptr<MetricsService::Serving> serving;
  if (!options.metrics.empty()) {
    wanted.address = options.metrics;
    HSMUX_TRY(serving, service.start(*engine, wanted, program.log_sink()));
    program.note("metrics at http://" + service.listens_at() + "/");
  }
  program.hush(LogLevel::kError); // software keys of a development set-up are what is shown here
  DemoKeys keys(*engine, program);
  Callers callers;
  for (const DemoJob& job : kJobs) {
    HSMUX_TRY(const std::string key, keys.get(job, options.key_prefix));
    for (std::uint32_t i = 0; i < options.callers; ++i) {
      callers.push_back(std::make_unique<Caller>(*engine, job, key, program, callers.size() + 1));
      HSMUX_CHECK(callers.back()->prepare());
    }
  }
  counts.reset();
  const double elapsed = drive(callers, options.seconds);

  std::vector<Summary> summaries;
  std::uint64_t errors = 0;
  for (const DemoJob& job : kJobs) {
    summaries.push_back(summarise(job, callers, counts, elapsed));
    errors += summaries.back().errors;
  }
  HSMUX_CHECK(report(program, summaries, elapsed));
  if (Program::interrupted()) return fail(ErrorKind::kUnavailable, "interrupted: the table shows what was measured");
  return errors == 0 ? ExitCode::kOk : ExitCode::kHsm;
}

} // namespace

void add_demo(CLI::App& app, Program& program) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app.add_subcommand("demo", "Drive all algorithms at once over all slots for a few seconds");
  command->add_option("--seconds", options->seconds, "How long (default 5)")
      ->check(CLI::Range(1U, 3600U))
      ->type_name("N");
  command->add_option("--callers", options->callers, "Calling threads per algorithm (default 2)")
      ->check(CLI::Range(1U, 256U))
      ->type_name("N");
  command->add_option("--key-prefix", options->key_prefix, "Keys are named PREFIX-sign, PREFIX-decrypt, PREFIX-encrypt")
      ->type_name("PREFIX");
  command
      ->add_option("--metrics", options->metrics,
                   "Serve metrics and the status page there meanwhile, such as 127.0.0.1:9467")
      ->type_name("ADDRESS");
  command->footer(
      "Uses the keys of those names where they exist, else makes them and deletes them at the end. Latencies\n"
      "include waiting for a session. Not a benchmark: callers, checks and HSM share this machine.\n"
      "Examples:\n"
      "  hsmux demo\n"
      "  hsmux demo --seconds 30 --callers 8 --json\n"
      "  hsmux demo --seconds 600 --metrics 127.0.0.1:9467\n"
      "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return demo(program, *options); });
}

} // namespace hsmux
