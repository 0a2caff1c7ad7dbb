// The engine's configuration: plain values, read from TOML (docs/configuration.md) or filled in by a program. Every
// error of the reader names file, line, key and what is allowed; an unknown key is an error.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metrics/address.h"
#include "slots/key_copies.h"
#include "slots/module_locks.h"
#include "slots/pin.h"
#include "slots/result.h"
#include "slots/slot_selector.h"

namespace hsmux {

class Module;

struct ModuleConfig {                             // [module.NAME]
  std::string name;                               // NAME: [A-Za-z0-9_-], 1 to 32
  std::string path;                               // path: required; relative to the file's folder if it has a '/'
  std::map<std::string, std::string> environment; // environment = { SOFTHSM2_CONF = "..." }
  std::string init_args;                          // init_args = "..."
  Locks locks = Locks::kAuto;                     // locks: "auto", "os", "engine"
  std::chrono::milliseconds init_timeout{30'000}; // init_timeout_ms, 1 to 600000
};

struct SlotConfig {                 // [[slot]]
  std::string name;                 // name: [A-Za-z0-9_.-], 1 to 32, unique; label of metrics and errors
  std::string module;               // module: a [module.NAME]; a file may leave it out when there is only one
  SlotSelector selector;            // token_label, serial, slot_id, uri: at least one; uri alone
  std::optional<PinOrigin> pin;     // pin = { env = "V" } | { file = "F", allow_group_read = false } |
                                    //       { fd = 3 } | { prompt = true }; absent = no login
  bool login_at_token = false;      // login_at_token: the PIN is entered at the HSM; without pin
  bool allow_pin_count_low = false; // allow_pin_count_low: one try although the token warns
  std::uint32_t sessions_min = 1;   // sessions_min: opened at start, 0 to sessions_max
  std::uint32_t sessions_max = 16;  // sessions_max: 1 to 4096, the anchor session not counted
  // Requests given to the slot at once: adapts between these (engine/concurrency.h); the same value fixes it.
  std::uint32_t concurrency_min = 1;                   // concurrency_min: 1 to 4096
  std::optional<std::uint32_t> concurrency_max;        // concurrency_max: 1 to 4096; absent = sessions_max
  double weight = 1.0;                                 // weight: above 0, at most 1000; share of the load
  SessionCopies session_copies = SessionCopies::kAuto; // session_copies: "auto", "on", "off"
  bool read_write = true;                              // read_write: sessions are R/W (some HSMs have no others)
};

struct DeadlineConfig {                              // [deadlines]
  std::chrono::milliseconds operation{10'000};       // operation_ms, 1 to 3600000
  std::chrono::milliseconds key_generation{120'000}; // key_generation_ms, 1 to 3600000
};

enum class Placement : std::uint8_t { kAll, kQuorum, kSlots };

struct PlacementConfig { // in [keys]: placement = "all" | "quorum" | ["slot-a", "slot-b"]
  Placement kind = Placement::kAll;
  std::uint32_t quorum = 0;       // quorum: 1 to the number of slots; only and always with placement = "quorum"
  std::vector<std::string> slots; // names of configured slots
};

struct SubmitConfig {                                     // [submit]
  std::uint32_t in_flight_max = 10'000;                   // in_flight_max: 1 to 1000000; more is refused (overloaded)
  std::optional<std::chrono::milliseconds> attempt_limit; // attempt_limit_ms: 1 to 3600000; absent = by what is slow
                                                          // for the slot (engine/attempt.h)
};

// What may become of a key after it was made (docs/decisions/0018-replication.md).
enum class KeyPolicy : std::uint8_t {
  kNone,        // it stays in the slots that it was made in
  kTrustedWrap, // it may be wrapped by a key that the security officer trusts: EXTRACTABLE with WRAP_WITH_TRUSTED
  kVendor,      // made in one slot and not extractable; the vendor's own means clone it into the others
};

// [metrics]: what a program that serves metrics of this engine is to do. The engine itself serves none.
struct MetricsConfig {
  std::string address{metrics::kDefaultAddress}; // address = "127.0.0.1:9467" or "[::1]:9467"; port 0: any free one
  bool allow_remote = false; // allow_remote: addresses that other machines reach; the page is off then
  bool page = true;          // page: the status page, besides /metrics, /healthz and /readyz
  bool token_serial = false; // token_serial: tokens' serial numbers are shown, too
};

inline constexpr auto kKeyPolicies = std::to_array<std::pair<std::string_view, KeyPolicy>>(
    {{"none", KeyPolicy::kNone}, {"trusted-wrap", KeyPolicy::kTrustedWrap}, {"vendor", KeyPolicy::kVendor}});

struct KeysConfig {                       // [keys]
  PlacementConfig placement;              // where `generate` puts a key when the request does not say
  KeyPolicy policy = KeyPolicy::kNone;    // policy: "none", "trusted-wrap", "vendor"; when the request does not say
  std::uint32_t transport_bits = 3072;    // transport_bits: 2048 to 4096; of the RSA keys of a replication's run
  std::string trusted_key;                // trusted_key: name of the wrapping key that `replicate` uses
  bool development_software_keys = false; // development only: what cannot be replicated is made on the host and
                                          // imported into each slot
};

struct AuditConfig {               // [audit]
  std::optional<std::string> path; // path: a file that JSON lines are appended to (engine/audit.h); absent = none;
                                   // relative to the file's folder
};

struct AdminConfig {                 // [admin]
  std::optional<std::string> socket; // socket: path of a Unix socket for operators of this user (engine/admin.h);
                                     // absent = none; relative to the file's folder; at most 100 bytes
};

struct SelfCheckConfig {     // [self_check]
  double verify_share = 0.0; // verify_share: 0 to 1; of the signatures, besides the first of each key, slot and epoch
};

struct Config {
  std::vector<ModuleConfig> modules; // 1 to 16
  std::vector<SlotConfig> slots;     // 1 to 64
  DeadlineConfig deadlines;
  SubmitConfig submit;
  KeysConfig keys;
  AuditConfig audit;
  AdminConfig admin;
  SelfCheckConfig self_check;
  std::optional<MetricsConfig> metrics; // absent: none are asked for
  std::vector<std::string> algorithms;  // algorithms = ["ecdsa-p256-sha256", ...]: probed at start; empty = all
};

// Reads `path`. Relative paths inside are relative to its folder. Errors: kIo (cannot be read, over 1 MiB),
// kInvalidConfig ("hsmux.toml:12: slot.sessions_max: 0 is not allowed: 1 to 4096").
Result<Config> read_config(const std::string& path);

// The same from text; `name` stands for the file in errors, `folder` is what relative paths start from.
Result<Config> parse_config(std::string_view text, const std::string& name, const std::string& folder);

// The module as it is configured (slots/module.h). Errors: Module::load's.
Result<std::shared_ptr<Module>> load_module(const ModuleConfig& module, bool set_environment);

// The same checks for a configuration that a program filled in, where each slot names its module. `name` as above;
// errors count slots from 1: "configuration: slot[2].sessions_max: 0 is not allowed: 1 to 4096".
Status check_config(const Config& config, const std::string& name = "configuration");

} // namespace hsmux
