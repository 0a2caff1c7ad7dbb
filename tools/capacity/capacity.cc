// hsmux capacity: what the HSMs can do, and what happens when one is pulled.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "tools/capacity/compare.h"
#include "tools/capacity/merge.h"
#include "tools/capacity/report.h"
#include "tools/capacity/run.h"
#include "tools/command.h"
#include "tools/file_io.h"

namespace hsmux {
namespace {

using capacity::Json;

std::string dump_document(const Json& document) {
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; // tokens need not speak UTF-8
}

Output output_at(const std::string& path, bool force) { return {.path = path, .force = force, .secret = false}; }

// What was measured is worth more than the place that was meant for it.
Status save(const Program& program, const std::string& path, bool force, const std::string& text) {
  if (path.empty()) return {};
  Status written = output_at(path, force).write(bytes_of(text));
  if (written) return {};
  const char* folder = std::getenv("TMPDIR");
  const std::string other = fmt::format("{}/hsmux-capacity-{}-{}.json", folder == nullptr ? "/tmp" : folder,
                                        capacity::unix_ms_now(), getpid());
  if (write_new_file(other, bytes_of(text), 0600)) {
    program.note(fmt::format("{} could not be written; what was measured is in {}", path, other));
  } else {
    program.note(fmt::format("{} could not be written; what was measured follows on standard output", path));
    HSMUX_CHECK(Program::print(text));
  }
  return written;
}

Result<ExitCode> run_capacity(Program& program, const capacity::Options& options) {
  capacity::Run run(program, options);
  HSMUX_CHECK(run.check());
  program.hush(LogLevel::kError); // software keys of a development set-up; slots that a drill pulls
  Status measured = run.measure();
  const Status cleaned = run.clean_up();
  const Json& document = run.document();
  const bool any = !document.at("stages").empty();
  if (any) {
    const std::string text = dump_document(document);
    const Status saved = save(program, options.out, options.force, text);
    if (program.options.json) {
      if (options.out.empty())
        HSMUX_CHECK(Program::print(document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"));
    } else {
      HSMUX_CHECK(Program::print(capacity::text_report(document)));
    }
    HSMUX_CHECK(saved);
    if (!options.histogram_log.empty()) {
      HSMUX_CHECK(output_at(options.histogram_log, options.force).write(bytes_of(capacity::histogram_log(document))));
    }
    if (!options.html.empty()) {
      HSMUX_CHECK(output_at(options.html, options.force).write(bytes_of(capacity::html_report(document))));
    }
  }
  if (!measured && !cleaned) program.report(cleaned.error());
  HSMUX_CHECK(measured);
  HSMUX_CHECK(cleaned);
  return ExitCode::kOk;
}

void add_run(CLI::App& app, Program& program) {
  auto options = std::make_shared<capacity::Options>();
  CLI::App* command = app.add_subcommand("run", "Measure: search the capacity, or one rate, or so many callers");
  command->add_option("--mix", options->mix, "What is asked: sequencer, participant or all (default sequencer)")
      ->type_name("NAME");
  command
      ->add_option("--work", options->work,
                   "In place of --mix, may be repeated: ALGORITHM[:OPERATION][,weight=W][,bytes=N][,keys=N][,key=NAME]")
      ->type_name("WORK");
  command->add_option("--rate", options->rate, "Open model: so many a second, latency from the intended start")
      ->type_name("N");
  command->add_option("--callers", options->callers, "Closed model: so many callers, service time")
      ->check(CLI::Range(1U, 100'000U))
      ->type_name("N");
  command->add_option("--arrivals", options->arrivals, "poisson (default) or constant")
      ->check(CLI::IsMember({"poisson", "constant"}));
  command->add_option("--seconds", options->seconds, "Of each measurement (default 3)")
      ->check(CLI::Range(0.1, 86'400.));
  command->add_option("--warm-up", options->warm_up_seconds, "Seconds before each that do not count (default 1)")
      ->check(CLI::Range(0.0, 3600.));
  command->add_option("--repeats", options->repeats, "Repetitions that the interval of confidence rests on (default 5)")
      ->check(CLI::Range(1U, 1000U));
  command->add_option("--goal", options->goal, "What callers are promised (default p99<=10ms; no errors)")
      ->type_name("GOAL");
  command
      ->add_option("--sessions", options->sessions,
                   "Sessions per slot: the steps of a search, or the number for --rate and --callers")
      ->delimiter(',')
      ->check(CLI::Range(1U, 4096U))
      ->type_name("N,...");
  command->add_option("--sessions-max", options->sessions_max, "A search doubles up to so many (default 64)")
      ->check(CLI::Range(1U, 4096U));
  command->add_option("--start-at", options->start_at, "Seconds since 1970: several hosts start together")
      ->type_name("TIME");
  command->add_option("--seed", options->seed, "Of the arrivals (default 1)");
  command->add_flag("--unchecked", options->unchecked,
                    "Do not check the first result of each key: simhsm may give canned answers");
  command->add_option("--in-flight-max", options->in_flight_max, "Requests under way; more are not started")
      ->check(CLI::Range(1U, 1'000'000U));
  command->add_option("--prefix", options->prefix, "Its own keys are named PREFIX-... (default hsmux-capacity)")
      ->type_name("PREFIX");
  command->add_option("--logins-per-minute", options->logins_per_minute, "Of a token, at most (default 30)")
      ->check(CLI::Range(1U, 6000U));
  command->add_option("--opens-per-second", options->opens_per_second, "Sessions of a slot, at most (default 100)")
      ->check(CLI::Range(1U, 100'000U));
  command
      ->add_option("--drill", options->drills,
                   "After the measurement, may be repeated: pull=SLOT, kill-sessions=SLOT, slow=SLOT (with --yes)")
      ->type_name("DRILL");
  command->add_option("--drill-seconds", options->drill_seconds, "How long its fault lasts (default 5)")
      ->check(CLI::Range(0.1, 3600.));
  command
      ->add_option("--drill-script", options->drill_script,
                   "PROGRAM that makes and ends the fault: PROGRAM begin|end pull|kill-sessions|slow SLOT;\n"
                   "without, the operator is asked")
      ->type_name("PROGRAM");
  command->add_option("--sim-socket", options->sim_socket, "The same for simhsm: the `control` of its settings")
      ->type_name("PATH");
  command->add_flag("--yes", options->yes, "For what disturbs others: drills");
  command->add_option("--out", options->out, "Write the result, as JSON")->type_name("FILE");
  command->add_option("--html", options->html, "Write a report with plots that opens without a network")
      ->type_name("FILE");
  command->add_option("--histogram-log", options->histogram_log, "Write the latencies as HdrHistogram's log")
      ->type_name("FILE");
  command->add_flag("--force", options->force, "Files that exist are replaced");
  command->add_option("--metrics", options->metrics, "Serve Prometheus metrics meanwhile, such as 127.0.0.1:9467")
      ->type_name("ADDRESS");
  command->footer("Examples:\n"
                  "  hsmux capacity run --out hsm.json\n"
                  "  hsmux capacity run --mix participant --goal 'p99<=5ms,p99.9<=20ms' --seconds 10 --out hsm.json\n"
                  "  hsmux capacity run --rate 2000 --seconds 600 --repeats 1 --out soak.json\n"
                  "  hsmux capacity run --callers 32\n"
                  "  hsmux capacity run --rate 1500 --drill pull=hsm-b --yes      (asks to pull and to put back)\n"
                  "  hsmux capacity run --work ecdsa-p384-sha384,weight=3 --work rsa-oaep-sha256,keys=4 --rate 500\n"
                  "Ctrl-C ends the measurement, keeps what was measured, and removes the keys that were made.\n"
                  "docs/capacity.md is the guide. Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return run_capacity(program, *options); });
}

struct FileOptions {
  std::vector<std::string> in;
  std::string out, html, histogram_log;
  bool force = false, fail_if_worse = false;
};

Result<std::vector<Json>> read_results(const std::vector<std::string>& paths) {
  std::vector<Json> documents;
  for (const std::string& path : paths) {
    HSMUX_TRY(documents.emplace_back(), capacity::read_result(path));
  }
  return documents;
}

Status write_all(const Json& document, const FileOptions& options) {
  for (const auto& [path, text] :
       {std::pair(options.out, &dump_document), std::pair(options.html, &capacity::html_report),
        std::pair(options.histogram_log, &capacity::histogram_log)}) {
    if (!path.empty()) HSMUX_CHECK(output_at(path, options.force).write(bytes_of(text(document))));
  }
  return {};
}

Result<ExitCode> compare(const Program& program, const FileOptions& options) {
  HSMUX_TRY(const std::vector<Json> documents, read_results(options.in));
  const capacity::ComparedResults results = capacity::compare_results(documents.at(0), documents.at(1));
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json(capacity::compared_json(results)));
  } else {
    HSMUX_CHECK(Program::print(capacity::compared_text(results)));
  }
  return options.fail_if_worse && results.any_worse() ? ExitCode::kNo : ExitCode::kOk;
}

Result<ExitCode> show(const Program& program, const Json& document, const FileOptions& options) {
  HSMUX_CHECK(write_all(document, options));
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json(document));
  } else {
    HSMUX_CHECK(Program::print(capacity::text_report(document)));
  }
  return ExitCode::kOk;
}

Result<ExitCode> merge(const Program& program, const FileOptions& options) {
  HSMUX_TRY(const std::vector<Json> documents, read_results(options.in));
  HSMUX_TRY(const Json merged, capacity::merge_results(documents));
  return show(program, merged, options);
}

Result<ExitCode> report(const Program& program, const FileOptions& options) {
  HSMUX_TRY(const std::vector<Json> documents, read_results(options.in));
  return show(program, documents.front(), options);
}

// Keys that a run left behind because it was killed.
Result<ExitCode> clean(Program& program, const std::string& prefix, bool yes) {
  if (prefix.empty()) return fail(ErrorKind::kInvalidArgument, "--prefix: at least one character");
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine({.events = {}, .only = kCheapestProbe}));
  HSMUX_TRY(const std::vector<KeyInfo> keys, engine->list_keys());
  std::size_t found = 0;
  for (const KeyInfo& key : keys) {
    if (!key.label.starts_with(prefix + "-")) continue;
    ++found;
    program.note(fmt::format("{} {} (id {})", yes ? "deleting" : "would delete", key.label, key.id));
    if (yes) HSMUX_CHECK(engine->delete_key("id:" + key.id, program.request_options()));
  }
  program.note(fmt::format("{} keys named {}-...{}", found, prefix,
                           found == 0 || yes ? "" : "; --yes deletes them, from all slots, for good"));
  return ExitCode::kOk;
}

void add_file_outputs(CLI::App& command, const std::shared_ptr<FileOptions>& options) {
  command.add_option("--out", options->out, "Write the result, as JSON")->type_name("FILE");
  command.add_option("--html", options->html, "Write a report with plots that opens without a network")
      ->type_name("FILE");
  command.add_option("--histogram-log", options->histogram_log, "Write the latencies as HdrHistogram's log")
      ->type_name("FILE");
  command.add_flag("--force", options->force, "Files that exist are replaced");
}

void add_files(CLI::App& app, Program& program) {
  auto options = std::make_shared<FileOptions>();
  CLI::App* command = app.add_subcommand("compare", "What changed between two results, and whether chance explains it");
  command->add_option("RESULTS", options->in, "Two files: before and after")->required()->expected(2);
  command->add_flag("--fail-if-worse", options->fail_if_worse, "Exit with 1 if anything is significantly worse");
  command->footer("Examples:\n  hsmux capacity compare before.json after.json\n"
                  "  hsmux capacity compare before.json after.json --fail-if-worse --json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return compare(program, *options); });

  options = std::make_shared<FileOptions>();
  command = app.add_subcommand("merge", "Results of several load hosts, run together, as one");
  command->add_option("RESULTS", options->in, "Files of runs with --rate or --callers")->required()->expected(2, 1000);
  add_file_outputs(*command, options);
  command->footer("Examples:\n  hsmux capacity merge host-*.json --out all.json --html all.html\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return merge(program, *options); });

  options = std::make_shared<FileOptions>();
  command = app.add_subcommand("report", "Show a result again, or write its report");
  command->add_option("RESULT", options->in, "Its file")->required()->expected(1);
  add_file_outputs(*command, options);
  command->footer("Examples:\n  hsmux capacity report hsm.json --html hsm.html\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return report(program, *options); });

  auto prefix = std::make_shared<std::string>("hsmux-capacity");
  auto yes = std::make_shared<bool>(false);
  command = app.add_subcommand("clean", "Show, or with --yes delete, keys that a killed run left behind");
  command->add_option("--prefix", *prefix, "Of their names (default hsmux-capacity)")->type_name("PREFIX");
  command->add_flag("--yes", *yes, "Delete them");
  command->footer("Examples:\n  hsmux capacity clean\n  hsmux capacity clean --yes\nGlobal options: see hsmux --help.");
  program.on(*command, [&program, prefix, yes] { return clean(program, *prefix, *yes); });
}

} // namespace

void add_capacity(CLI::App& app, Program& program) {
  CLI::App* command = app.add_subcommand("capacity", "What the HSMs can do: rate, latency, sessions, drills");
  command->require_subcommand(1);
  command->footer("Examples:\n  hsmux capacity run --out hsm.json --html hsm.html\n"
                  "  hsmux capacity compare before.json after.json\n  hsmux capacity run --help\n"
                  "Global options: see hsmux --help.");
  add_run(*command, program);
  add_files(*command, program);
}

} // namespace hsmux
