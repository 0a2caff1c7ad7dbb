#include "engine/config_reader.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include "engine/config_limits.h"

namespace hsmux {
namespace {

using config_limits::IntegerRange;

// toml++ reads dotted keys by recursion without a bound; no key of ours has more than three parts.
constexpr std::ptrdiff_t kDotsPerLineMax = 32;

constexpr std::string_view kPinInClear =
    "a PIN in clear is refused: whoever reads this file could use the HSM's keys; say where the PIN is: "
    "pin = { env = \"VARIABLE\" }, { file = \"PATH\" }, { fd = NUMBER } or { prompt = true }";

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
  case toml::node_type::table: return "a table";
  case toml::node_type::array: return "an array";
  case toml::node_type::string: return "a string";
  case toml::node_type::integer: return "an integer";
  case toml::node_type::floating_point: return "a floating-point number";
  case toml::node_type::boolean: return "a boolean";
  default: return "a date or time";
  }
}

std::string range_text(IntegerRange range) { return fmt::format("{} to {}", range.min, range.max); }

// One value of the file, where it stood, and how it becomes a field.
struct Entry {
  const toml::node& node;
  std::string key; // full path
  ConfigPlaces& places;

  [[nodiscard]] Entry child(std::string_view name, const toml::node& value) const {
    return at(key.empty() ? std::string(name) : fmt::format("{}.{}", key, name), value);
  }
  [[nodiscard]] Entry item(std::size_t number, const toml::node& value) const {
    return at(fmt::format("{}[{}]", key, number), value);
  }
  [[nodiscard]] Entry at(std::string path, const toml::node& value) const {
    places.note(path, value.source().begin.line);
    return {value, std::move(path), places};
  }

  [[nodiscard]] std::unexpected<Error> refuse(std::string_view reason) const { return places.refuse(key, reason); }
  [[nodiscard]] std::unexpected<Error> refuse_type(std::string_view due) const {
    return refuse(fmt::format("{} is not allowed: {}", type_name(node), due));
  }

  Status text(std::string& out) const {
    const auto* value = node.as_string();
    if (value == nullptr) return refuse_type("a string");
    out = value->get();
    return {};
  }
  Status text(std::optional<std::string>& out) const { return text(out.emplace()); }

  template <class Integer> Status integer(Integer& out, IntegerRange range) const {
    const auto* value = node.as_integer();
    if (value == nullptr) return refuse_type("an integer, " + range_text(range));
    if (value->get() < range.min || value->get() > range.max) {
      return refuse(fmt::format("{} is not allowed: {}", value->get(), range_text(range)));
    }
    out = static_cast<Integer>(value->get());
    return {};
  }
  template <class Integer> Status integer(std::optional<Integer>& out, IntegerRange range) const {
    return integer(out.emplace(), range);
  }

  Status milliseconds(std::chrono::milliseconds& out, IntegerRange range) const {
    std::int64_t count = 0;
    HSMUX_CHECK(integer(count, range));
    out = std::chrono::milliseconds(count);
    return {};
  }

  Status number(double& out) const {
    const auto value = node.is_number() ? node.value<double>() : std::nullopt;
    if (!value) return refuse_type("a number");
    out = *value;
    return {};
  }

  Status boolean(bool& out) const {
    const auto* value = node.as_boolean();
    if (value == nullptr) return refuse_type("true or false");
    out = value->get();
    return {};
  }

  // One of the table's words.
  template <class Value, std::size_t kWords>
  Status word(Value& out, const std::array<std::pair<std::string_view, Value>, kWords>& words) const {
    std::vector<std::string> allowed;
    const auto* text = node.as_string();
    for (const auto& [name, value] : words) {
      if (text != nullptr && text->get() == name) {
        out = value;
        return {};
      }
      allowed.push_back(fmt::format("\"{}\"", name));
    }
    const std::string choice = fmt::format("one of {}", fmt::join(allowed, ", "));
    if (text == nullptr) return refuse_type(choice);
    return refuse(fmt::format("'{}' is not allowed: {}", shown(text->get()), choice));
  }

  Status texts(std::vector<std::string>& out) const {
    const toml::array* values = node.as_array();
    if (values == nullptr) return refuse_type("an array of strings");
    for (const toml::node& value : *values) HSMUX_CHECK(item(out.size() + 1, value).text(out.emplace_back()));
    return {};
  }

  Status text_map(std::map<std::string, std::string>& out) const {
    const toml::table* values = node.as_table();
    if (values == nullptr) return refuse_type("a table of strings");
    for (auto&& [name, value] : *values) {
      HSMUX_CHECK(child(shown(name.str()), value).text(out[std::string(name.str())]));
    }
    return {};
  }
};

// A key of a table and how it is read. Lists of rows are what the file may say.
template <class Target> struct Row {
  std::string_view key;
  Status (*read)(const Entry& entry, Target& target);
};

template <class Target, std::size_t kRows>
Status read_table(const Entry& entry, const std::array<Row<Target>, kRows>& rows, Target& target) {
  const toml::table* table = entry.node.as_table();
  if (table == nullptr) return entry.refuse_type("a table");
  for (auto&& [name, node] : *table) {
    const Entry value = entry.child(shown(name.str()), node);
    const auto row = std::ranges::find(rows, name.str(), &Row<Target>::key);
    if (row == rows.end()) {
      std::vector<std::string_view> allowed;
      for (const Row<Target>& known : rows) allowed.push_back(known.key);
      return value.refuse(fmt::format("unknown key: allowed here: {}", fmt::join(allowed, ", ")));
    }
    HSMUX_CHECK(row->read(value, target));
  }
  return {};
}

constexpr auto kLocks = std::to_array<std::pair<std::string_view, Locks>>(
    {{"auto", Locks::kAuto}, {"os", Locks::kOs}, {"engine", Locks::kEngine}});

constexpr auto kModuleRows = std::to_array<Row<ModuleConfig>>({
    {"path", [](const Entry& e, ModuleConfig& m) { return e.text(m.path); }},
    {"environment", [](const Entry& e, ModuleConfig& m) { return e.text_map(m.environment); }},
    {"init_args", [](const Entry& e, ModuleConfig& m) { return e.text(m.init_args); }},
    {"locks", [](const Entry& e, ModuleConfig& m) { return e.word(m.locks, kLocks); }},
    {"init_timeout_ms",
     [](const Entry& e, ModuleConfig& m) { return e.milliseconds(m.init_timeout, config_limits::kInitTimeoutMs); }},
});

struct PinTable {
  std::optional<std::string> env, file;
  std::optional<int> fd;
  std::optional<bool> prompt, allow_group_read;
};

constexpr auto kPinRows = std::to_array<Row<PinTable>>({
    {"env", [](const Entry& e, PinTable& p) { return e.text(p.env); }},
    {"file", [](const Entry& e, PinTable& p) { return e.text(p.file); }},
    {"fd", [](const Entry& e, PinTable& p) { return e.integer(p.fd, config_limits::kDescriptor); }},
    {"prompt", [](const Entry& e, PinTable& p) { return e.boolean(p.prompt.emplace()); }},
    {"allow_group_read", [](const Entry& e, PinTable& p) { return e.boolean(p.allow_group_read.emplace()); }},
});

Status read_pin(const Entry& entry, std::optional<PinOrigin>& out) {
  const toml::table* table = entry.node.as_table();
  if (table == nullptr || table->contains("value")) return entry.refuse(kPinInClear);
  for (auto&& [name, node] : *table) { // not by read_table: its error shows the key, and this one may be a PIN
    if (std::ranges::find(kPinRows, name.str(), &Row<PinTable>::key) == kPinRows.end()) {
      return entry.refuse("unknown key: allowed here: env, file, fd, prompt, allow_group_read");
    }
  }
  PinTable pin;
  HSMUX_CHECK(read_table(entry, kPinRows, pin));
  const int sources =
      int{pin.env.has_value()} + int{pin.file.has_value()} + int{pin.fd.has_value()} + int{pin.prompt.has_value()};
  if (sources != 1) return entry.refuse("exactly one of env, file, fd and prompt must be there");
  if (pin.prompt == false) return entry.refuse("prompt: false is not allowed: true");
  if (pin.allow_group_read && !pin.file) return entry.refuse("allow_group_read is only allowed together with file");
  if (pin.env) out = PinFromEnvironment{*pin.env};
  if (pin.file) out = PinFromFile{*pin.file, pin.allow_group_read.value_or(false)};
  if (pin.fd) out = PinFromDescriptor{*pin.fd};
  if (pin.prompt) out = PinFromPrompt{}; // its text needs the slot's name, which may not be read yet
  return {};
}

constexpr auto kCopies = std::to_array<std::pair<std::string_view, SessionCopies>>(
    {{"auto", SessionCopies::kAuto}, {"on", SessionCopies::kOn}, {"off", SessionCopies::kOff}});

constexpr auto kSlotRows = std::to_array<Row<SlotConfig>>({
    {"name", [](const Entry& e, SlotConfig& s) { return e.text(s.name); }},
    {"module", [](const Entry& e, SlotConfig& s) { return e.text(s.module); }},
    {"token_label", [](const Entry& e, SlotConfig& s) { return e.text(s.selector.token_label); }},
    {"serial", [](const Entry& e, SlotConfig& s) { return e.text(s.selector.serial); }},
    {"slot_id", [](const Entry& e, SlotConfig& s) { return e.integer(s.selector.slot_id, config_limits::kSlotId); }},
    {"uri", [](const Entry& e, SlotConfig& s) { return e.text(s.selector.uri); }},
    {"pin", [](const Entry& e, SlotConfig& s) { return read_pin(e, s.pin); }},
    {"login_at_token", [](const Entry& e, SlotConfig& s) { return e.boolean(s.login_at_token); }},
    {"allow_pin_count_low", [](const Entry& e, SlotConfig& s) { return e.boolean(s.allow_pin_count_low); }},
    {"sessions_min",
     [](const Entry& e, SlotConfig& s) { return e.integer(s.sessions_min, config_limits::kSessionsMin); }},
    {"sessions_max",
     [](const Entry& e, SlotConfig& s) { return e.integer(s.sessions_max, config_limits::kSessionsMax); }},
    {"concurrency_min",
     [](const Entry& e, SlotConfig& s) { return e.integer(s.concurrency_min, config_limits::kConcurrency); }},
    {"concurrency_max",
     [](const Entry& e, SlotConfig& s) { return e.integer(s.concurrency_max, config_limits::kConcurrency); }},
    {"weight", [](const Entry& e, SlotConfig& s) { return e.number(s.weight); }},
    {"session_copies", [](const Entry& e, SlotConfig& s) { return e.word(s.session_copies, kCopies); }},
    {"read_write", [](const Entry& e, SlotConfig& s) { return e.boolean(s.read_write); }},
});

constexpr auto kDeadlineRows = std::to_array<Row<DeadlineConfig>>({
    {"operation_ms",
     [](const Entry& e, DeadlineConfig& d) { return e.milliseconds(d.operation, config_limits::kOperationMs); }},
    {"key_generation_ms",
     [](const Entry& e, DeadlineConfig& d) {
       return e.milliseconds(d.key_generation, config_limits::kKeyGenerationMs);
     }},
});

constexpr auto kSubmitRows = std::to_array<Row<SubmitConfig>>({
    {"in_flight_max",
     [](const Entry& e, SubmitConfig& s) { return e.integer(s.in_flight_max, config_limits::kInFlightMax); }},
    {"attempt_limit_ms",
     [](const Entry& e, SubmitConfig& s) {
       return e.milliseconds(s.attempt_limit.emplace(), config_limits::kAttemptLimitMs);
     }},
});

Status read_placement(const Entry& entry, PlacementConfig& out) {
  constexpr std::string_view kAllowed = R"("all", "quorum" or an array of slot names)";
  if (entry.node.is_array()) {
    out.kind = Placement::kSlots;
    return entry.texts(out.slots);
  }
  const auto* word = entry.node.as_string();
  if (word == nullptr) return entry.refuse_type(kAllowed);
  if (word->get() != "all" && word->get() != "quorum") {
    return entry.refuse(fmt::format("'{}' is not allowed: {}", shown(word->get()), kAllowed));
  }
  out.kind = word->get() == "all" ? Placement::kAll : Placement::kQuorum;
  return {};
}

constexpr auto kKeysRows = std::to_array<Row<KeysConfig>>({
    {"placement", [](const Entry& e, KeysConfig& k) { return read_placement(e, k.placement); }},
    {"quorum", [](const Entry& e, KeysConfig& k) { return e.integer(k.placement.quorum, config_limits::kQuorum); }},
    {"policy", [](const Entry& e, KeysConfig& k) { return e.word(k.policy, kKeyPolicies); }},
    {"transport_bits",
     [](const Entry& e, KeysConfig& k) { return e.integer(k.transport_bits, config_limits::kTransportBits); }},
    {"trusted_key", [](const Entry& e, KeysConfig& k) { return e.text(k.trusted_key); }},
    {"development_software_keys", [](const Entry& e, KeysConfig& k) { return e.boolean(k.development_software_keys); }},
});

constexpr auto kMetricsRows = std::to_array<Row<MetricsConfig>>({
    {"address", [](const Entry& e, MetricsConfig& m) { return e.text(m.address); }},
    {"allow_remote", [](const Entry& e, MetricsConfig& m) { return e.boolean(m.allow_remote); }},
    {"page", [](const Entry& e, MetricsConfig& m) { return e.boolean(m.page); }},
    {"token_serial", [](const Entry& e, MetricsConfig& m) { return e.boolean(m.token_serial); }},
});

Status read_modules(const Entry& entry, std::vector<ModuleConfig>& out) {
  const toml::table* table = entry.node.as_table();
  if (table == nullptr) return entry.refuse_type("write [module.NAME] for each");
  for (auto&& [name, node] : *table) {
    ModuleConfig module;
    module.name = name.str();
    if (!node.is_table()) return entry.child(shown(module.name), node).refuse("write [module.NAME] for each module");
    HSMUX_CHECK(read_table(entry.child(shown(module.name), node), kModuleRows, module));
    out.push_back(std::move(module));
  }
  return {};
}

Status read_slots(const Entry& entry, std::vector<SlotConfig>& out) {
  const toml::array* array = entry.node.as_array();
  if (array == nullptr) return entry.refuse_type("write [[slot]] for each");
  for (const toml::node& node : *array) {
    SlotConfig slot;
    HSMUX_CHECK(read_table(entry.item(out.size() + 1, node), kSlotRows, slot));
    if (slot.pin && std::holds_alternative<PinFromPrompt>(*slot.pin))
      slot.pin = PinFromPrompt{"PIN of slot " + slot.name};
    out.push_back(std::move(slot));
  }
  return {};
}

constexpr auto kAuditRows = std::to_array<Row<AuditConfig>>({
    {"path", [](const Entry& e, AuditConfig& a) { return e.text(a.path); }},
});

constexpr auto kAdminRows = std::to_array<Row<AdminConfig>>({
    {"socket", [](const Entry& e, AdminConfig& a) { return e.text(a.socket); }},
});

constexpr auto kSelfCheckRows = std::to_array<Row<SelfCheckConfig>>({
    {"verify_share", [](const Entry& e, SelfCheckConfig& c) { return e.number(c.verify_share); }},
});

constexpr auto kFileRows = std::to_array<Row<Config>>({
    {"module", [](const Entry& e, Config& c) { return read_modules(e, c.modules); }},
    {"slot", [](const Entry& e, Config& c) { return read_slots(e, c.slots); }},
    {"deadlines", [](const Entry& e, Config& c) { return read_table(e, kDeadlineRows, c.deadlines); }},
    {"submit", [](const Entry& e, Config& c) { return read_table(e, kSubmitRows, c.submit); }},
    {"keys", [](const Entry& e, Config& c) { return read_table(e, kKeysRows, c.keys); }},
    {"audit", [](const Entry& e, Config& c) { return read_table(e, kAuditRows, c.audit); }},
    {"admin", [](const Entry& e, Config& c) { return read_table(e, kAdminRows, c.admin); }},
    {"self_check", [](const Entry& e, Config& c) { return read_table(e, kSelfCheckRows, c.self_check); }},
    {"metrics", [](const Entry& e, Config& c) { return read_table(e, kMetricsRows, c.metrics.emplace()); }},
    {"algorithms", [](const Entry& e, Config& c) { return e.texts(c.algorithms); }},
});

Status check_dots(std::string_view text, ConfigPlaces& places) {
  std::uint32_t line = 1;
  while (!text.empty()) {
    const std::string_view row = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), row.size() + 1));
    const bool comment = row.substr(std::min(row.size(), row.find_first_not_of(" \t"))).starts_with('#');
    if (!comment && std::ranges::count(row, '.') > kDotsPerLineMax) {
      places.note("", line);
      return places.refuse("", fmt::format("more than {} dots in one line are not allowed", kDotsPerLineMax));
    }
    ++line;
  }
  return {};
}

// toml++ quotes what it read, and that may be a PIN: its message is cut at the first quotation mark.
std::string without_quotations(std::string_view message) {
  message = message.substr(0, message.find_first_of("'\""));
  if (message.ends_with("saw ")) message.remove_suffix(4);
  while (message.ends_with(' ') || message.ends_with(',') || message.ends_with(':')) message.remove_suffix(1);
  return std::string(message);
}

Result<toml::table> parse_toml(std::string_view text, ConfigPlaces& places) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    places.note("", error.source().begin.line);
    return places.refuse("",
                         fmt::format("this is not TOML ({}): look for a missing quotation mark or bracket, or a key "
                                     "that is there twice, in this line or just before it",
                                     without_quotations(error.description())));
  }
}

} // namespace

Result<Config> read_toml(std::string_view text, ConfigPlaces& places) {
  HSMUX_CHECK(check_dots(text, places));
  HSMUX_TRY(const toml::table table, parse_toml(text, places));
  if (table.empty()) return places.refuse("", "it says nothing: give at least one [module.NAME] and one [[slot]]");
  Config config;
  HSMUX_CHECK(read_table(Entry{table, "", places}, kFileRows, config));
  return config;
}

} // namespace hsmux
