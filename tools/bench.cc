// hsmux bench: what the engine adds to the module, or gains over it, as ratios of interleaved pairs of runs.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/bench_faults.h"
#include "tools/bench_rows.h"
#include "tools/bench_side.h"
#include "tools/command.h"
#include "tools/line_socket.h"
#include "tools/softhsm_folder.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

struct Options {
  std::string simhsm, softhsm, only, key, algorithm = "ecdsa-p256-sha256";
  std::vector<std::uint32_t> callers{1, 2, 8};
  std::uint32_t pairs = 15, milliseconds = 300;
};

// A comparison with all that it needs.
struct Comparison {
  std::string name;
  BenchWork engine, raw;
  BenchRow goal{};
  std::string control = {}; // of the simulator, before its process's number
};

struct Outcome {
  const Comparison* comparison = nullptr;
  double ratio = 0, ratio_low = 0, ratio_high = 0; // median of the pairs, and its interval of 95 %
  BenchRun engine, raw;                            // medians
  double raw_min = 0, raw_max = 0;                 // operations a second
  std::uint64_t errors = 0;
  std::string first_error;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// The rank k for which the k-th smallest and the k-th largest of n values enclose the median with 95 %: from the
// binomial distribution with 1/2. 1 = the smallest; few values are enclosed by nothing better.
std::size_t interval_rank(std::size_t n) {
  double below = std::pow(0.5, static_cast<double>(n)), term = below;
  std::size_t rank = 1;
  for (std::size_t k = 1; k < n; ++k) {
    term *= static_cast<double>(n - k + 1) / static_cast<double>(k);
    below += term;
    if (below > 0.025) break;
    rank = k + 1;
  }
  return rank;
}

// The runs of one side, and their medians.
struct Runs {
  std::vector<BenchRun> all;

  template <class Of> [[nodiscard]] double middle(Of of) const {
    std::vector<double> values;
    for (const BenchRun& run : all) values.push_back(of(run));
    return median(std::move(values));
  }
  [[nodiscard]] BenchRun middle() const {
    BenchRun run{.first_error = {}};
    run.seconds = 1;
    run.operations = static_cast<std::uint64_t>(middle([](const BenchRun& each) { return each.rate(); }));
    run.cpu_seconds = middle([](const BenchRun& each) { return each.cpu_us(); }) * run.rate() / 1e6;
    run.mean_us = middle([](const BenchRun& each) { return each.mean_us; });
    run.p50_us = middle([](const BenchRun& each) { return each.p50_us; });
    run.p99_us = middle([](const BenchRun& each) { return each.p99_us; });
    run.p999_us = middle([](const BenchRun& each) { return each.p999_us; });
    run.own_p50_us = middle([](const BenchRun& each) { return each.own_p50_us; });
    return run;
  }
};

// `raw` and `engine` have a run for each pair.
Outcome outcome_of(const Comparison& comparison, const Runs& raw, const Runs& engine) {
  Outcome outcome{.comparison = &comparison, .engine = engine.middle(), .raw = raw.middle(), .first_error = {}};
  std::vector<double> ratios;
  outcome.raw_min = raw.all.front().rate();
  for (std::size_t i = 0; i < raw.all.size(); ++i) {
    const BenchRun &by_raw = raw.all[i], &by_engine = engine.all[i];
    ratios.push_back(by_raw.rate() > 0 ? by_engine.rate() / by_raw.rate() : 0);
    outcome.raw_min = std::min(outcome.raw_min, by_raw.rate());
    outcome.raw_max = std::max(outcome.raw_max, by_raw.rate());
    outcome.errors += by_engine.errors + by_raw.errors;
    if (outcome.first_error.empty()) outcome.first_error = by_engine.first_error + by_raw.first_error;
  }
  outcome.ratio = median(ratios);
  std::ranges::sort(ratios);
  const std::size_t rank = interval_rank(ratios.size());
  outcome.ratio_low = ratios[rank - 1];
  outcome.ratio_high = ratios[ratios.size() - rank];
  return outcome;
}

Result<Outcome> compare(const Comparison& comparison, const Options& options) {
  HSMUX_TRY(const auto raw, BenchSide::start(comparison.raw));
  HSMUX_TRY(const auto engine, BenchSide::start(comparison.engine));
  // The engine finds its concurrency and copies its keys; both sides warm up.
  HSMUX_CHECK(engine->run(std::max(options.milliseconds * 4, 1000U)));
  HSMUX_CHECK(raw->run(options.milliseconds));
  Runs by_raw, by_engine;
  for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted");
    for (const bool raw_now : {pair % 2 == 0, pair % 2 == 1}) {
      HSMUX_TRY(BenchRun run, (raw_now ? *raw : *engine).run(options.milliseconds));
      (raw_now ? by_raw : by_engine).all.push_back(std::move(run));
    }
  }
  return outcome_of(comparison, by_raw, by_engine);
}

Status play_settings(const std::string& control, const std::string& settings) {
  const nlohmann::json request{{"command", "apply"}, {"settings", settings}};
  HSMUX_TRY(const std::string answer, ask_socket(control, request.dump(), std::chrono::seconds(10)));
  if (answer.starts_with(R"({"ok":true)")) return {};
  return fail(ErrorKind::kInternal, "the simulator refused: " + answer);
}

// The engine with itself: before and after a slot has stalled. `control` is the socket of the engine's simulator, but
// for the number of its process.
Result<Outcome> compare_stall(const Comparison& comparison, const Options& options) {
  HSMUX_TRY(const auto engine, BenchSide::start(comparison.engine));
  const std::string control = comparison.control + std::to_string(engine->process());
  constexpr std::uint32_t kSettle = 1500;
  HSMUX_CHECK(engine->run(std::max(options.milliseconds * 4, 1000U)));
  Runs before, after;
  for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted");
    HSMUX_TRY(BenchRun first, engine->run(options.milliseconds));
    HSMUX_CHECK(play_settings(control, stall_settings(true)));
    HSMUX_CHECK(engine->run(options.milliseconds));
    HSMUX_CHECK(play_settings(control, stall_settings(false)));
    HSMUX_CHECK(engine->run(kSettle));
    HSMUX_TRY(BenchRun second, engine->run(options.milliseconds));
    before.all.push_back(std::move(first));
    after.all.push_back(std::move(second));
  }
  return outcome_of(comparison, before, after);
}

// --- what is compared ---

// Configurations for the built-in comparisons, in a temporary folder.
class BuiltIn {
public:
  Status prepare_softhsm(const std::string& module) {
    HSMUX_TRY(folder_, SofthsmFolder::make_temporary());
    HSMUX_TRY(const std::string path, find_softhsm(module));
    return folder_->fill(path, 1);
  }
  Result<std::string> softhsm() const { return folder_->config_path(); }

  // Of simulated HSMs; the module is at `module`.
  Result<std::string> simhsm(std::string_view hsm, const std::string& module) const {
    const std::string base = fmt::format("{}/sim-{}", folder_->path(), hsm);
    HSMUX_CHECK(write(base + ".settings.toml", hsm_settings(hsm, control_of(hsm) + "%p")));
    HSMUX_CHECK(write(base + ".pin", "1234"));
    std::string text = fmt::format("[module.sim]\npath = '{}'\nenvironment = {{ HSMUX_SIM_CONFIG = '{}' }}\n[keys]\n"
                                   "development_software_keys = true\n",
                                   std::filesystem::absolute(module).string(), base + ".settings.toml");
    for (int i = 0; i < 8; ++i) {
      text += fmt::format("[[slot]]\nname = 'sim-{}'\ntoken_label = 'sim-{}'\npin = {{ file = '{}' }}\n", i, i,
                          base + ".pin");
    }
    HSMUX_CHECK(write(base + ".toml", text));
    return base + ".toml";
  }

  // The sockets by which the simulators are controlled, before the numbers of their processes.
  [[nodiscard]] std::string control_of(std::string_view hsm) const {
    return fmt::format("{}/sim-{}.control.", folder_->path(), hsm);
  }

private:
  static Status write(const std::string& path, const std::string& text) {
    std::ofstream out(path); // in a folder of mode 0700
    out << text;
    out.close();
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    if (out) return {};
    return fail(ErrorKind::kIo, "cannot write " + path);
  }

  std::unique_ptr<SofthsmFolder> folder_;
};

std::string name_of(const BenchRow& row) {
  switch (row.mode) {
  case BenchMode::kCalls: break;
  case BenchMode::kSubmit:
    return fmt::format("{}, {} in flight, raw {} callers", row.name, row.callers, row.raw_callers);
  case BenchMode::kPoissonCalls:
  case BenchMode::kPoissonSubmit: return fmt::format("{}, {:.0f}/s", row.name, row.rate);
  }
  return row.slots == 1 ? fmt::format("{}, {} callers", row.name, row.callers)
                        : fmt::format("{}, {} slots, {} callers", row.name, row.slots, row.callers);
}

Result<std::vector<Comparison>> built_in(const BuiltIn& files, const Options& options) {
  std::vector<Comparison> result;
  for (const BenchRow& row : bench_rows()) {
    if (row.module == BenchModule::kSimhsm && options.simhsm.empty()) continue;
    const std::string name = name_of(row);
    if (name.find(options.only) == std::string::npos) continue;
    HSMUX_TRY(const std::string path,
              row.module == BenchModule::kSofthsm ? files.softhsm() : files.simhsm(row.hsm, options.simhsm));
    const BenchWork engine{.config_path = path,
                           .mode = row.mode,
                           .rate = row.rate,
                           .raw = false,
                           .key = fmt::format("bench-{}", row.algorithm),
                           .algorithm = std::string(row.algorithm),
                           .make_key = true,
                           .callers = row.callers,
                           .slot = {},
                           .slots = row.slots,
                           .sessions = row.sessions,
                           .locks = std::string(row.locks),
                           .copies = std::string(row.copies)};
    BenchWork raw = engine;
    raw.raw = true;
    raw.mode = BenchMode::kCalls;
    if (row.raw_callers != 0) raw.callers = row.raw_callers;
    raw.sessions = 1; // the engine of that side only makes the key
    raw.locks = row.module == BenchModule::kSofthsm ? "os" : "";
    raw.copies = "off";
    result.push_back({name, engine, raw, row, files.control_of(row.hsm)});
  }
  return result;
}

Result<std::vector<Comparison>> configured(const Program& program, const Options& options) {
  std::vector<Comparison> result;
  for (const std::uint32_t callers : options.callers) {
    BenchWork engine{.config_path = program.options.config_path,
                     .mode = BenchMode::kCalls,
                     .rate = 0,
                     .raw = false,
                     .key = options.key,
                     .algorithm = options.algorithm,
                     .make_key = false,
                     .callers = callers,
                     .slot = program.options.slot,
                     .slots = 0,
                     .sessions = 0,
                     .locks = {},
                     .copies = {}};
    BenchWork raw = engine;
    raw.raw = true;
    raw.copies = "off";
    result.push_back(
        {fmt::format("{}, {} callers", options.algorithm, callers), std::move(engine), std::move(raw), {}, {}});
  }
  return result;
}

// --- what is printed ---

// Empty where nothing was to be reached.
std::string verdict(const Outcome& outcome) {
  const BenchRow& goal = outcome.comparison->goal;
  std::string wanted;
  bool reached = outcome.errors == 0;
  const auto check = [&](bool good, const std::string& what) {
    reached = reached && good;
    wanted += (wanted.empty() ? "" : ", ") + what;
  };
  if (goal.ratio_min > 0) check(outcome.ratio >= goal.ratio_min, fmt::format(">= {:.2f}", goal.ratio_min));
  if (goal.rate_min > 0) check(outcome.engine.rate() >= goal.rate_min, fmt::format(">= {:.0f}/s", goal.rate_min));
  if (goal.p99_max_us > 0) {
    check(outcome.engine.p99_us <= goal.p99_max_us, fmt::format("p99 <= {:.0f} us", goal.p99_max_us));
  }
  if (goal.p999_of_mean_max > 0) {
    check(outcome.engine.p999_us <= goal.p999_of_mean_max * outcome.engine.mean_us,
          fmt::format("p99.9 <= {:.0f} x mean", goal.p999_of_mean_max));
  }
  if (goal.cpu_ratio_max > 0) {
    check(outcome.engine.cpu_us() <= goal.cpu_ratio_max * outcome.raw.cpu_us(),
          fmt::format("CPU <= {:.1f} x raw's {:.1f} us", goal.cpu_ratio_max, outcome.raw.cpu_us()));
  }
  if (goal.own_p50_max_us > 0) {
    const double own = outcome.engine.own_p50_us - outcome.raw.p50_us;
    check(own <= goal.own_p50_max_us, fmt::format("own p50 {:.1f} <= {:.0f} us", own, goal.own_p50_max_us));
  }
  if (wanted.empty()) return "";
  return fmt::format("{} ({})", reached ? "yes" : "NO", wanted);
}

nlohmann::json as_json(const Outcome& outcome) {
  nlohmann::json json{{"name", outcome.comparison->name},      {"ratio", outcome.ratio},
                      {"ratio_low", outcome.ratio_low},        {"ratio_high", outcome.ratio_high},
                      {"raw_per_second", outcome.raw.rate()},  {"raw_per_second_min", outcome.raw_min},
                      {"raw_per_second_max", outcome.raw_max}, {"per_second", outcome.engine.rate()},
                      {"mean_us", outcome.engine.mean_us},     {"p50_us", outcome.engine.p50_us},
                      {"p99_us", outcome.engine.p99_us},       {"p999_us", outcome.engine.p999_us},
                      {"cpu_us", outcome.engine.cpu_us()},     {"raw_cpu_us", outcome.raw.cpu_us()},
                      {"raw_p50_us", outcome.raw.p50_us},      {"errors", outcome.errors}};
  if (outcome.comparison->goal.own_p50_max_us > 0) json["own_p50_us"] = outcome.engine.own_p50_us;
  if (const std::string text = verdict(outcome); !text.empty()) json["reached"] = text;
  if (!outcome.first_error.empty()) json["first_error"] = outcome.first_error;
  return json;
}

Status report(const Program& program, const std::vector<Outcome>& outcomes) {
  if (program.options.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const Outcome& outcome : outcomes) rows.push_back(as_json(outcome));
    return Program::print_json({{"comparisons", std::move(rows)}, {"cpus", std::thread::hardware_concurrency()}});
  }
  std::vector<std::vector<std::string>> rows;
  for (const Outcome& outcome : outcomes) {
    rows.push_back({outcome.comparison->name, fmt::format("{:.0f}", outcome.engine.rate()),
                    fmt::format("{:.0f}-{:.0f}", outcome.raw_min, outcome.raw_max),
                    fmt::format("{:.3f}", outcome.ratio),
                    fmt::format("{:.3f}-{:.3f}", outcome.ratio_low, outcome.ratio_high),
                    fmt::format("{:.0f}", outcome.engine.p50_us), fmt::format("{:.0f}", outcome.engine.p99_us),
                    fmt::format("{:.1f}", outcome.engine.cpu_us()), verdict(outcome)});
    if (outcome.errors > 0)
      program.note(
          fmt::format("{}: {} errors, the first: {}", outcome.comparison->name, outcome.errors, outcome.first_error));
  }
  return Program::print(
      table({"COMPARISON", "OP/S", "RAW OP/S", "RATIO", "95 %", "P50 us", "P99 us", "CPU us", "REACHED"}, rows));
}

Result<ExitCode> run(const Program& program, const Options& options) {
  BuiltIn files;
  std::vector<Comparison> comparisons;
  if (options.key.empty()) {
    HSMUX_CHECK(files.prepare_softhsm(options.softhsm));
    HSMUX_TRY(comparisons, built_in(files, options));
    if (options.simhsm.empty()) program.note("without --simhsm PATH the comparisons on simulated HSMs are left out");
  } else {
    HSMUX_CHECK(program.read_configuration()); // its errors before a side has them
    HSMUX_CHECK(algorithm_named(options.algorithm));
    HSMUX_TRY(comparisons, configured(program, options));
  }
  if (comparisons.empty())
    return fail(ErrorKind::kInvalidArgument, "no comparison has '" + options.only + "' in its name");
  std::vector<Outcome> outcomes;
  for (const Comparison& comparison : comparisons) {
    program.note(fmt::format("{} of {}: {}", outcomes.size() + 1, comparisons.size(), comparison.name));
    HSMUX_TRY(Outcome outcome,
              comparison.goal.stall ? compare_stall(comparison, options) : compare(comparison, options));
    outcomes.push_back(std::move(outcome));
  }
  HSMUX_CHECK(report(program, outcomes));
  const bool clean = std::ranges::all_of(outcomes, [](const Outcome& outcome) { return outcome.errors == 0; });
  return clean ? ExitCode::kOk : ExitCode::kHsm;
}

} // namespace

void add_bench(CLI::App& app, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("bench", "Compare the engine with the module alone, in interleaved pairs of runs");
  command->add_option("--key", options->key, "key of the configured slots; without, the built-in comparisons");
  command->add_option("--algorithm", options->algorithm, "for --key")->capture_default_str();
  command->add_option("--callers", options->callers, "threads, for --key")->delimiter(',')->check(CLI::Range(1, 1024));
  command->add_option("--pairs", options->pairs, "pairs of runs for each ratio")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--milliseconds", options->milliseconds, "of each run")
      ->check(CLI::Range(10, 60'000))
      ->capture_default_str();
  command->add_option("--only", options->only, "built-in comparisons with this text in their name");
  command->add_option("--simhsm", options->simhsm, "path of libhsmux-simhsm.so, for comparisons on simulated HSMs")
      ->check(CLI::ExistingFile);
  command->add_option("--softhsm", options->softhsm, "path of libsofthsm2.so, where it is not found");
  command->footer("Both sides are processes of their own and run in turn, so that what disturbs the machine disturbs "
                  "both. RAW is a\n"
                  "loop of Init and operation with a session and a key handle per caller. RATIO is the median over the "
                  "pairs, with\n"
                  "its interval of 95 %. Run it on an idle machine.\n\n"
                  "Examples:\n"
                  "  hsmux bench\n"
                  "  hsmux bench --simhsm build/release/tests/simhsm/libhsmux-simhsm.so --json > bench.json\n"
                  "  hsmux bench --only 'gcm' --pairs 31\n"
                  "  hsmux -c hsmux.toml bench --key orders --callers 1,4,16");
  const auto fault_options = std::make_shared<FaultBenchOptions>();
  const CLI::App* faults = add_bench_faults(*command, fault_options);
  program.on(*command, [&program, options, faults, fault_options] {
    return faults->parsed() ? bench_faults(program, *fault_options) : run(program, *options);
  });

  CLI::App* side = app.add_subcommand("bench-side", "");
  side->group(""); // not for people: bench starts it
  program.on(*side, []() -> Result<ExitCode> { return serve_bench_side() == 0 ? ExitCode::kOk : ExitCode::kInternal; });
}

} // namespace hsmux
