#include "tools/capacity/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "tools/terminal.h"

namespace hsmux::capacity {
namespace {

// Repetitions of what is the same in both: stages by their name, and for a search the saturated ones.
using SamplesByName = std::map<std::string, std::map<std::string, std::vector<double>>>;

SamplesByName samples_of(const Json& document) {
  SamplesByName samples;
  const bool search = document.at("settings").at("mode") == "search";
  for (const Json& stage : document.at("stages")) {
    if (stage.at("interrupted").get<bool>()) continue;
    const auto name = stage.at("name").get<std::string>();
    // A search tries rates that depend on what it found: only what has the same load in both is comparable.
    if (search && name != "saturated" && stage.at("model") == "open" && !name.starts_with("drill")) continue;
    const std::string key = stage.contains("only_slot") ? name + ", alone" : name;
    auto& figures = samples[key];
    const Json& latency = stage.at("latency");
    figures["rate"].push_back(stage.at("rate").get<double>());
    for (const char* each : {"p50_us", "p99_us", "p999_us"}) figures[each].push_back(latency.at(each).get<double>());
    const auto all =
        stage.at("completed").get<double>() + stage.at("errors").get<double>() + stage.at("not_started").get<double>();
    const double bad = stage.at("errors").get<double>() + stage.at("not_started").get<double>();
    figures["bad"].push_back(all > 0 ? bad / all * 1e6 : 0);
  }
  for (const Json& raw : document.at("raw")) {
    samples["module " + raw.at("name").get<std::string>()]["rate"].push_back(raw.at("rate").get<double>());
  }
  if (document.contains("goal")) samples["goal"]["rate"].push_back(document.at("goal").at("rate").get<double>());
  if (document.contains("sessions")) {
    samples["knee"]["sessions"].push_back(document.at("sessions").at("knee").get<double>());
  }
  return samples;
}

struct FigureKind {
  std::string_view key, text, unit;
  bool more_is_better;
};
constexpr std::array kFigureKinds{
    FigureKind{"rate", "operations", "/s", true}, FigureKind{"sessions", "sessions", "", true},
    FigureKind{"p50_us", "p50", "us", false},     FigureKind{"p99_us", "p99", "us", false},
    FigureKind{"p999_us", "p99.9", "us", false},  FigureKind{"bad", "errors and not started", "ppm", false}};

void differ(const Json& before, const Json& after, const std::string& path, std::vector<std::string>& differences) {
  if (before == after) return;
  if (before.is_object() && after.is_object()) {
    for (const auto& [key, value] : before.items()) {
      differ(value, after.value(key, Json()), path.empty() ? key : path + "." + key, differences);
    }
    for (const auto& [key, value] : after.items()) {
      if (!before.contains(key)) differ(Json(), value, path.empty() ? key : path + "." + key, differences);
    }
    return;
  }
  differences.push_back(fmt::format("{}: {} -> {}", path, before.dump(), after.dump()));
}

std::string verdict_of(const ComparedFigure& figure) {
  if (!figure.comparison.known) return "measured once: not known";
  if (!figure.comparison.significant) return "no difference";
  return figure.worse() ? "WORSE" : "better";
}

} // namespace

bool ComparedResults::any_worse() const { return std::ranges::any_of(figures, &ComparedFigure::worse); }

ComparedResults compare_results(const Json& before, const Json& after) {
  ComparedResults results;
  for (const char* part : {"hsmux", "settings", "machine", "slots"}) {
    differ(before.at(part), after.at(part), part, results.differences);
  }
  const SamplesByName old = samples_of(before), now = samples_of(after);
  for (const auto& [name, figures] : old) {
    const auto same = now.find(name);
    if (same == now.end()) continue;
    for (const FigureKind& kind : kFigureKinds) {
      const auto was = figures.find(std::string(kind.key)), is = same->second.find(std::string(kind.key));
      if (was == figures.end() || is == same->second.end()) continue;
      results.figures.push_back({.name = fmt::format("{}: {}", name, kind.text),
                                 .unit = std::string(kind.unit),
                                 .comparison = compare_means(was->second, is->second),
                                 .more_is_better = kind.more_is_better});
    }
  }
  return results;
}

std::string compared_text(const ComparedResults& results) {
  std::string text;
  for (const std::string& difference : results.differences) text += "differs: " + printable(difference) + "\n";
  if (results.figures.empty()) return text + "The two have no measurement in common.\n";
  std::vector<std::vector<std::string>> lines;
  for (const ComparedFigure& figure : results.figures) {
    const Comparison& c = figure.comparison;
    lines.push_back(
        {figure.name, fmt::format("{:.0f} {}", c.before, figure.unit), fmt::format("{:.0f} {}", c.after, figure.unit),
         c.before == 0 ? "" : fmt::format("{:+.1f} %", c.change_share * 100),
         c.known ? fmt::format("{:+.1f} to {:+.1f} %", c.low * 100, c.high * 100) : "", verdict_of(figure)});
  }
  return text + table({"WHAT", "BEFORE", "AFTER", "CHANGE", "95 %", "SAYS"}, lines);
}

Json compared_json(const ComparedResults& results) {
  Json figures = Json::array();
  for (const ComparedFigure& figure : results.figures) {
    const Comparison& c = figure.comparison;
    figures.push_back({{"name", figure.name},
                       {"unit", figure.unit},
                       {"before", c.before},
                       {"after", c.after},
                       {"change_share", c.change_share},
                       {"low", c.low},
                       {"high", c.high},
                       {"known", c.known},
                       {"significant", c.significant},
                       {"worse", figure.worse()}});
  }
  return {{"differences", results.differences}, {"figures", std::move(figures)}, {"any_worse", results.any_worse()}};
}

} // namespace hsmux::capacity
