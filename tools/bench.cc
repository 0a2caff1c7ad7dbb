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

#include "tools/bench_rows.h"
#include "tools/bench_side.h"
#include "tools/command.h"
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
};

struct Outcome {
  const Comparison* comparison = nullptr;
  double ratio = 0, ratio_low = 0, ratio_high = 0; // median of the pairs, and its interval of 95 %
  double raw_median = 0, raw_min = 0, raw_max = 0; // operations a second
  BenchRun engine;                                 // medians
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

Result<Outcome> compare(const Comparison& comparison, const Options& options) {
  HSMUX_TRY(const auto raw, BenchSide::start(comparison.raw));
  HSMUX_TRY(const auto engine, BenchSide::start(comparison.engine));
  // The engine finds its concurrency and copies its keys; both sides warm up.
  HSMUX_CHECK(engine->run(std::max(options.milliseconds * 4, 1000U)));
  HSMUX_CHECK(raw->run(options.milliseconds));

  Outcome outcome{.comparison = &comparison, .engine = {}, .first_error = {}};
  std::vector<double> ratios, raw_rates, rates, mean, p50, p99, p999, cpu;
  for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted");
    BenchRun by_raw, by_engine;
    for (const bool raw_now : {pair % 2 == 0, pair % 2 == 1}) {
      HSMUX_TRY((raw_now ? by_raw : by_engine), (raw_now ? *raw : *engine).run(options.milliseconds));
    }
    ratios.push_back(by_raw.rate() > 0 ? by_engine.rate() / by_raw.rate() : 0);
    raw_rates.push_back(by_raw.rate());
    rates.push_back(by_engine.rate());
    mean.push_back(by_engine.mean_us);
    p50.push_back(by_engine.p50_us);
    p99.push_back(by_engine.p99_us);
    p999.push_back(by_engine.p999_us);
    cpu.push_back(by_engine.cpu_us());
    outcome.errors += by_engine.errors + by_raw.errors;
    if (outcome.first_error.empty()) outcome.first_error = by_engine.first_error + by_raw.first_error;
  }
  outcome.ratio = median(ratios);
  std::ranges::sort(ratios);
  const std::size_t rank = interval_rank(ratios.size());
  outcome.ratio_low = ratios[rank - 1];
  outcome.ratio_high = ratios[ratios.size() - rank];
  outcome.raw_median = median(raw_rates);
  outcome.raw_min = *std::ranges::min_element(raw_rates);
  outcome.raw_max = *std::ranges::max_element(raw_rates);
  outcome.engine.seconds = 1;
  outcome.engine.operations = static_cast<std::uint64_t>(median(rates));
  outcome.engine.cpu_seconds = median(cpu) * median(rates) / 1e6;
  outcome.engine.mean_us = median(mean);
  outcome.engine.p50_us = median(p50);
  outcome.engine.p99_us = median(p99);
  outcome.engine.p999_us = median(p999);
  return outcome;
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
    HSMUX_CHECK(write(base + ".settings.toml", hsm_settings(hsm)));
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

Result<std::vector<Comparison>> built_in(const BuiltIn& files, const Options& options) {
  std::vector<Comparison> result;
  for (const BenchRow& row : bench_rows()) {
    if (row.module == BenchModule::kSimhsm && options.simhsm.empty()) continue;
    const std::string name = fmt::format("{}, {} callers", row.name, row.callers);
    if (name.find(options.only) == std::string::npos) continue;
    HSMUX_TRY(const std::string path,
              row.module == BenchModule::kSofthsm ? files.softhsm() : files.simhsm(row.hsm, options.simhsm));
    const BenchWork engine{.config_path = path,
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
    raw.sessions = 1; // the engine of that side only makes the key
    raw.locks = row.module == BenchModule::kSofthsm ? "os" : "";
    raw.copies = "off";
    result.push_back({name, engine, raw, row});
  }
  return result;
}

Result<std::vector<Comparison>> configured(const Program& program, const Options& options) {
  std::vector<Comparison> result;
  for (const std::uint32_t callers : options.callers) {
    BenchWork engine{.config_path = program.options.config_path,
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
        {fmt::format("{}, {} callers", options.algorithm, callers), std::move(engine), std::move(raw), {}});
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
  if (wanted.empty()) return "";
  return fmt::format("{} ({})", reached ? "yes" : "NO", wanted);
}

nlohmann::json as_json(const Outcome& outcome) {
  nlohmann::json json{{"name", outcome.comparison->name},      {"ratio", outcome.ratio},
                      {"ratio_low", outcome.ratio_low},        {"ratio_high", outcome.ratio_high},
                      {"raw_per_second", outcome.raw_median},  {"raw_per_second_min", outcome.raw_min},
                      {"raw_per_second_max", outcome.raw_max}, {"per_second", outcome.engine.rate()},
                      {"mean_us", outcome.engine.mean_us},     {"p50_us", outcome.engine.p50_us},
                      {"p99_us", outcome.engine.p99_us},       {"p999_us", outcome.engine.p999_us},
                      {"cpu_us", outcome.engine.cpu_us()},     {"errors", outcome.errors}};
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
    HSMUX_TRY(Outcome outcome, compare(comparison, options));
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
  program.on(*command, [&program, options] { return run(program, *options); });

  CLI::App* side = app.add_subcommand("bench-side", "");
  side->group(""); // not for people: bench starts it
  program.on(*side, []() -> Result<ExitCode> { return serve_bench_side() == 0 ? ExitCode::kOk : ExitCode::kInternal; });
}

} // namespace hsmux
