#include "tests/contract/contract.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "slots/key_handles.h"
#include "slots/token_info.h"

namespace hsmux {

bool eventually(const std::function<bool()>& condition) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(10));
  while (!condition()) {
    if (deadline.passed(MonotonicClock::now())) return false;
    std::this_thread::yield();
  }
  return true;
}

Bytes bytes(std::string_view text) { return {text.begin(), text.end()}; }

Bytes random_data(std::size_t size) {
  Bytes data(size);
  EXPECT_TRUE(random_bytes(data).has_value());
  return data;
}

void Contract::SetUp() {
  if (TokenFolder::tokens_max() < slots_) GTEST_SKIP() << "needs " << slots_ << " tokens (HSMUX_TEST_TOKENS)";
  tokens_.emplace(slots_, HSMUX_TEST_SIMHSM);
  sim_.emplace(HSMUX_TEST_SIMHSM);
  sim_->reset();
}

void Contract::TearDown() {
  if (!sim_) return;
  // Whatever the test was about: one thread per session, no size query, no logout, no C_Finalize.
  EXPECT_EQ(sim_->violations(), 0U) << sim_->last_violation();
  sim_->reset();
  if (engine_) {
    EXPECT_TRUE(engine_->close(Deadline::after(std::chrono::seconds(10))));
  }
  if (TokenFolder::external() && !made_.empty()) remove_keys(); // the tests' own tokens go with their folder
}

void Contract::remove_keys() {
  open("algorithms = ['aes-256-gcm']"); // anew: whatever the test did to logins and sessions
  if (!engine_) return;
  for (std::size_t slot = 0; slot < slots_; ++slot) {
    Session own = session(slot);
    for (const Bytes& id : made_) {
      for (const ObjectClass each : {ObjectClass::kPrivateKey, ObjectClass::kPublicKey, ObjectClass::kSecretKey}) {
        for (const ObjectHandle object : own.find(key_template_by_id(each, id)).value_or(std::vector<ObjectHandle>{})) {
          EXPECT_TRUE(own.destroy(object).has_value());
        }
      }
    }
  }
  EXPECT_TRUE(engine_->close(Deadline::after(std::chrono::seconds(10))));
}

Config Contract::config(const std::string& extra, const std::string& slot_extra) const {
  // The others are probed by the tests that use them: RSA keys take time to make.
  const std::string algorithms = extra.find("algorithms") != std::string::npos
                                     ? ""
                                     : "algorithms = ['ecdsa-p256-sha256', 'rsa-oaep-sha256', 'aes-256-gcm']\n";
  Result<Config> parsed = parse_config(tokens_->toml(algorithms + extra, slot_extra), "test.toml", tokens_->folder());
  if (!parsed) {
    ADD_FAILURE() << parsed.error().text();
    return {};
  }
  parsed->keys.transport_bits = 2048; // keys of 3072 bits take SoftHSM five times as long to make
  return *parsed;
}

Result<std::unique_ptr<Engine>> Contract::try_open(Config config, EngineOptions options) {
  return Engine::open(std::move(config), std::move(options));
}

void Contract::open(const std::string& extra, const std::string& slot_extra, EngineOptions options) {
  Result<std::unique_ptr<Engine>> opened = try_open(config(extra, slot_extra), std::move(options));
  ASSERT_TRUE(opened.has_value()) << opened.error().text();
  engine_ = std::move(*opened);
}

std::string Contract::make_key(Algorithm algorithm, std::string_view label, std::uint32_t bits) {
  const Result<KeyInfo> key = engine().generate(
      {.label = label, .algorithm = algorithm, .bits = bits, .placement = {}, .software_key = true, .options = {}});
  if (!key) {
    ADD_FAILURE() << key.error().text();
    return "";
  }
  remember(*from_hex(key->id));
  return key->id;
}

std::string Contract::make_key_in(std::size_t slot, Algorithm algorithm, std::string_view label) {
  const PlacementConfig placement{.kind = Placement::kSlots, .quorum = 0, .slots = {slot_name(slot)}};
  const Result<KeyInfo> key = engine().generate({.label = label,
                                                 .algorithm = algorithm,
                                                 .bits = 0,
                                                 .placement = placement,
                                                 .software_key = false,
                                                 .options = {}});
  if (!key) {
    ADD_FAILURE() << key.error().text();
    return "";
  }
  remember(*from_hex(key->id));
  return key->id;
}

void Contract::import_key(std::size_t slot, const AlgorithmSpec& spec, const SoftwareKey& key, const Bytes& id,
                          std::string_view label) {
  remember(id);
  Session own = session(slot);
  const auto made = import_into_token(
      own, {.spec = &spec, .bits = spec.key_bits_default, .id = id, .label = label, .token_object = true}, key);
  EXPECT_TRUE(made.has_value()) << why(made);
}

std::shared_ptr<Module> Contract::module() const {
  Result<std::shared_ptr<Module>> module = Module::load({.name = "test",
                                                         .path = tokens_->module_path(),
                                                         .environment = config().modules.front().environment,
                                                         .init_args = {},
                                                         .init_timeout = std::chrono::seconds(30),
                                                         .set_environment = false});
  if (module) return *module;
  ADD_FAILURE() << module.error().text();
  std::abort();
}

bool Contract::offered(CK_MECHANISM_TYPE type) const {
  const auto offers = read_mechanisms(*module(), slot_id(0), slot_name(0));
  return offers && std::ranges::find(*offers, type, &MechanismOffer::type) != offers->end();
}

Session Contract::session(std::size_t slot) const {
  Result<Session> opened =
      Session::open(module(), slot_id(slot), std::make_shared<const std::string>(slot_name(slot)), true);
  if (opened) return std::move(*opened);
  ADD_FAILURE() << opened.error().text();
  std::abort();
}

std::string Contract::recipe(std::size_t slot, Algorithm algorithm) {
  const std::vector<SlotReport> reports = engine().slots();
  for (const AlgorithmOnSlot& each : reports.at(slot).algorithms) {
    if (each.algorithm == spec_of(algorithm).name) return std::string(each.recipe);
  }
  return "not probed";
}

std::string Contract::recipe_reason(std::size_t slot, Algorithm algorithm) {
  const std::vector<SlotReport> reports = engine().slots();
  for (const AlgorithmOnSlot& each : reports.at(slot).algorithms) {
    if (each.algorithm == spec_of(algorithm).name) return each.reason;
  }
  return "not probed";
}

Result<Bytes> Contract::sign(KeyName key, const Bytes& message, RequestOptions options) {
  return engine().sign({.key = key,
                        .algorithm = Algorithm::kEcdsaP256Sha256,
                        .message = message,
                        .prehashed = false,
                        .options = options});
}

Result<Bytes> Contract::encrypt(KeyName key, Algorithm algorithm, const Bytes& plaintext) {
  return engine().encrypt({.key = key, .algorithm = algorithm, .plaintext = plaintext, .aad = {}, .options = {}});
}

Result<Bytes> Contract::decrypt(KeyName key, Algorithm algorithm, const Bytes& ciphertext) {
  return engine().decrypt(
      {.key = key, .algorithm = algorithm, .ciphertext = ciphertext, .aad = {}, .bound_to = {}, .options = {}});
}

bool Contract::verifies(KeyName key, const Bytes& message, const Bytes& signature) {
  return engine()
      .verify({.key = key,
               .algorithm = Algorithm::kEcdsaP256Sha256,
               .message = message,
               .prehashed = false,
               .signature = signature,
               .options = {}})
      .has_value();
}

std::string Contract::picture() {
  std::string text;
  for (const SlotReport& slot : engine().slots()) {
    text += fmt::format("{}: {}, epoch {}, {} discarded\n", slot.name, slot_state_name(slot.stats.state),
                        slot.stats.epoch, slot.stats.sessions.discarded);
  }
  const auto keys = engine().list_keys();
  if (!keys) return text + keys.error().text();
  for (const KeyInfo& key : *keys) {
    text += fmt::format("{} {} {} in {}\n", key.id, key.label, key.kind, fmt::join(key.slots, " "));
  }
  return text;
}

} // namespace hsmux
