#include "tools/capacity/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tools/file_io.h"

namespace hsmux::capacity {
namespace {

using std::chrono::milliseconds;

milliseconds ms_of(double seconds) { return milliseconds(static_cast<std::int64_t>(seconds * 1000)); }

std::unexpected<Error> interrupted_run() {
  return fail(ErrorKind::kClosed, "interrupted: what was measured so far is kept");
}

Json settings_json(const Options& options, const Goal& goal, const Mix& mix) {
  Json entries = Json::array();
  for (const MixEntry& entry : mix.entries) {
    entries.push_back({{"name", entry.name()},
                       {"weight", entry.weight},
                       {"bytes", entry.bytes},
                       {"keys", entry.keys},
                       {"named_key", !entry.key.empty()}});
  }
  Json settings{{"mix", mix.name},
                {"entries", std::move(entries)},
                {"mode", options.rate      ? "rate"
                         : options.callers ? "callers"
                                           : "search"},
                {"arrivals", options.arrivals},
                {"seconds", options.seconds},
                {"warm_up_seconds", options.warm_up_seconds},
                {"repeats", options.repeats},
                {"goal", goal.text()},
                {"sessions_max", options.sessions_max},
                {"sessions", options.sessions},
                {"seed", options.seed},
                {"in_flight_max", options.in_flight_max},
                {"logins_per_minute", options.logins_per_minute},
                {"opens_per_second", options.opens_per_second},
                {"drills", options.drills},
                {"drill_seconds", options.drill_seconds}};
  if (options.rate) settings["rate"] = *options.rate;
  if (options.callers) settings["callers"] = *options.callers;
  return settings;
}

Result<std::chrono::system_clock::time_point> start_time(const std::string& text) {
  if (text.empty()) return std::chrono::system_clock::time_point{};
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  const auto now = static_cast<double>(unix_ms_now()) / 1000;
  if (*end != '\0' || !std::isfinite(seconds) || seconds > now + 86'400 || seconds < now - 60) {
    return fail(
        ErrorKind::kInvalidArgument,
        fmt::format("--start-at {}: seconds since 1970, at most a day ahead, for instance $(($(date +%s)+30))", text));
  }
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
}

} // namespace

Run::Run(Program& program, Options options)
    : program_(program), options_(std::move(options)), pace_(options_.logins_per_minute, options_.opens_per_second) {}

Run::~Run() { close(); }

Status Run::check() {
  HSMUX_TRY(Mix mix, Mix::preset(options_.mix));
  if (!options_.work.empty()) {
    mix = {.name = "own", .entries = {}};
    if (options_.work.size() > kMixEntriesMax) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("--work: at most {} entries", kMixEntriesMax));
    }
    for (const std::string& text : options_.work) {
      HSMUX_TRY(mix.entries.emplace_back(), Mix::parse_entry(text));
    }
  }
  HSMUX_TRY(goal_, Goal::parse(options_.goal));
  HSMUX_CHECK(start_time(options_.start_at));
  if (options_.rate && (!(*options_.rate > 0) || *options_.rate > kRateMax)) {
    return fail(
        ErrorKind::kInvalidArgument,
        fmt::format("--rate {}: above 0 and at most {:.0f} a second from one process; for more, run several and "
                    "merge them (hsmux capacity merge)",
                    *options_.rate, kRateMax));
  }
  if (options_.rate && options_.callers) {
    return fail(ErrorKind::kInvalidArgument, "--rate is the open model and --callers the closed one: give one of them");
  }
  if (!std::ranges::is_sorted(options_.sessions)) {
    return fail(ErrorKind::kInvalidArgument, "--sessions: the steps go up, for instance 1,2,4,8");
  }
  if (!options_.drills.empty() && !options_.yes) {
    return fail(ErrorKind::kInvalidArgument,
                "a drill disturbs the slots for everybody who uses them: say --yes if that is wanted");
  }
  for (const std::string& path : {options_.out, options_.html, options_.histogram_log}) {
    if (path.empty()) continue;
    HSMUX_CHECK((Output{.path = path, .force = options_.force, .secret = false}.check()));
  }
  HSMUX_TRY(config_, program_.read_configuration());
  config_.submit.in_flight_max = options_.in_flight_max;
  HSMUX_CHECK(check_drills());
  std::vector<std::string> names, algorithms;
  for (const SlotConfig& slot : config_.slots) names.push_back(slot.name);
  for (const MixEntry& entry : mix.entries) {
    const std::string name(spec_of(entry.algorithm).name);
    if (!config_.algorithms.empty() && std::ranges::find(config_.algorithms, name) == config_.algorithms.end()) {
      return fail(ErrorKind::kInvalidConfig, fmt::format("the configuration's algorithms do not include {}", name));
    }
    if (std::ranges::find(algorithms, name) == algorithms.end()) algorithms.push_back(name);
  }
  config_.algorithms = algorithms;
  counter_ = std::make_shared<SlotCounter>(names);
  display_ = std::make_unique<LoadDisplay>(names);
  document_ = {{"format", kFormat},         {"version", kFormatVersion},
               {"hsmux", HSMUX_VERSION},    {"started_unix_ms", unix_ms_now()},
               {"interrupted", false},      {"settings", settings_json(options_, goal_, mix)},
               {"machine", machine_json()}, {"slots", Json::array()},
               {"rows", Json::array()},     {"raw", Json::array()},
               {"stages", Json::array()},   {"drills", Json::array()},
               {"answer", Json::array()},   {"warnings", Json::array()}};
  workload_ = std::make_unique<Workload>(std::move(mix), options_.prefix);
  return {};
}

std::size_t Run::slots_now() const { return only_slot_.empty() ? config_.slots.size() : 1; }

void Run::close() {
  serving_.reset();
  engine_.reset(); // ends all that was submitted
  load_.reset();
}

// `sessions` of each slot; 0 = as configured.
Status Run::open(std::uint32_t sessions, Fixed fixed, const std::string& slot) {
  if (Program::interrupted()) return interrupted_run();
  Config config = config_;
  if (!slot.empty()) {
    std::erase_if(config.slots, [&](const SlotConfig& each) { return each.name != slot; });
    config.keys.placement = {};
  }
  std::uint32_t opens = 0;
  for (SlotConfig& each : config.slots) {
    if (sessions > 0) each.sessions_min = each.sessions_max = sessions;
    each.concurrency_min = fixed == Fixed::kYes ? each.sessions_max : std::min(each.concurrency_min, each.sessions_max);
    each.concurrency_max =
        fixed == Fixed::kYes
            ? std::optional(each.sessions_max)
            : std::optional(std::min(each.concurrency_max.value_or(each.sessions_max), each.sessions_max));
    opens = std::max(opens, each.sessions_max);
  }
  close();
  const TimePoint at = pace_.take(MonotonicClock::now(), 1, opens + 1);
  while (MonotonicClock::now() < at) {
    if (Program::interrupted()) return interrupted_run();
    std::this_thread::sleep_until(std::min(at, MonotonicClock::now() + milliseconds(50)));
  }
  metrics_ = std::make_unique<MetricsService>();
  HSMUX_TRY(engine_, program_.open_engine(
                         config, {.events = [counter = counter_, metrics = metrics_->events()](const Event& event) {
                           counter->record(event);
                           metrics(event);
                         }}));
  HSMUX_CHECK(serve_metrics());
  load_ = std::make_unique<Load>(*engine_, *workload_, *counter_);
  sessions_ = sessions > 0 ? sessions : config.slots.front().sessions_max;
  only_slot_ = slot;
  if (sessions > 0) wait_for_sessions(sessions);
  return {};
}

// Sessions are opened one after the other; a token that has fewer says so by CKR_SESSION_COUNT, and the pool's limit
// goes down.
void Run::wait_for_sessions(std::uint32_t sessions) {
  constexpr std::chrono::seconds kOpenMax(30);
  const TimePoint until = MonotonicClock::now() + kOpenMax;
  std::uint32_t fewest = sessions;
  while (MonotonicClock::now() < until && !Program::interrupted()) {
    bool all = true;
    fewest = sessions;
    for (const SlotReport& report : engine_->slots()) {
      const SessionPoolStats& stats = report.stats.sessions;
      const std::uint32_t wanted = std::min(sessions, stats.target_max);
      all = all && stats.idle + stats.leased >= std::min(wanted, report.sessions_configured_max);
      fewest = std::min(fewest, stats.target_max);
    }
    if (all) break;
    std::this_thread::sleep_for(milliseconds(5));
  }
  limit_.sessions = fewest;
  limit_.sessions_wanted = sessions;
}

// Each engine's own: counters begin anew with it, as after a restart.
Status Run::serve_metrics() {
  if (options_.metrics.empty()) return {};
  MetricsConfig wanted = config_.metrics.value_or(MetricsConfig{});
  wanted.address = options_.metrics;
  HSMUX_TRY(serving_, metrics_->start(*engine_, wanted, program_.log_sink()));
  if (document_["stages"].empty()) program_.note("metrics at http://" + options_.metrics + "/");
  return {};
}

Status Run::prepare() {
  Json slots = Json::array();
  for (const SlotReport& report : engine_->slots()) {
    const auto slot = std::ranges::find(config_.slots, report.name, &SlotConfig::name);
    const auto module = std::ranges::find(config_.modules, slot->module, &ModuleConfig::name);
    slots.push_back(slot_json(report, *module));
  }
  document_["slots"] = std::move(slots);
  const bool software = config_.keys.development_software_keys && config_.slots.size() > 1;
  HSMUX_CHECK(workload_->prepare(
      *engine_, {.software_keys = software, .check = !options_.unchecked, .options = program_.request_options()}));
  std::map<std::string, Histogram> generated;
  for (const auto& [algorithm, ns] : workload_->key_times().generated) generated[algorithm].record(ns);
  for (const auto& [algorithm, histogram] : generated) {
    document_["rows"].push_back(row_json("key generation, " + algorithm, histogram));
  }
  return {};
}

LoadPlan Run::plan(const std::string& name) const {
  LoadPlan plan{.name = name,
                .arrivals = options_.arrivals == "constant" ? ArrivalKind::kConstant : ArrivalKind::kPoisson,
                .warm_up = ms_of(options_.warm_up_seconds),
                .time = ms_of(options_.seconds)};
  if (program_.options.timeout_ms) plan.timeout = milliseconds(*program_.options.timeout_ms);
  return plan;
}

LoadPlan Run::open_plan(const std::string& name, double rate) const {
  LoadPlan result = plan(name);
  result.model = LoadModel::kOpen;
  result.rate = rate;
  return result;
}

LoadPlan Run::closed_plan(const std::string& name, std::uint32_t callers) const {
  LoadPlan result = plan(name);
  result.model = LoadModel::kClosed;
  result.callers = callers;
  return result;
}

// Enough that every session has a request, and another one waits.
std::uint32_t Run::saturating_callers(std::uint32_t sessions) const {
  return std::min<std::uint32_t>(2 * sessions * static_cast<std::uint32_t>(slots_now()), options_.in_flight_max);
}

Result<LoadResult> Run::stage(const LoadPlan& asked, const std::function<bool()>& over) {
  if (Program::interrupted()) return interrupted_run();
  LoadPlan plan = asked;
  plan.seed = options_.seed + stage_number_++;
  LoadResult result = load_->run(plan, [this](const LoadProgress& progress) { display_->show(progress); }, over);
  display_->clear();
  Json json = stage_json(result, counter_->names(), sessions_);
  if (!only_slot_.empty()) json["only_slot"] = only_slot_;
  document_["stages"].push_back(std::move(json));
  if (result.interrupted) return interrupted_run();
  if (result.generator_late) late_.push_back({plan.name, result.lag.percentile(99)});
  return result;
}

// What is about to happen, before it does.
Status Run::announce() {
  const double slots = static_cast<double>(config_.slots.size());
  const double each = options_.seconds + options_.warm_up_seconds;
  std::string text;
  if (options_.rate) {
    text =
        fmt::format("{:.0f} operations in {:.0f} s", *options_.rate * each * options_.repeats, each * options_.repeats);
  } else {
    // One operation alone says how many there can be at most.
    Histogram alone;
    for (int i = 0; i < 20 && !Program::interrupted(); ++i) {
      const TimePoint start = MonotonicClock::now();
      auto promise = std::make_shared<std::promise<Status>>();
      auto future = promise->get_future();
      HSMUX_CHECK(workload_->submit(*engine_, 0, program_.request_options(), [promise](Result<Bytes> result) {
        promise->set_value(result ? Status{} : fail(std::move(result).error()));
      }));
      HSMUX_CHECK(future.get());
      alone.record((MonotonicClock::now() - start).count());
    }
    if (Program::interrupted()) return interrupted_run();
    const double one_s = static_cast<double>(std::max<std::int64_t>(alone.percentile(50), 1)) / 1e9;
    const std::uint32_t sessions = options_.sessions.empty() ? options_.sessions_max : options_.sessions.back();
    double seconds = each * options_.repeats;
    if (!options_.callers) {
      const double steps = options_.sessions.empty() ? std::log2(options_.sessions_max) + 2
                                                     : static_cast<double>(options_.sessions.size());
      seconds = each * (0.5 * steps + 2 + (slots > 1 ? slots : 0) + 12 + 2.0 * options_.repeats) +
                60.0 / options_.logins_per_minute * (steps + slots + 2);
    }
    const double most = options_.callers ? *options_.callers : sessions * slots;
    text = fmt::format("{:.0f} to {:.0f} operations in about {:.0f} s (one alone takes {})", seconds / one_s,
                       seconds / one_s * most, seconds, time_text(one_s * 1e9));
  }
  program_.note(fmt::format("{}: {} on {} slots; {} keys of its own, named {}-..., removed at the end{}",
                            workload_->mix().name, text, config_.slots.size(), workload_->keys_made(), options_.prefix,
                            options_.callers || options_.rate
                                ? ""
                                : fmt::format("; at most {} logins a minute per token and {} sessions a second",
                                              options_.logins_per_minute, options_.opens_per_second)));
  return {};
}

Status Run::measure() {
  const std::uint32_t first = !options_.sessions.empty()          ? options_.sessions.front()
                              : options_.rate || options_.callers ? 0
                                                                  : std::min(options_.sessions_max, 2U);
  HSMUX_CHECK(open(first, Fixed::kNo));
  HSMUX_CHECK(prepare());
  HSMUX_CHECK(announce());
  Status status = options_.rate || options_.callers ? measure_given() : measure_search();
  if (status && !options_.drills.empty()) status = measure_drills();
  warn_of_late();
  for (const auto& [name, histogram] :
       {std::pair("login", counter_->logins()), std::pair("session opening", counter_->opened())}) {
    if (histogram.count() > 0) document_["rows"].push_back(row_json(name, histogram));
  }
  return status;
}

void Run::warn_of_late() {
  if (late_.empty()) return;
  std::string text =
      fmt::format("{} of {} measurements: this host sent requests late", late_.size(), document_["stages"].size());
  const auto worst = std::ranges::max_element(late_, {}, &Late::p99_ns);
  document_["warnings"].push_back(fmt::format(
      "{} (at worst {}: 99 % within {}), so that their latencies are partly its own. A lower rate, an idle host, more "
      "CPU, or several hosts (hsmux capacity merge) help.",
      text, worst->name, time_text(static_cast<double>(worst->p99_ns))));
}

Status Run::measure_given() {
  LoadPlan plan = options_.rate ? open_plan(fmt::format("rate {:.0f}", *options_.rate), *options_.rate)
                                : closed_plan(fmt::format("{} callers", *options_.callers), *options_.callers);
  HSMUX_TRY(plan.at, start_time(options_.start_at));
  std::vector<double> rates;
  Histogram latency;
  std::uint64_t errors = 0, not_started = 0;
  std::string broken;
  for (std::uint32_t i = 0; i < options_.repeats; ++i) {
    HSMUX_TRY(const LoadResult result, stage(plan));
    plan.at = {};
    rates.push_back(result.rate());
    latency.add(result.latency);
    errors += result.errors;
    not_started += result.not_started;
    const std::string why = broken_goal(goal_, {.latency = &result.latency,
                                                .intended = result.intended,
                                                .completed = result.completed,
                                                .errors = result.errors,
                                                .not_started = result.not_started,
                                                .overloaded = result.overloaded});
    if (broken.empty()) broken = why;
  }
  const Estimate estimate = estimate_of(rates);
  document_["throughput"] = estimate_json(estimate);
  std::string text =
      fmt::format("{:.0f} operations a second ({:.0f} to {:.0f})", estimate.mean, estimate.low, estimate.high);
  text += fmt::format(", p50 {}, p99 {}, p99.9 {}, {} errors, {} not started",
                      time_text(static_cast<double>(latency.percentile(50))),
                      time_text(static_cast<double>(latency.percentile(99))),
                      time_text(static_cast<double>(latency.percentile(99.9))), errors, not_started);
  if (options_.callers) text += "; latencies are service time";
  document_["answer"].push_back(text + ".");
  if (options_.rate) {
    capacity_ = *options_.rate;
    document_["answer"].push_back(broken.empty() ? fmt::format("The goal ({}) is kept.", goal_.text())
                                                 : fmt::format("The goal ({}) is not kept: {}.", goal_.text(), broken));
  } else {
    capacity_ = estimate.mean;
  }
  return {};
}

Status Run::clean_up() {
  if (workload_ == nullptr || workload_->keys_made() == 0) return {};
  if (engine_ == nullptr) { // interrupted between two engines
    Config config = config_;
    HSMUX_TRY(engine_, Engine::open(config, {.events = {},
                                             .log = {},
                                             .set_module_environment = true,
                                             .slots_at_start_min = 0,
                                             .connect_timeout = std::chrono::seconds(30)}));
  }
  Status removed = workload_->remove_keys(*engine_);
  if (!removed) {
    removed.error().message +=
        fmt::format("; keys named {0}-... are left: hsmux capacity clean --prefix {0} --yes", options_.prefix);
  }
  document_["ended_unix_ms"] = unix_ms_now();
  document_["interrupted"] = Program::interrupted();
  return removed;
}

} // namespace hsmux::capacity
