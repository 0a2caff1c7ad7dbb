#include "tools/capacity/result.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

#include "tools/capacity/goal.h"
#include "tools/file_io.h"
#include "tools/terminal.h"

namespace hsmux::capacity {
namespace {

constexpr std::size_t kResultBytesMax = 256UL << 20;

double in_us(double ns) { return ns / 1000; }
double in_us(std::int64_t ns) { return static_cast<double>(ns) / 1000; }

std::string model_name(LoadModel model) { return model == LoadModel::kOpen ? "open" : "closed"; }

Json intervals_json(const std::vector<Interval>& intervals) {
  Json all = Json::array();
  for (const Interval& each : intervals) {
    all.push_back({{"at_s", each.at_s},
                   {"seconds", each.seconds},
                   {"completed", each.completed},
                   {"errors", each.errors},
                   {"p50_us", in_us(each.p50_ns)},
                   {"p99_us", in_us(each.p99_ns)},
                   {"max_us", in_us(each.max_ns)},
                   {"slots", each.slots}});
  }
  return all;
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  }
  return "unknown";
}

std::string us_text(const Json& latency, const char* key) { return time_text(latency.at(key).get<double>() * 1000); }

} // namespace

std::int64_t unix_ms_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string utc_text(std::int64_t unix_ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_ms / 1000)));
}

Json latency_json(const Histogram& histogram) {
  return {{"count", histogram.count()},
          {"mean_us", in_us(histogram.mean())},
          {"min_us", in_us(histogram.min())},
          {"p50_us", in_us(histogram.percentile(50))},
          {"p90_us", in_us(histogram.percentile(90))},
          {"p99_us", in_us(histogram.percentile(99))},
          {"p999_us", in_us(histogram.percentile(99.9))},
          {"max_us", in_us(histogram.max())},
          {"histogram", histogram.encode()}};
}

Json stage_json(const LoadResult& result, const std::vector<std::string>& slots, std::uint32_t sessions) {
  Json entries = Json::array(), shares = Json::object();
  for (const EntryResult& entry : result.entries) {
    entries.push_back({{"name", entry.name},
                       {"completed", entry.completed},
                       {"errors", entry.errors},
                       {"latency", latency_json(entry.latency)}});
  }
  for (std::size_t i = 0; i < slots.size() && i < result.slots.size(); ++i) shares[slots[i]] = result.slots[i];
  const bool open = result.plan.model == LoadModel::kOpen;
  Json stage{{"name", result.plan.name},
             {"model", model_name(result.plan.model)},
             {"latency_from", open ? "intended start" : "own start (service time)"},
             {"sessions_per_slot", sessions},
             {"started_unix_ms", result.started_unix_ms},
             {"warm_up_s", std::chrono::duration<double>(result.plan.warm_up).count()},
             {"planned_s", std::chrono::duration<double>(result.plan.time).count()},
             {"seconds", result.seconds},
             {"seed", result.plan.seed},
             {"timeout_ms", result.plan.timeout.count()},
             {"intended", result.intended},
             {"completed", result.completed},
             {"errors", result.errors},
             {"not_started", result.not_started},
             {"ended_in_time", result.ended_in_time},
             {"rate", result.rate()},
             {"error_kinds", result.error_kinds},
             {"first_error", result.first_error},
             {"retries", result.retries},
             {"latency", latency_json(result.latency)},
             {"entries", std::move(entries)},
             {"slots", std::move(shares)},
             {"slot_order", slots},
             {"intervals", intervals_json(result.intervals)},
             {"cpu", {{"process_share", result.process_cpu_share}, {"host_share", result.host_cpu_share}}},
             {"overloaded", result.overloaded},
             {"interrupted", result.interrupted},
             {"generator_late", result.generator_late}};
  if (open) {
    stage["rate_intended"] = result.plan.rate;
    stage["arrivals"] = result.plan.arrivals == ArrivalKind::kPoisson ? "poisson" : "constant";
    stage["generator_lag"] = latency_json(result.lag);
  } else {
    stage["callers"] = result.plan.callers;
  }
  return stage;
}

Json raw_json(const std::string& name, const std::string& slot, std::uint32_t threads, const RawResult& result) {
  return {{"name", name},
          {"slot", slot},
          {"threads", threads},
          {"seconds", result.seconds},
          {"completed", result.operations},
          {"errors", result.errors},
          {"first_error", result.first_error},
          {"rate", result.rate()},
          {"latency", latency_json(result.latency)}};
}

Json row_json(const std::string& name, const Histogram& histogram) {
  return {{"name", name}, {"latency", latency_json(histogram)}};
}

Json machine_json() {
  utsname names{};
  uname(&names);
  struct sysinfo info{};
  sysinfo(&info);
  return {{"host", names.nodename},
          {"kernel", fmt::format("{} {} {}", names.sysname, names.release, names.machine)},
          {"cpu", cpu_model()},
          {"cores", std::max(std::thread::hardware_concurrency(), 1U)},
          {"memory_bytes", static_cast<std::uint64_t>(info.totalram) * info.mem_unit}};
}

Json slot_json(const SlotReport& report, const ModuleConfig& module) {
  return {{"name", report.name},
          {"module", {{"path", module.path}, {"description", report.module_description}, {"quirks", report.quirks}}},
          {"token",
           {{"label", report.token.label},
            {"manufacturer", report.token.manufacturer},
            {"model", report.token.model},
            {"serial", report.token.serial},
            {"firmware", report.token.firmware},
            {"sessions_max", report.token.sessions_max}}},
          {"weight", report.weight}};
}

Json stability_json(const StabilityVerdict& verdict) {
  return {{"verdict", stability_name(verdict.stability)},
          {"change_share", verdict.change_share},
          {"spread_share", verdict.spread_share}};
}

Json estimate_json(const Estimate& estimate) {
  return {{"mean", estimate.mean},
          {"low", estimate.low},
          {"high", estimate.high},
          {"n", estimate.n},
          {"confidence", estimate.n > 1 ? 0.95 : 0.0}};
}

Result<Json> read_result(const std::string& path) {
  HSMUX_TRY(const SecureBytes bytes, read_input(path, kResultBytesMax));
  Json document = Json::parse(bytes.view().begin(), bytes.view().end(), nullptr, false);
  if (document.is_discarded() || !document.is_object() || document.value("format", "") != kFormat) {
    return fail(ErrorKind::kInvalidArgument, path + " is not a result of hsmux capacity (its JSON)");
  }
  if (document.value("version", 0) != kFormatVersion) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("{} has version {} of the form; this program reads {}", path,
                                                         document.at("version").dump(), kFormatVersion));
  }
  return document;
}

std::string text_report(const Json& document) {
  std::string text;
  std::vector<std::vector<std::string>> lines;
  for (const Json& stage : document.at("stages")) {
    const Json& latency = stage.at("latency");
    const bool open = stage.at("model") == "open";
    lines.push_back({stage.at("name"),
                     open ? fmt::format("{:.0f}/s", stage.at("rate_intended").get<double>())
                          : fmt::format("{} callers", stage.at("callers").get<std::uint32_t>()),
                     fmt::format("{}", stage.at("sessions_per_slot").get<std::uint32_t>()),
                     fmt::format("{:.0f}", stage.at("rate").get<double>()), us_text(latency, "p50_us"),
                     us_text(latency, "p99_us"), us_text(latency, "p999_us"), us_text(latency, "max_us"),
                     fmt::format("{}", stage.at("errors").get<std::uint64_t>()),
                     fmt::format("{}", stage.at("not_started").get<std::uint64_t>())});
  }
  if (!lines.empty()) {
    text += table({"STAGE", "ASKED", "SESSIONS", "OP/S", "P50", "P99", "P99.9", "MAX", "ERRORS", "NOT STARTED"}, lines);
    text += "Closed stages (callers) show service time: each caller waits for its last request.\n";
  }
  lines.clear();
  for (const Json& raw : document.at("raw")) {
    const Json& latency = raw.at("latency");
    lines.push_back({raw.at("name"), raw.at("slot"), fmt::format("{}", raw.at("threads").get<std::uint32_t>()),
                     fmt::format("{:.0f}", raw.at("rate").get<double>()), us_text(latency, "p50_us"),
                     us_text(latency, "p99_us")});
  }
  if (!lines.empty()) text += "\n" + table({"MODULE ALONE", "SLOT", "THREADS", "OP/S", "P50", "P99"}, lines);
  lines.clear();
  for (const Json& row : document.at("rows")) {
    const Json& latency = row.at("latency");
    lines.push_back({row.at("name"), fmt::format("{}", latency.at("count").get<std::uint64_t>()),
                     us_text(latency, "p50_us"), us_text(latency, "p99_us"), us_text(latency, "max_us")});
  }
  if (!lines.empty()) text += "\n" + table({"APART", "COUNT", "P50", "P99", "MAX"}, lines);
  if (!document.at("answer").empty()) text += "\n";
  for (const Json& sentence : document.at("answer")) text += sentence.get<std::string>() + "\n";
  for (const Json& warning : document.at("warnings")) text += "Warning: " + warning.get<std::string>() + "\n";
  return text;
}

std::string histogram_log(const Json& document) {
  const auto start_ms = document.at("started_unix_ms").get<std::int64_t>();
  std::string text =
      fmt::format("#[Logged by hsmux {}; times in seconds, latencies in nanoseconds]\n"
                  "#[Histogram log format version 1.3]\n#[StartTime: {:.3f} (seconds since epoch), {}]\n"
                  "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
                  document.at("hsmux").get<std::string>(), static_cast<double>(start_ms) / 1000, utc_text(start_ms));
  std::size_t number = 0;
  for (const Json& stage : document.at("stages")) {
    ++number;
    for (const Json& entry : stage.at("entries")) {
      const Json& latency = entry.at("latency");
      std::string tag =
          fmt::format("{}-{}-{}", number, stage.at("name").get<std::string>(), entry.at("name").get<std::string>());
      for (char& each : tag) each = each == ' ' || each == ',' ? '-' : each;
      const double at = static_cast<double>(stage.at("started_unix_ms").get<std::int64_t>() - start_ms) / 1000 +
                        stage.at("warm_up_s").get<double>();
      text += fmt::format("Tag={},{:.3f},{:.3f},{:.3f},{}\n", tag, at, stage.at("seconds").get<double>(),
                          latency.at("max_us").get<double>() / 1000, latency.at("histogram").get<std::string>());
    }
  }
  return text;
}

} // namespace hsmux::capacity
