#include "tools/bench_faults.h"
#include "tools/file_io.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/line_socket.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kFaultKey = "bench-faults";

// What is done to slots of the simulator, and how it ends. Requests of the control socket (docs/simhsm.md).
struct FaultRow {
  const char* name;
  bool every_slot;
  const char* begin; // "%" stands for the slot
  const char* end;   // empty: at once over
};
constexpr std::array kFaultRows{
    FaultRow{"all sessions of every slot lost", true, R"({"command":"play","action":"lose-sessions","slot":"%"})", ""},
    FaultRow{"one of two slots removed", false, R"({"command":"play","action":"remove-token","slot":"%"})",
             R"({"command":"play","action":"insert-token","slot":"%"})"},
    FaultRow{
        "one of two slots hangs", false,
        R"({"command":"apply","settings":"[[fault]]\nslot = '%'\nfunction = 'C_Sign'\nevery = 1\naction = 'hang'"})",
        R"({"command":"release"})"},
    FaultRow{"one of two slots answers after 500 ms", false,
             R"({"command":"apply","settings":"[[fault]]\nslot = '%'\nevery = 1\naction = 'delay'\ntime_us = 500000"})",
             R"({"command":"clear-faults"})"},
    FaultRow{
        "one of two slots gives CKR_DEVICE_ERROR", false,
        R"({"command":"apply","settings":"[[fault]]\nslot = '%'\nfunction = 'C_Sign'\nevery = 1\naction = 'answer'\nrv = 0x30"})",
        R"({"command":"clear-faults"})"},
    FaultRow{
        "one of two slots signs wrongly", false,
        R"({"command":"apply","settings":"[[fault]]\nslot = '%'\nfunction = 'C_Sign'\nevery = 1\naction = 'corrupt'"})",
        R"({"command":"clear-faults"})"},
    FaultRow{"both slots removed", true, R"({"command":"play","action":"remove-token","slot":"%"})",
             R"({"command":"play","action":"insert-token","slot":"%"})"},
};

std::string for_slot(std::string text, const std::string& slot) {
  for (std::size_t at = text.find('%'); at != std::string::npos; at = text.find('%', at)) text.replace(at, 1, slot);
  return text;
}

// Requests by many threads, and what was the slowest of them.
class FaultLoad {
public:
  FaultLoad(Engine& engine, std::uint32_t callers, milliseconds deadline) : deadline_(deadline) {
    for (std::uint32_t i = 0; i < callers; ++i) threads_.emplace_back([this, &engine] { run(engine); });
  }
  ~FaultLoad() { stop_ = true; }
  FaultLoad(const FaultLoad&) = delete;
  FaultLoad& operator=(const FaultLoad&) = delete;

  void stop() {
    stop_ = true;
    threads_.clear();
  }
  Duration take_slowest() { return Duration(slowest_.exchange(0)); }
  [[nodiscard]] std::uint64_t done() const { return done_; }
  std::atomic<std::uint64_t> errors{0}, wrong{0};

private:
  void run(Engine& engine) {
    static constexpr std::array<std::uint8_t, 9> kMessage{'a', 'n', ' ', 'o', 'r', 'd', 'e', 'r', 's'};
    while (!stop_) {
      const TimePoint start = MonotonicClock::now();
      const auto signature =
          engine.sign({.key = kFaultKey,
                       .algorithm = Algorithm::kEcdsaP256Sha256,
                       .message = kMessage,
                       .prehashed = false,
                       .options = {.deadline = Deadline::after(deadline_), .slot = {}, .hard = true}});
      const Duration::rep took = (MonotonicClock::now() - start).count();
      Duration::rep slowest = slowest_;
      while (slowest < took && !slowest_.compare_exchange_weak(slowest, took)) {
      }
      ++done_;
      if (!signature) {
        ++errors;
        continue;
      }
      const Status right = engine.verify({.key = kFaultKey,
                                          .algorithm = Algorithm::kEcdsaP256Sha256,
                                          .message = kMessage,
                                          .prehashed = false,
                                          .signature = *signature,
                                          .options = {}});
      if (!right) ++wrong;
    }
  }

  const milliseconds deadline_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<Duration::rep> slowest_{0};
  std::vector<std::jthread> threads_;
};

struct FaultOutcome {
  std::string name;
  std::uint64_t requests = 0, errors = 0, wrong = 0;
  double slowest_ms = 0, back_ms = 0;
};

double ms(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

class FaultBench {
public:
  explicit FaultBench(const FaultBenchOptions& options) : options_(options) {}
  ~FaultBench() {
    engine_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  FaultBench(const FaultBench&) = delete;
  FaultBench& operator=(const FaultBench&) = delete;

  Status open() {
    std::string name = (std::filesystem::temp_directory_path() / "hsmux-faults-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) return fail(ErrorKind::kIo, "no temporary folder");
    folder_ = name;
    std::string settings = fmt::format("mode = 'own'\nspare_slot = false\ncontrol = '{}/control'\n", folder_);
    std::string config = fmt::format("algorithms = ['ecdsa-p256-sha256']\n[module.sim]\npath = '{}'\nenvironment = {{ "
                                     "HSMUX_SIM_CONFIG = '{}/sim.toml' }}\n[self_check]\nverify_share = 1.0\n[keys]\n"
                                     "development_software_keys = true\n",
                                     std::filesystem::absolute(options_.simhsm).string(), folder_);
    for (const std::string& slot : slots_) {
      settings += fmt::format("[[token]]\nlabel = '{}'\n", slot);
      config +=
          fmt::format("[[slot]]\nname = '{}'\ntoken_label = '{}'\npin = {{ file = '{}/pin' }}\n", slot, slot, folder_);
    }
    settings += "[[hsm]]\nengines = 8\n[[time]]\nfunction = 'C_Sign'\nus = 1000\n";
    HSMUX_CHECK(write_new_file(folder_ + "/sim.toml", bytes_of(settings), 0600));
    HSMUX_CHECK(write_new_file(folder_ + "/pin", bytes_of("1234"), 0600));
    HSMUX_TRY(Config parsed, parse_config(config, "bench faults", folder_));
    EngineOptions engine_options;
    engine_options.set_module_environment = true;
    engine_options.events = [this](const Event& event) {
      if (event.kind != EventKind::kOperation || event.rv != 0) return;
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (event.slot == slots_.at(i)) ++operations_.at(i);
      }
    };
    HSMUX_TRY(engine_, Engine::open(std::move(parsed), std::move(engine_options)));
    HSMUX_CHECK(engine_->generate({.label = kFaultKey,
                                   .algorithm = Algorithm::kEcdsaP256Sha256,
                                   .placement = {},
                                   .software_key = true,
                                   .options = {}}));
    return {};
  }

  Result<FaultOutcome> play(const FaultRow& row) {
    const bool gone = row.every_slot && *row.end != '\0';
    const std::chrono::seconds lasts(gone ? options_.gone_seconds : options_.seconds);
    FaultLoad load(*engine_, options_.callers, lasts + std::chrono::seconds(10));
    HSMUX_CHECK(pause(milliseconds(1000)));
    (void)load.take_slowest();
    const std::uint64_t before = load.done();
    HSMUX_CHECK(tell(row, row.begin));
    HSMUX_CHECK(pause(*row.end == '\0' ? std::chrono::seconds(1) : lasts));
    FaultOutcome outcome{.name = row.name};
    if (*row.end != '\0') {
      const std::uint64_t idle = operations_.at(1);
      const TimePoint back = MonotonicClock::now();
      HSMUX_CHECK(tell(row, row.end));
      while (operations_.at(1) == idle && MonotonicClock::now() - back < std::chrono::seconds(30)) {
        HSMUX_CHECK(pause(milliseconds(1)));
      }
      outcome.back_ms = ms(MonotonicClock::now() - back);
    }
    HSMUX_CHECK(pause(milliseconds(2000)));
    load.stop();
    outcome.requests = load.done() - before;
    outcome.errors = load.errors;
    outcome.wrong = load.wrong;
    outcome.slowest_ms = ms(load.take_slowest());
    return outcome;
  }

private:
  static Status pause(Duration time) {
    const Deadline until = Deadline::after(time);
    while (!until.passed(MonotonicClock::now())) {
      if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted");
      std::this_thread::sleep_for(std::min<Duration>(until.left(MonotonicClock::now()), milliseconds(50)));
    }
    return {};
  }
  Status tell(const FaultRow& row, const char* request) const {
    for (std::size_t i = row.every_slot ? 0 : 1; i < slots_.size(); ++i) {
      HSMUX_TRY(const std::string answer,
                ask_socket(folder_ + "/control", for_slot(request, slots_.at(i)), std::chrono::seconds(10)));
      if (!answer.starts_with(R"({"ok":true)")) return fail(ErrorKind::kInternal, "the simulator refused: " + answer);
    }
    return {};
  }

  const FaultBenchOptions& options_;
  const std::array<std::string, 2> slots_{"sim-0", "sim-1"};
  std::array<std::atomic<std::uint64_t>, 2> operations_{};
  std::string folder_;
  std::unique_ptr<Engine> engine_;
};

} // namespace

CLI::App* add_bench_faults(CLI::App& bench, const std::shared_ptr<FaultBenchOptions>& options) {
  CLI::App* command = bench.add_subcommand("faults", "What callers notice when simulated HSMs fail under load");
  command->add_option("--simhsm", options->simhsm, "path of libhsmux-simhsm.so")->check(CLI::ExistingFile)->required();
  command->add_option("--callers", options->callers, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  command->add_option("--seconds", options->seconds, "how long each fault lasts")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
  command->add_option("--gone-seconds", options->gone_seconds, "how long both slots are gone")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
  command->add_option("--only", options->only, "faults with this text in their name");
  command->footer(
      "Two simulated HSMs of 8 engines and 1 ms; every signature is verified. SLOWEST is the longest that a "
      "request took around\nthe fault; BACK the time from the fault's end to the slot's next operation.\n\n"
      "Examples:\n"
      "  hsmux bench faults --simhsm build/release/tests/simhsm/libhsmux-simhsm.so\n"
      "  hsmux bench faults --simhsm libhsmux-simhsm.so --only hangs --json");
  return command;
}

Result<ExitCode> bench_faults(Program& program, const FaultBenchOptions& options) {
  FaultBench bench(options);
  HSMUX_CHECK(bench.open());
  nlohmann::json all = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows;
  StatusLine line;
  bool clean = true;
  for (const FaultRow& row : kFaultRows) {
    if (std::string_view(row.name).find(options.only) == std::string_view::npos) continue;
    line.show(row.name);
    HSMUX_TRY(const FaultOutcome outcome, bench.play(row));
    clean = clean && outcome.errors == 0 && outcome.wrong == 0;
    all.push_back({{"fault", outcome.name},
                   {"requests", outcome.requests},
                   {"errors", outcome.errors},
                   {"wrong", outcome.wrong},
                   {"slowest_ms", outcome.slowest_ms},
                   {"back_ms", outcome.back_ms}});
    rows.push_back({outcome.name, std::to_string(outcome.requests), std::to_string(outcome.errors),
                    std::to_string(outcome.wrong), fmt::format("{:.0f} ms", outcome.slowest_ms),
                    outcome.back_ms > 0 ? fmt::format("{:.0f} ms", outcome.back_ms) : "-"});
  }
  line.clear();
  HSMUX_CHECK(program.options.json
                  ? Program::print_json({{"faults", std::move(all)}})
                  : Program::print(table({"FAULT", "REQUESTS", "ERRORS", "WRONG", "SLOWEST", "BACK"}, rows)));
  return clean ? ExitCode::kOk : ExitCode::kHsm;
}

} // namespace hsmux
