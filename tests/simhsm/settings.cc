#include "tests/simhsm/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "slots/disposition.h"
#include "slots/mechanism_name.h"

namespace hsmux::sim {
namespace {

// A mistake in the text; caught where the reading began. TOML's own mistakes come the same way.
struct Mistake {
  std::string text;
};

[[noreturn]] void refuse(const toml::node& node, std::string_view key, std::string_view what) {
  throw Mistake{fmt::format("{}: {}: {}", node.source().begin.line, key, what)};
}

template <class T> T value_of(const toml::node& node, std::string_view key, std::string_view what) {
  if (const auto* value = node.as<T>()) return value->get();
  refuse(node, key, fmt::format("{} is wanted", what));
}

std::string text_of(const toml::node& node, std::string_view key) {
  return value_of<std::string>(node, key, "a string");
}
bool flag_of(const toml::node& node, std::string_view key) { return value_of<bool>(node, key, "true or false"); }

std::uint64_t integer_of(const toml::node& node, std::string_view key, std::uint64_t most = ~0ULL >> 1) {
  const auto value = value_of<std::int64_t>(node, key, "an integer");
  if (value < 0 || static_cast<std::uint64_t>(value) > most) refuse(node, key, fmt::format("0 to {} is allowed", most));
  return static_cast<std::uint64_t>(value);
}

double number_of(const toml::node& node, std::string_view key, double least, double most) {
  const std::optional<double> value = node.value<double>();
  if (!value || !std::isfinite(*value) || *value < least || *value > most) {
    refuse(node, key, fmt::format("a number of {} to {} is wanted", least, most));
  }
  return *value;
}

constexpr double kHourUs = 3.6e9;
Nanoseconds microseconds_of(const toml::node& node, std::string_view key) {
  return Nanoseconds(std::llround(number_of(node, key, 0, 1000 * kHourUs) * 1000));
}

template <class Value>
Value name_of(const toml::node& node, std::string_view key, std::optional<Value> (*named)(std::string_view),
              std::string_view allowed) {
  if (const std::optional<Value> value = named(text_of(node, key))) return *value;
  refuse(node, key, fmt::format("'{}' is not known; allowed: {}", text_of(node, key), allowed));
}

std::string all_names(auto name, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += fmt::format("{}{}", i == 0 ? "" : ", ", name(i));
  return all;
}

std::optional<Function> function_of(const toml::node& node, std::string_view key) {
  if (text_of(node, key) == "*") return std::nullopt;
  return name_of<Function>(node, key, function_named, "'*', and names such as C_Sign");
}

SlotSelector slot_of(const toml::node& node, std::string_view key) {
  if (node.is_integer()) return CK_SLOT_ID{integer_of(node, key)};
  const std::string text = text_of(node, key);
  if (text == "*") return std::monostate{};
  return text;
}

// A CK_RV by its name in the disposition table, or as a number (a vendor's).
CK_RV rv_of(const toml::node& node, std::string_view key) {
  if (node.is_integer()) return integer_of(node, key, 0xffffffffU);
  const std::string name = text_of(node, key);
  for (const Disposition& row : disposition_table()) {
    if (row.name == name) return row.rv;
  }
  refuse(node, key, fmt::format("'{}' is no CK_RV that docs/errors.md names; other codes are given as numbers", name));
}

CK_MECHANISM_TYPE mechanism_of(const toml::node& node, std::string_view key) {
  if (node.is_integer()) return integer_of(node, key, 0xffffffffU);
  const std::string name = text_of(node, key);
  if (const std::optional<unsigned long> type = mechanism_named(name)) return *type;
  refuse(node, key, fmt::format("'{}' is not a mechanism that `hsmux slots` names; others are given as numbers", name));
}

// One table of the text: its known keys, each with what it sets.
using Setter = std::function<void(const toml::node& node, std::string_view key)>;
void read_table(const toml::table& table, std::string_view name, const std::map<std::string_view, Setter>& setters) {
  for (const auto& [key, node] : table) {
    const std::string full = name.empty() ? std::string(key.str()) : fmt::format("{}.{}", name, key.str());
    const auto setter = setters.find(key.str());
    if (setter == setters.end()) {
      std::vector<std::string_view> known;
      for (const auto& [each, ignored] : setters) known.push_back(each);
      refuse(node, full,
             fmt::format("unknown key; allowed: {}{}", fmt::join(known, ", "),
                         name.empty() ? "" : "; keys of the top level stand above the first [table]"));
    }
    setter->second(node, full);
  }
}

void read_rows(const toml::node& node, std::string_view key, const std::function<void(const toml::table&)>& row) {
  const toml::array* rows = node.as_array();
  if (rows == nullptr) refuse(node, key, fmt::format("[[{}]] is wanted", key));
  for (const toml::node& each : *rows) {
    const toml::table* table = each.as_table();
    if (table == nullptr) refuse(each, key, fmt::format("[[{}]] is wanted", key));
    row(*table);
  }
}

std::set<Function> functions_of(const toml::node& node, std::string_view key) {
  const toml::array* names = node.as_array();
  if (names == nullptr) refuse(node, key, "an array of function names is wanted");
  std::set<Function> functions;
  for (const toml::node& each : *names) {
    functions.insert(name_of<Function>(each, key, function_named, "names such as C_SignInit"));
  }
  return functions;
}

std::set<Violation> strict_of(const toml::node& node, std::string_view key) {
  std::set<Violation> strict;
  if (const auto* all = node.as_boolean()) {
    for (std::size_t i = 0; all->get() && i < kViolations; ++i) strict.insert(static_cast<Violation>(i));
    return strict;
  }
  const toml::array* names = node.as_array();
  if (names == nullptr) refuse(node, key, "true, false or an array of names is wanted");
  for (const toml::node& each : *names) {
    strict.insert(name_of<Violation>(
        each, key, violation_named,
        all_names([](std::size_t i) { return violation_name(static_cast<Violation>(i)); }, kViolations)));
  }
  return strict;
}

ReportedSessions reported_of(const toml::node& node, std::string_view key) {
  using enum ReportedSessions::Kind;
  if (node.is_integer()) return {kNumber, integer_of(node, key)};
  const std::string text = text_of(node, key);
  if (text == "true") return {kTrue, 0};
  if (text == "infinite") return {kInfinite, 0};
  if (text == "unknown") return {kUnknown, 0};
  if (text == "module") return {kModule, 0};
  refuse(node, key, "allowed: 'module', 'true', 'infinite', 'unknown', or a number");
}

Limits read_limits(const toml::table& table, Limits limits) {
  read_table(table, "limits",
             {{"sessions_max", [&](auto& n, auto k) { limits.sessions_max = integer_of(n, k); }},
              {"sessions_per",
               [&](auto& n, auto k) {
                 const std::string text = text_of(n, k);
                 if (text != "slot" && text != "library") refuse(n, k, "allowed: 'slot', 'library'");
                 limits.sessions_per_library = text == "library";
               }},
              {"sessions_reported", [&](auto& n, auto k) { limits.sessions_reported = reported_of(n, k); }},
              {"session_idle_us", [&](auto& n, auto k) { limits.session_idle = microseconds_of(n, k); }},
              {"objects_max", [&](auto& n, auto k) { limits.objects_max = integer_of(n, k); }}});
  return limits;
}

Throttle read_throttle(const toml::node& node, std::string_view key) {
  Throttle throttle;
  const toml::table* table = node.as_table();
  if (table == nullptr) refuse(node, key, "a table is wanted");
  read_table(*table, key,
             {{"per_second", [&](auto& n, auto k) { throttle.per_second = number_of(n, k, 0, 1e9); }},
              {"burst", [&](auto& n, auto k) { throttle.burst = number_of(n, k, 1, 1e9); }},
              {"answer", [&](auto& n, auto k) { throttle.answer = rv_of(n, k); }}});
  return throttle;
}

constexpr std::uint64_t kEnginesMax = 4096;

HsmRow read_hsm(const toml::table& table) {
  HsmRow row;
  read_table(table, "hsm",
             {{"slot", [&](auto& n, auto k) { row.slot = slot_of(n, k); }},
              {"engines",
               [&](auto& n, auto k) {
                 row.engines = integer_of(n, k, kEnginesMax);
                 if (row.engines == 0) refuse(n, k, fmt::format("1 to {} is allowed", kEnginesMax));
               }},
              {"round_trip_us", [&](auto& n, auto k) { row.round_trip = microseconds_of(n, k); }},
              {"local", [&](auto& n, auto k) { row.local = functions_of(n, k); }},
              {"throttle", [&](auto& n, auto k) { row.throttle = read_throttle(n, k); }}});
  return row;
}

Distribution::Kind kind_of(const toml::node& node, std::string_view key) {
  constexpr std::size_t kKinds = 5;
  const auto name = [](std::size_t i) { return kind_name(static_cast<Distribution::Kind>(i)); };
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (name(i) == text_of(node, key)) return static_cast<Distribution::Kind>(i);
  }
  refuse(node, key, fmt::format("allowed: {}", all_names(name, kKinds)));
}

TimeRow read_time(const toml::table& table) {
  TimeRow row;
  Distribution& service = row.service;
  read_table(table, "time",
             {{"slot", [&](auto& n, auto k) { row.match.slot = slot_of(n, k); }},
              {"function", [&](auto& n, auto k) { row.match.function = function_of(n, k); }},
              {"mechanism", [&](auto& n, auto k) { row.mechanism = mechanism_of(n, k); }},
              {"kind", [&](auto& n, auto k) { service.kind = kind_of(n, k); }},
              {"us", [&](auto& n, auto k) { service.time = microseconds_of(n, k); }},
              {"slow_us", [&](auto& n, auto k) { service.slow = microseconds_of(n, k); }},
              {"share", [&](auto& n, auto k) { service.share = number_of(n, k, 0, 1); }},
              {"sigma", [&](auto& n, auto k) { service.sigma = number_of(n, k, 0, 5); }},
              {"over_us", [&](auto& n, auto k) { service.over = microseconds_of(n, k); }}});
  if (!table.contains("us")) refuse(table, "time.us", "is missing");
  using enum Distribution::Kind;
  const bool needs_slow = service.kind == kBimodal || service.kind == kHeavyTail || service.kind == kDrifting;
  if (needs_slow && !table.contains("slow_us")) refuse(table, "time.slow_us", "is missing for this kind");
  const bool needs_share = service.kind == kBimodal || service.kind == kJitter;
  if (needs_share && !table.contains("share")) refuse(table, "time.share", "is missing for this kind");
  if (service.kind == kHeavyTail && service.sigma <= 0) refuse(table, "time.sigma", "above 0 is wanted for this kind");
  if (service.kind == kDrifting && service.over.count() == 0) refuse(table, "time.over_us", "is missing for this kind");
  return row;
}

// Call numbers, multiples, chance and turns exclude each other: what both together would mean is anybody's guess.
void check_when(const toml::table& table, Fault& fault) {
  const bool turns = table.contains("skip");
  const int ways = static_cast<int>(table.contains("call")) + static_cast<int>(table.contains("every")) +
                   static_cast<int>(table.contains("probability")) + static_cast<int>(turns);
  if (ways > 1) refuse(table, "fault", "one of call, every, probability and skip is allowed");
  if (table.contains("call") && fault.call == 0) refuse(table, "fault.call", "counts from 1");
  if (table.contains("call") && table.contains("times")) refuse(table, "fault.times", "a call number comes once");
  if (table.contains("every") && fault.every == 0) refuse(table, "fault.every", "1 or more is wanted");
  if (table.contains("probability") && fault.probability <= 0) refuse(table, "fault.probability", "above 0 is wanted");
  if (fault.at && fault.until && *fault.at >= *fault.until) refuse(table, "fault.until_us", "lies before at_us");
  // Rows that look at call numbers, or at a span of time, play as often as these say.
  const bool often = fault.every != 0 || fault.probability > 0 || fault.until;
  if (often && !table.contains("times")) fault.times = 0;
  const bool timed =
      fault.action == Action::kDelay || fault.action == Action::kHang || fault.action == Action::kRemoveToken;
  if (table.contains("time_us") && !timed) refuse(table, "fault.time_us", "goes with delay, hang and remove-token");
  if (fault.slot_id && fault.action != Action::kInsertToken) refuse(table, "fault.slot_id", "goes with insert-token");
  if (is_for_output(fault.action) && fault.match.function && !has_output(*fault.match.function)) {
    refuse(table, "fault.function", "outputs are those of C_Sign, C_Encrypt, C_Decrypt, C_Digest and their Finals");
  }
}

Fault read_fault(const toml::table& table) {
  Fault fault;
  constexpr auto kActionCount = static_cast<std::size_t>(Action::kPinState) + 1;
  constexpr auto kPinStateCount = static_cast<std::size_t>(PinState::kToBeChanged) + 1;
  if (!table.contains("action")) refuse(table, "fault.action", "is missing");
  read_table(table, "fault",
             {{"slot", [&](auto& n, auto k) { fault.match.slot = slot_of(n, k); }},
              {"function", [&](auto& n, auto k) { fault.match.function = function_of(n, k); }},
              {"call", [&](auto& n, auto k) { fault.call = integer_of(n, k); }},
              {"every", [&](auto& n, auto k) { fault.every = integer_of(n, k); }},
              {"probability", [&](auto& n, auto k) { fault.probability = number_of(n, k, 0, 1); }},
              {"skip", [&](auto& n, auto k) { fault.skip = integer_of(n, k); }},
              {"times", [&](auto& n, auto k) { fault.times = integer_of(n, k); }},
              {"at_us", [&](auto& n, auto k) { fault.at = microseconds_of(n, k); }},
              {"until_us", [&](auto& n, auto k) { fault.until = microseconds_of(n, k); }},
              {"action",
               [&](auto& n, auto k) {
                 fault.action = name_of<Action>(
                     n, k, action_named,
                     all_names([](std::size_t i) { return action_name(static_cast<Action>(i)); }, kActionCount));
               }},
              {"rv", [&](auto& n, auto k) { fault.rv = rv_of(n, k); }},
              {"time_us", [&](auto& n, auto k) { fault.time = microseconds_of(n, k); }},
              {"pin",
               [&](auto& n, auto k) {
                 fault.pin = name_of<PinState>(
                     n, k, pin_state_named,
                     all_names([](std::size_t i) { return pin_state_name(static_cast<PinState>(i)); }, kPinStateCount));
               }},
              {"slot_id", [&](auto& n, auto k) { fault.slot_id = integer_of(n, k); }}});
  if (has_rv(fault.action) != table.contains("rv")) {
    refuse(table, "fault.rv", "goes with 'answer', 'refuse' and 'lose-reply', and with no other");
  }
  if (fault.action == Action::kDelay && fault.time.count() == 0)
    refuse(table, "fault.time_us", "is missing for a delay");
  if ((fault.action == Action::kPinState) != table.contains("pin")) refuse(table, "fault.pin", "goes with 'pin-state'");
  check_when(table, fault);
  return fault;
}

SimulatedToken read_token(const toml::table& table) {
  SimulatedToken token;
  read_table(table, "token",
             {{"label", [&](auto& n, auto k) { token.label = text_of(n, k); }},
              {"user_pin", [&](auto& n, auto k) { token.user_pin = text_of(n, k); }},
              {"so_pin", [&](auto& n, auto k) { token.so_pin = text_of(n, k); }}});
  if (token.label.empty() || token.label.size() > sizeof(CK_TOKEN_INFO::label)) {
    refuse(table, "token.label", "1 to 32 bytes are wanted");
  }
  return token;
}

void read_mode(const toml::node& node, std::string_view key, Settings& settings) {
  const std::string mode = text_of(node, key);
  if (mode != "own" && mode != "wrap") refuse(node, key, "allowed: 'own', 'wrap'");
  settings.own = mode == "own";
}

void read_answers(const toml::node& node, std::string_view key, Settings& settings) {
  const std::string answers = text_of(node, key);
  if (answers != "computed" && answers != "canned") refuse(node, key, "allowed: 'computed', 'canned'");
  settings.canned = answers == "canned";
}

void read_gcm_iv(const toml::node& node, std::string_view key, Settings& settings) {
  const std::string maker = text_of(node, key);
  if (maker != "caller" && maker != "hsm") refuse(node, key, "allowed: 'caller', 'hsm'");
  settings.makes_iv = maker == "hsm";
}

void read_all(const toml::table& table, Settings& settings, bool running) {
  const auto fixed = [running](Setter setter) -> Setter {
    if (!running) return setter;
    return
        [](const toml::node& node, std::string_view key) { refuse(node, key, "is fixed when the module is loaded"); };
  };
  read_table(table, "",
             {{"mode", fixed([&](auto& n, auto k) { read_mode(n, k, settings); })},
              {"module", fixed([&](auto& n, auto k) { settings.module = text_of(n, k); })},
              {"spare_slot", fixed([&](auto& n, auto k) { settings.spare_slot = flag_of(n, k); })},
              {"control", fixed([&](auto& n, auto k) { settings.control_path = text_of(n, k); })},
              {"log", fixed([&](auto& n, auto k) { settings.log_path = text_of(n, k); })},
              {"token", fixed([&](auto& n, auto k) {
                 read_rows(n, k, [&](const toml::table& row) { settings.tokens.push_back(read_token(row)); });
               })},
              {"seed", [&](auto& n, auto k) { settings.seed = integer_of(n, k); }},
              {"gcm_iv", [&](auto& n, auto k) { read_gcm_iv(n, k, settings); }},
              {"answers", [&](auto& n, auto k) { read_answers(n, k, settings); }},
              {"reuse_handles", [&](auto& n, auto k) { settings.reuse_handles = flag_of(n, k); }},
              {"strict", [&](auto& n, auto k) { settings.strict = strict_of(n, k); }},
              {"limits",
               [&](auto& n, auto k) {
                 if (!n.is_table()) refuse(n, k, "[limits] is wanted");
                 settings.limits = read_limits(*n.as_table(), settings.limits);
               }},
              {"hsm",
               [&](auto& n, auto k) {
                 settings.hsms.clear();
                 ++settings.shape;
                 read_rows(n, k, [&](const toml::table& row) { settings.hsms.push_back(read_hsm(row)); });
               }},
              {"time",
               [&](auto& n, auto k) {
                 settings.times.clear();
                 ++settings.shape;
                 read_rows(n, k, [&](const toml::table& row) { settings.times.push_back(read_time(row)); });
               }},
              {"fault", [&](auto& n, auto k) {
                 read_rows(n, k, [&](const toml::table& row) { settings.faults.push_back(read_fault(row)); });
               }}});
  if (!settings.own &&
      (settings.canned || settings.makes_iv || settings.limits.objects_max != 0 || !settings.tokens.empty())) {
    throw Mistake{"1: mode: answers = 'canned', gcm_iv = 'hsm', limits.objects_max and [[token]] need mode = 'own'"};
  }
}

} // namespace

std::expected<Settings, std::string> read_settings(const std::string& text, const std::string& name, Settings base,
                                                   bool running) {
  try {
    base.faults.clear();
    read_all(toml::parse(text, name), base, running);
    return base;
  } catch (const Mistake& mistake) {
    return std::unexpected(fmt::format("{}:{}", name, mistake.text));
  } catch (const toml::parse_error& error) {
    return std::unexpected(fmt::format("{}:{}: {}", name, error.source().begin.line, error.description()));
  }
}

} // namespace hsmux::sim
