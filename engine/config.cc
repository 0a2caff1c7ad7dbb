#include "engine/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/config_limits.h"
#include "engine/config_places.h"
#include "engine/config_reader.h"
#include "engine/slot_load.h"
#include "slots/module.h"

namespace hsmux {
namespace {

using namespace config_limits;

constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && text.size() <= kNameBytesMax && std::ranges::all_of(text, [&](char c) {
    return is_letter(c) || is_digit(c) || more.find(c) != std::string_view::npos;
  });
}

bool is_variable(std::string_view text) {
  return !text.empty() && !is_digit(text.front()) &&
         std::ranges::all_of(text, [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

// Variables that a configuration must not set, by their beginnings.
struct RefusedVariable {
  std::string_view begins;
  std::string_view reason;
};
constexpr auto kRefusedVariables = std::to_array<RefusedVariable>({
    {"LD_", "the dynamic loader reads it when a program starts, and it can put foreign code into that program: set it "
            "outside, where it is really needed"},
    {"PATH", "it decides which programs run, which is no module's matter: set it outside"},
});

// The rules that a configuration must keep, one function per table. Every error is made by `places`.
class Rules {
public:
  Rules(const Config& config, const ConfigPlaces& places) : config_(config), places_(places) {}

  [[nodiscard]] Status check() const {
    HSMUX_CHECK(check_modules());
    HSMUX_CHECK(check_slots());
    HSMUX_CHECK(milliseconds("deadlines.operation_ms", config_.deadlines.operation, kOperationMs));
    HSMUX_CHECK(milliseconds("deadlines.key_generation_ms", config_.deadlines.key_generation, kKeyGenerationMs));
    HSMUX_CHECK(integer("submit.in_flight_max", config_.submit.in_flight_max, kInFlightMax));
    if (config_.submit.attempt_limit) {
      HSMUX_CHECK(milliseconds("submit.attempt_limit_ms", *config_.submit.attempt_limit, kAttemptLimitMs));
    }
    HSMUX_CHECK(check_placement(config_.keys.placement));
    if (config_.audit.path) HSMUX_CHECK(text("audit.path", *config_.audit.path));
    if (config_.admin.socket) HSMUX_CHECK(check_socket(*config_.admin.socket));
    const double share = config_.self_check.verify_share;
    if (!(share >= 0 && share <= 1)) {
      return refuse("self_check.verify_share", fmt::format("{} is not allowed: 0 to 1", share));
    }
    if (config_.metrics) HSMUX_CHECK(check_metrics(*config_.metrics));
    return check_algorithms();
  }

private:
  [[nodiscard]] std::unexpected<Error> refuse(std::string_view key, std::string_view reason) const {
    return places_.refuse(key, reason);
  }

  [[nodiscard]] Status integer(std::string_view key, std::int64_t value, IntegerRange range) const {
    if (value >= range.min && value <= range.max) return {};
    return refuse(key, fmt::format("{} is not allowed: {} to {}", value, range.min, range.max));
  }

  [[nodiscard]] Status milliseconds(std::string_view key, std::chrono::milliseconds value, IntegerRange range) const {
    return integer(key, value.count(), range);
  }

  // `value` itself is not shown: it may be anything.
  [[nodiscard]] Status text(std::string_view key, std::string_view value, bool may_be_empty = false) const {
    if (value.find('\0') != std::string_view::npos) return refuse(key, "a NUL byte is not allowed");
    if (value.size() > kTextBytesMax)
      return refuse(key, fmt::format("more than {} bytes are not allowed", kTextBytesMax));
    if (value.empty() && !may_be_empty) return refuse(key, "an empty string is not allowed");
    return {};
  }

  [[nodiscard]] Status count(std::string_view key, std::size_t value, std::size_t max, std::string_view how) const {
    if (value == 0) return refuse(key, fmt::format("missing: {}", how));
    if (value > max) return refuse(key, fmt::format("{} are not allowed: at most {}", value, max));
    return {};
  }

  [[nodiscard]] std::string module_names() const {
    std::vector<std::string> names;
    for (const ModuleConfig& module : config_.modules) names.push_back(shown(module.name));
    return fmt::format("{}", fmt::join(names, ", "));
  }

  [[nodiscard]] Status check_modules() const {
    HSMUX_CHECK(count("module", config_.modules.size(), kModulesMax, "give at least one [module.NAME] with its path"));
    std::set<std::string> names;
    for (const ModuleConfig& module : config_.modules) {
      const std::string key = "module." + shown(module.name);
      if (!is_name(module.name, "_-")) {
        return refuse(key, fmt::format("this name is not allowed: 1 to {} of A-Z a-z 0-9 _ -", kNameBytesMax));
      }
      if (!names.insert(module.name).second) return refuse(key, "a module of this name is there twice");
      HSMUX_CHECK(check_module(key, module));
    }
    return {};
  }

  [[nodiscard]] Status check_module(const std::string& key, const ModuleConfig& module) const {
    if (module.path.empty()) return refuse(key + ".path", "missing: the file of the PKCS#11 library");
    HSMUX_CHECK(text(key + ".path", module.path));
    HSMUX_CHECK(text(key + ".init_args", module.init_args, true));
    HSMUX_CHECK(milliseconds(key + ".init_timeout_ms", module.init_timeout, kInitTimeoutMs));
    if (module.environment.size() > kEnvironmentMax) {
      return refuse(key + ".environment", fmt::format("{} variables are not allowed: at most {}",
                                                      module.environment.size(), kEnvironmentMax));
    }
    for (const auto& [variable, value] : module.environment) {
      HSMUX_CHECK(check_variable(key + ".environment." + shown(variable), variable));
      HSMUX_CHECK(text(key + ".environment." + variable, value, true));
    }
    return {};
  }

  [[nodiscard]] Status check_variable(const std::string& key, std::string_view variable) const {
    HSMUX_CHECK(text(key, variable));
    if (!is_variable(variable)) {
      return refuse(key, "this is not a variable's name: letters, digits and _ are allowed, no digit first");
    }
    for (const RefusedVariable& row : kRefusedVariables) {
      if (variable.starts_with(row.begins) && (row.begins.ends_with('_') || variable == row.begins)) {
        return refuse(key, fmt::format("it is not allowed here: {}", row.reason));
      }
    }
    return {};
  }

  [[nodiscard]] Status check_slots() const {
    HSMUX_CHECK(count("slot", config_.slots.size(), kSlotsMax, "give at least one [[slot]]"));
    for (std::size_t i = 0; i < config_.slots.size(); ++i) {
      const std::string key = fmt::format("slot[{}]", i + 1);
      const SlotConfig& slot = config_.slots[i];
      HSMUX_CHECK(check_slot(key, slot));
      HSMUX_CHECK(check_selector(key, slot.selector));
      if (slot.pin) HSMUX_CHECK(check_pin(key + ".pin", *slot.pin));
      if (slot.pin && slot.login_at_token) {
        return refuse(key + ".login_at_token", "only allowed without pin: the PIN is entered at the HSM");
      }
      for (std::size_t j = 0; j < i; ++j) HSMUX_CHECK(check_pair(key, slot, config_.slots[j]));
    }
    return {};
  }

  [[nodiscard]] Status check_slot(const std::string& key, const SlotConfig& slot) const {
    if (slot.name.empty()) return refuse(key + ".name", "missing: a name of your choice, for messages and metrics");
    if (!is_name(slot.name, "_.-")) {
      return refuse(key + ".name",
                    fmt::format("'{}' is not allowed: 1 to {} of A-Z a-z 0-9 _ . -", shown(slot.name), kNameBytesMax));
    }
    if (slot.module.empty()) return refuse(key + ".module", fmt::format("missing: one of {}", module_names()));
    if (std::ranges::count(config_.modules, slot.module, &ModuleConfig::name) == 0) {
      return refuse(key + ".module",
                    fmt::format("there is no [module.{}]: one of {}", shown(slot.module), module_names()));
    }
    HSMUX_CHECK(integer(key + ".sessions_max", slot.sessions_max, kSessionsMax));
    HSMUX_CHECK(integer(key + ".sessions_min", slot.sessions_min, kSessionsMin));
    if (slot.sessions_min > slot.sessions_max) {
      return refuse(key + ".sessions_min", fmt::format("{} is not allowed: 0 to sessions_max, which is {}",
                                                       slot.sessions_min, slot.sessions_max));
    }
    HSMUX_CHECK(integer(key + ".concurrency_min", slot.concurrency_min, kConcurrency));
    const std::uint32_t concurrency_max = slot.concurrency_max.value_or(slot.sessions_max);
    if (slot.concurrency_max) HSMUX_CHECK(integer(key + ".concurrency_max", concurrency_max, kConcurrency));
    if (slot.concurrency_min > concurrency_max) {
      return refuse(key + ".concurrency_min",
                    fmt::format("{} is not allowed: 1 to {}, which is {}", slot.concurrency_min,
                                slot.concurrency_max ? "concurrency_max" : "sessions_max", concurrency_max));
    }
    if (!(slot.weight > 0 && slot.weight <= kWeightMax)) {
      return refuse(key + ".weight", fmt::format("{} is not allowed: above 0, at most {}", slot.weight, kWeightMax));
    }
    return {};
  }

  [[nodiscard]] Status check_selector(const std::string& key, const SlotSelector& selector) const {
    const bool by_field = selector.token_label || selector.serial || selector.slot_id;
    if (!by_field && !selector.uri) return refuse(key, "give at least one of token_label, serial, slot_id, or uri");
    if (by_field && selector.uri) {
      return refuse(key + ".uri",
                    "uri is not allowed together with token_label, serial or slot_id: give one or the other");
    }
    if (selector.token_label) HSMUX_CHECK(text(key + ".token_label", *selector.token_label));
    if (selector.serial) HSMUX_CHECK(text(key + ".serial", *selector.serial));
    if (!selector.uri) return {};
    HSMUX_CHECK(text(key + ".uri", *selector.uri));
    // Among no tokens none fits; a URI that is wrong in itself is told apart by its kind.
    const auto none = select_token(selector, {});
    if (!none && none.error().kind == ErrorKind::kInvalidConfig) return refuse(key + ".uri", none.error().message);
    return {};
  }

  [[nodiscard]] Status check_pin(const std::string& key, const PinOrigin& origin) const {
    if (const auto* from = std::get_if<PinFromEnvironment>(&origin)) {
      HSMUX_CHECK(text(key + ".env", from->variable));
      if (!is_variable(from->variable)) {
        return refuse(key + ".env", "this is not a variable's name: letters, digits and _ are allowed, no digit first");
      }
    }
    if (const auto* from = std::get_if<PinFromFile>(&origin)) return text(key + ".file", from->path);
    if (const auto* from = std::get_if<PinFromDescriptor>(&origin)) return integer(key + ".fd", from->fd, kDescriptor);
    if (const auto* from = std::get_if<PinFromValue>(&origin); from != nullptr && !from->pin) {
      return refuse(key, "a value without a PIN is not allowed");
    }
    return {};
  }

  // `slot` against one before it.
  [[nodiscard]] Status check_pair(const std::string& key, const SlotConfig& slot, const SlotConfig& before) const {
    if (slot.name == before.name) {
      return refuse(key + ".name", fmt::format("'{}' is there twice: every slot has its own name", slot.name));
    }
    const auto selected = [](const SlotConfig& s) {
      return std::tie(s.module, s.selector.token_label, s.selector.serial, s.selector.slot_id, s.selector.uri);
    };
    if (selected(slot) == selected(before)) {
      return refuse(key, fmt::format("it means the same token as slot '{}': one slot per token", before.name));
    }
    const auto* fd = slot.pin ? std::get_if<PinFromDescriptor>(&*slot.pin) : nullptr;
    const auto* fd_before = before.pin ? std::get_if<PinFromDescriptor>(&*before.pin) : nullptr;
    if (fd != nullptr && fd_before != nullptr && fd->fd == fd_before->fd) {
      return refuse(key + ".pin.fd",
                    fmt::format("descriptor {} is slot '{}''s, and it is read once: give each slot its "
                                "own descriptor",
                                fd->fd, before.name));
    }
    return {};
  }

  [[nodiscard]] Status check_placement(const PlacementConfig& placement) const {
    if (placement.kind == Placement::kQuorum) {
      const auto slots = static_cast<std::int64_t>(config_.slots.size());
      if (placement.quorum == 0) {
        return refuse("keys.quorum",
                      fmt::format("missing: placement = \"quorum\" needs it: 1 to {}, the number of slots", slots));
      }
      if (placement.quorum > slots) {
        return refuse("keys.quorum",
                      fmt::format("{} is not allowed: 1 to {}, the number of slots", placement.quorum, slots));
      }
    } else if (placement.quorum != 0) {
      return refuse("keys.quorum", "only allowed with placement = \"quorum\"");
    }
    if (placement.kind != Placement::kSlots) return {};
    if (placement.slots.empty())
      return refuse("keys.placement", "an empty array is not allowed: name at least one slot");
    for (std::size_t i = 0; i < placement.slots.size(); ++i) {
      const std::string key = fmt::format("keys.placement[{}]", i + 1);
      const std::string& name = placement.slots[i];
      if (std::ranges::count(config_.slots, name, &SlotConfig::name) == 0) {
        std::vector<std::string_view> known;
        for (const SlotConfig& slot : config_.slots) known.push_back(slot.name);
        return refuse(key, fmt::format("there is no slot '{}': one of {}", shown(name), fmt::join(known, ", ")));
      }
      if (std::ranges::count(placement.slots, name) > 1)
        return refuse(key, fmt::format("slot '{}' is there twice", name));
    }
    return {};
  }

  [[nodiscard]] Status check_socket(const std::string& path) const {
    HSMUX_CHECK(text("admin.socket", path));
    if (path.size() <= kSocketPathBytesMax) return {};
    return refuse("admin.socket", fmt::format("the path has {} bytes: at most {}", path.size(), kSocketPathBytesMax));
  }

  [[nodiscard]] Status check_metrics(const MetricsConfig& wanted) const {
    HSMUX_CHECK(text("metrics.address", wanted.address));
    const auto address = metrics::parse_address(wanted.address);
    if (!address) {
      return refuse("metrics.address", fmt::format("'{}' is not allowed: IP:PORT, such as {} or [::1]:9467",
                                                   shown(wanted.address), metrics::kDefaultAddress));
    }
    if (!address->loopback && !wanted.allow_remote) {
      return refuse("metrics.address",
                    fmt::format("{} can be reached from other machines: a loopback address, or allow_remote = true",
                                wanted.address));
    }
    return {};
  }

  [[nodiscard]] Status check_algorithms() const {
    if (config_.algorithms.size() > kAlgorithmsMax) {
      return refuse("algorithms",
                    fmt::format("{} are not allowed: at most {}", config_.algorithms.size(), kAlgorithmsMax));
    }
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < config_.algorithms.size(); ++i) {
      const std::string key = fmt::format("algorithms[{}]", i + 1);
      const std::string& name = config_.algorithms[i];
      HSMUX_CHECK(text(key, name));
      if (!names.insert(name).second) return refuse(key, fmt::format("'{}' is there twice", shown(name)));
    }
    return {};
  }

  const Config& config_;
  const ConfigPlaces& places_;
};

void resolve_path(std::string& path, const std::string& folder) {
  if (!path.empty() && !path.starts_with('/')) path = folder + "/" + path;
}

// What the file may leave to the reader: the folder of relative paths, and the module when there is only one.
void complete(Config& config, const std::string& folder) {
  for (ModuleConfig& module : config.modules) {
    if (module.path.find('/') != std::string::npos) resolve_path(module.path, folder);
  }
  if (config.audit.path) resolve_path(*config.audit.path, folder);
  if (config.admin.socket) resolve_path(*config.admin.socket, folder);
  for (SlotConfig& slot : config.slots) {
    if (slot.module.empty() && config.modules.size() == 1) slot.module = config.modules.front().name;
    if (!slot.pin) continue;
    if (auto* file = std::get_if<PinFromFile>(&*slot.pin)) resolve_path(file->path, folder);
  }
}

class OpenedFile {
public:
  explicit OpenedFile(int fd) : fd_(fd) {}
  ~OpenedFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;

  [[nodiscard]] int fd() const { return fd_; }

private:
  int fd_;
};

std::unexpected<Error> refuse_file(const std::string& path, std::string_view reason) {
  return fail(ErrorKind::kIo, fmt::format("cannot read the configuration {}: {}", path, reason));
}

std::unexpected<Error> refuse_errno(const std::string& path) {
  return refuse_file(path, std::generic_category().message(errno));
}

Result<std::string> read_text(const std::string& path) {
  // O_NONBLOCK: a FIFO without a writer must not hang the open; it is refused just after.
  const OpenedFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (file.fd() < 0) return refuse_errno(path);
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) return refuse_errno(path);
  if (!S_ISREG(status.st_mode)) return refuse_file(path, "it is not a regular file");
  std::string text(kFileBytesMax + 1, '\0'); // one byte more tells a file that grew from one that fits
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(file.fd(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse_errno(path);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  if (size > kFileBytesMax) return refuse_file(path, fmt::format("it is larger than {} bytes", kFileBytesMax));
  text.resize(size);
  return text;
}

} // namespace

Result<Config> read_config(const std::string& path) {
  if (path.find('\0') != std::string::npos) return refuse_file(shown(path), "its name holds a NUL byte");
  HSMUX_TRY(const std::string text, read_text(path));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return parse_config(text, path, folder.empty() ? "." : folder);
}

Result<Config> parse_config(std::string_view text, const std::string& name, const std::string& folder) {
  ConfigPlaces places(name);
  if (text.size() > kFileBytesMax) {
    return places.refuse("", fmt::format("more than {} bytes are not allowed", kFileBytesMax));
  }
  HSMUX_TRY(Config config, read_toml(text, places));
  complete(config, folder);
  HSMUX_CHECK(Rules(config, places).check());
  return config;
}

Status check_config(const Config& config, const std::string& name) { return Rules(config, ConfigPlaces(name)).check(); }

Result<std::shared_ptr<Module>> load_module(const ModuleConfig& module, bool set_environment) {
  return Module::load({.name = module.name,
                       .path = module.path,
                       .environment = module.environment,
                       .init_args = module.init_args,
                       .locks = module.locks,
                       .init_timeout = module.init_timeout,
                       .set_environment = set_environment});
}

} // namespace hsmux
