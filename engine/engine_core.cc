#include "engine/engine_core.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "mechanisms/canary.h"
#include "mechanisms/spki.h"

namespace hsmux {
namespace {

SlotOptions slot_options(const SlotConfig& config) {
  return {.name = config.name,
          .selector = config.selector,
          .pin = config.pin,
          .allow_pin_count_low = config.allow_pin_count_low,
          .login_at_token = config.login_at_token,
          .sessions_min = config.sessions_min,
          .sessions_max = config.sessions_max,
          .weight = config.weight,
          .read_write = config.read_write,
          .session_copies = config.session_copies,
          .canary = {}};
}

Status check_algorithms(const Config& config) {
  for (const std::string& name : config.algorithms) {
    if (find_spec(name) != nullptr) continue;
    std::vector<std::string_view> known;
    for (const AlgorithmSpec& spec : spec_table()) known.push_back(spec.name);
    return fail(ErrorKind::kInvalidConfig,
                fmt::format("algorithms: '{}' is not known; known are {}", name, fmt::join(known, ", ")));
  }
  return {};
}

bool permitted(const KeyPurposes& purposes, const AlgorithmSpec& spec, Operation operation) {
  switch (operation) {
  case Operation::kSign: return purposes.sign;
  case Operation::kDecrypt: return spec.agrees ? purposes.derive : purposes.decrypt;
  case Operation::kEncrypt: return purposes.encrypt;
  }
  return false;
}

Status check_purpose(const Key& key, const AlgorithmSpec& spec, Operation operation) {
  if (permitted(key.info.purposes, spec, operation)) return {};
  return fail(ErrorKind::kKeyUnusable, fmt::format("key '{}' (id {}) does not permit to {} by {}: its attributes were "
                                                   "set when it was made",
                                                   key.info.label, key.info.id, operation_name(operation), spec.name));
}

Status check_kind(const Key& key, const AlgorithmSpec& spec) {
  if (key.kind && key_fits(spec, *key.kind, key.info.bits)) return {};
  if (key.kind != spec.key) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("key '{}' (id {}) is of kind {}, and {} needs a key of kind {}", key.info.label,
                            key.info.id, key.info.kind, spec.name, key_kind_name(spec.key)));
  }
  return fail(ErrorKind::kKeyUnusable, fmt::format("key '{}' (id {}) has {} bits, and {} takes {} to {} in steps of {}",
                                                   key.info.label, key.info.id, key.info.bits, spec.name,
                                                   spec.key_bits_min, spec.key_bits_max, spec.key_bits_step));
}

} // namespace

Engine::Core::Call::Call(Core& core) : core_(core) {
  if (core.forked()) [[unlikely]] {
    admitted = fail(ErrorKind::kForked, "this process is a fork of the one that opened the engine: open a new engine "
                                        "after exec(), PKCS#11 sessions do not survive fork()");
    return;
  }
  counted_ = true;
  if ((core.active.fetch_add(1) & kClosed) != 0) [[unlikely]]
    admitted = fail(ErrorKind::kClosed, "the engine is closed");
}

Engine::Core::Call::~Call() {
  if (counted_) core_.count_out(1);
}

void Engine::Core::count_out(std::uint32_t count) {
  const Parker::Word* word = &active;
  if (active.fetch_sub(count) == (kClosed | count)) [[unlikely]]
    Parker::wake_all(word);
}

void Engine::Core::tell_request(Operation operation, Algorithm algorithm, Duration took, const Error* error) const {
  if (!options.events) return;
  options.events({.kind = EventKind::kRequest,
                  .slot = {},
                  .rv = error == nullptr ? 0 : error->rv,
                  .algorithm = spec_of(algorithm).name,
                  .duration = took,
                  .status = error == nullptr ? ErrorKind{} : error->kind,
                  .operation = operation_name(operation)});
}

Status Engine::Core::take_jobs(std::uint32_t count) {
  active.fetch_add(count);
  if (submitted.fetch_add(count) + count <= config.submit.in_flight_max && !closed()) return {};
  const bool over = closed();
  submitted.fetch_sub(count);
  count_out(count);
  if (over) return fail(ErrorKind::kClosed, "the engine is closed");
  return fail(
      ErrorKind::kOverloaded,
      fmt::format("{} requests are submitted and not ended (submit.in_flight_max)", config.submit.in_flight_max),
      Retry::kLater);
}

void Engine::Core::job_ended() {
  submitted.fetch_sub(1);
  count_out(1);
}

std::array<std::uint32_t, Workers::kLanes> Engine::Core::threads_max(const Config& config) {
  // More than sessions: a thread whose completion takes its time has none.
  constexpr std::uint32_t kErrandsMax = 16, kEndingsMax = 2, kLeasesMax = 4096, kCompletionsMax = 64;
  std::uint32_t sessions = 0;
  for (const SlotConfig& slot : config.slots) sessions += slot.sessions_max;
  return {std::min(sessions, kLeasesMax) + kCompletionsMax, kErrandsMax, kEndingsMax};
}

Deadline Engine::Core::deadline_of(const RequestOptions& options_) const {
  return options_.deadline ? *options_.deadline : Deadline::after(config.deadlines.operation);
}

Deadline Engine::Core::generation_deadline(const RequestOptions& options_) const {
  return options_.deadline ? *options_.deadline : Deadline::after(config.deadlines.key_generation);
}

Status Engine::Core::open() {
  HSMUX_CHECK(check_config(config));
  HSMUX_CHECK(check_algorithms(config));
  HSMUX_CHECK(open_audit());
  std::vector<std::shared_ptr<Module>> modules;
  for (const SlotConfig& slot : config.slots) {
    const auto module = std::ranges::find(config.modules, slot.module, &ModuleConfig::name);
    if (module == config.modules.end()) {
      return fail(ErrorKind::kInvalidConfig, fmt::format("slot {}: no module '{}'", slot.name, slot.module));
    }
    HSMUX_TRY(std::shared_ptr<Module> loaded, load_module(*module, options.set_module_environment));
    modules.push_back(std::move(loaded));
  }
  HSMUX_CHECK(connect(std::move(modules)));
  try_recipes();
  return {};
}

Status Engine::Core::open_audit() {
  const auto complain = [this](const std::string& text) { log(LogLevel::kError, text); };
  HSMUX_TRY(audit, Audit::open(config.audit, complain));
  audit->write({.event = "engine-opened"});
  return {};
}

EventSink Engine::Core::slot_events() {
  if (!audit->on()) return options.events;
  return [this](const Event& event) {
    audit->event(event);
    if (options.events) options.events(event);
  };
}

// All slots at once: one that answers slowly does not hold up the others.
Status Engine::Core::connect(std::vector<std::shared_ptr<Module>> modules) {
  const Deadline deadline = Deadline::after(options.connect_timeout);
  std::vector<Result<std::unique_ptr<Slot>>> opened(config.slots.size());
  {
    std::vector<std::jthread> openers;
    for (std::size_t i = 0; i < config.slots.size(); ++i) {
      openers.emplace_back([&, i] {
        SlotOptions wanted = slot_options(config.slots[i]);
        wanted.restart_module = options.restart_modules;
        wanted.canary = [this, i](Session& session) { return canary(i, session); };
        opened[i] = Slot::open(
            std::move(wanted), modules[i], slot_events(), [this, i] { group.router.capacity_freed(i); }, deadline,
            false);
      });
    }
  }
  std::size_t ready = 0;
  std::optional<Error> first;
  for (Result<std::unique_ptr<Slot>>& slot : opened) {
    if (!slot) return fail(std::move(slot).error());
    group.slots.push_back(std::move(*slot));
    Slot& added = *group.slots.back();
    const SlotConfig& slot_config = config.slots[group.slots.size() - 1];
    group.router.add(added, slot_config.concurrency_min,
                     slot_config.concurrency_max.value_or(slot_config.sessions_max));
    if (added.ready()) {
      ++ready;
      continue;
    }
    std::optional<Error> why = added.stats().last_error;
    if (!why) {
      why = make_error(ErrorKind::kTimeout, "the module did not let us connect to the token in time", Retry::kLater);
      why->slot = added.name();
    }
    log(LogLevel::kWarning, why->text());
    if (!first) first = std::move(why);
  }
  const std::size_t needed =
      options.slots_at_start_min == 0 ? group.slots.size() : std::min(options.slots_at_start_min, group.slots.size());
  if (ready < needed && !options.slots_may_be_down) return fail(std::move(*first));
  return {};
}

void Engine::Core::try_recipes() {
  const auto wanted = [&](const AlgorithmSpec& spec) {
    return config.algorithms.empty() || std::ranges::find(config.algorithms, spec.name) != config.algorithms.end();
  };
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < group.slots.size(); ++i) {
    if (!group.slots[i]->ready()) continue;
    threads.emplace_back([this, i, &wanted] {
      for (const AlgorithmSpec& spec : spec_table()) {
        if (wanted(spec)) try_recipes_of(spec, i);
      }
    });
  }
}

void Engine::Core::try_recipes_of(const AlgorithmSpec& spec, std::size_t slot) {
  // A failure here is not the engine's end: the first use tries again and tells.
  (void)group.with_session_again(slot, deadline_of({}), [&](Lease& lease) -> Status {
    HSMUX_CHECK(group.recipes[slot].get(spec, *group.slots[slot], lease));
    return {};
  });
}

// With a recipe that is known to work there: the first use of a slot is no canary's matter.
Status Engine::Core::canary(std::size_t slot, Session& session) const {
  for (const Algorithm algorithm : canary_algorithms()) {
    const AlgorithmSpec& spec = spec_of(algorithm);
    const RecipeChoice* choice = group.recipes[slot].known(spec);
    if (choice == nullptr || choice->recipe == nullptr) continue;
    return run_canary(session, &spec, choice->recipe, group.recipes[slot].quirks());
  }
  return run_canary(session, nullptr, nullptr, standard_quirks());
}

Result<SlotSet> Engine::Core::usable_slots(const Key& key, KeyName name, const AlgorithmSpec& spec, Operation operation,
                                           std::string_view only_slot) const {
  HSMUX_CHECK(check_kind(key, spec));
  HSMUX_CHECK(check_purpose(key, spec, operation));
  if (only_slot.empty()) return key.slots;
  HSMUX_TRY(const std::size_t only, group.find(only_slot));
  if ((key.slots & slot_bit(only)) != 0) return slot_bit(only);
  return fail(ErrorKind::kKeyNotFound, fmt::format("slot {} does not hold key '{}'; it is in {}", only_slot, name,
                                                   fmt::join(key.info.slots, ", ")));
}

Status Engine::Core::begin(Work& work, KeyName name, Algorithm algorithm, Operation operation,
                           const RequestOptions& options_) {
  work.spec = &spec_of(algorithm);
  work.operation = operation;
  work.deadline = deadline_of(options_);
  HSMUX_CHECK(check_operation(*work.spec, operation));
  const Status found = [&]() -> Status {
    HSMUX_TRY(work.key, index.find(name, work.deadline));
    HSMUX_TRY(work.eligible, usable_slots(*work.key, name, *work.spec, operation, options_.slot));
    return {};
  }();
  if (!found) audit->refused(operation_name(operation), name, work.spec->name, found.error());
  return found;
}

Status Engine::Core::prepare(Work& work, ByteView data, ByteView aad, ByteView bound_to, bool prehashed) const {
  switch (work.operation) {
  case Operation::kSign: return prepare_sign(work, data, prehashed);
  case Operation::kDecrypt: return prepare_decrypt(work, data, aad, bound_to);
  case Operation::kEncrypt: HSMUX_CHECK(prepare_encrypt(work, data, aad)); return count_encryption(*work.key);
  }
  return fail(ErrorKind::kInternal, "no such operation");
}

Status Engine::Core::count_encryption(const Key& key) const {
  switch (key.gcm_usage->use()) {
  case GcmUsage::Verdict::kFine: return {};
  case GcmUsage::Verdict::kWarn:
    log(LogLevel::kWarning, fmt::format("key id {}: 2^31 AES-GCM encryptions in this process; from 2^32 on they "
                                        "are refused (NIST SP 800-38D, 8.3): rotate the key",
                                        key.info.id));
    return {};
  case GcmUsage::Verdict::kExhausted: break;
  }
  return fail(ErrorKind::kKeyUnusable, fmt::format("key id {} has made 2^32 AES-GCM encryptions in this process, the "
                                                   "limit for random IVs (NIST SP 800-38D, 8.3): rotate the key",
                                                   key.info.id));
}

Result<Bytes> Engine::Core::encrypt_on_host(const EncryptRequest& request) {
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  HSMUX_TRY(const Bytes spki, public_half(request.key, &spec, request.options));
  HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
  const std::size_t max = spec.agrees ? spec.input_bytes_max : facts.bits / 8 - 66;
  HSMUX_CHECK(check_plaintext(spec, request.plaintext.size(), max));
  return hsmux::encrypt_on_host(spec, spki, request.plaintext);
}

Status Engine::Core::verify(const VerifyRequest& request) {
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  if (!spec.signs) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("{} makes no signatures to verify", spec.name));
  }
  HSMUX_TRY(const Bytes spki, public_half(request.key, &spec, request.options));
  Work work;
  work.spec = &spec;
  HSMUX_CHECK(prepare_digest(work, request.message, request.prehashed));
  return verify_signature(spec, spki, request.message, ByteView(work.digest).first(work.digest_bytes),
                          request.signature);
}

Status Engine::Core::random(std::span<std::uint8_t> out, const RequestOptions& options_) {
  SlotSet slots = group.router.all();
  if (!options_.slot.empty()) {
    HSMUX_TRY(const std::size_t only, group.find(options_.slot));
    slots = slot_bit(only);
  }
  return runner.run_plain(slots, deadline_of(options_), [&](Session& session) { return session.random(out); });
}

Result<KeyInfo> Engine::Core::audited(std::string_view event, std::string_view key, std::string_view algorithm,
                                      Result<KeyInfo> info) {
  AuditRecord record{.event = event, .key = std::string(key), .algorithm = algorithm};
  if (info) {
    record.key_id = info->id;
    record.slots = info->slots;
    if (info->software_key) record.detail = "made in software and imported: for development only";
  } else {
    record.error = info.error();
  }
  audit->write(record);
  return info;
}

Result<KeyInfo> Engine::Core::generate(const GenerateRequest& request) {
  Result<KeyInfo> info = audited("key-generate", request.label, spec_of(request.algorithm).name,
                                 management.generate(request, generation_deadline(request.options)));
  if (info && info->software_key) {
    log(LogLevel::kWarning,
        fmt::format("key '{}' (id {}) was made in software and imported: for development only", info->label, info->id));
  }
  return info;
}

void Engine::Core::tell_of(const LeftoverReport& found) {
  constexpr std::array<std::string_view, 3> kBecame{
      "is left alone: its owner may be at work, or not all slots are up",
      "was finished: it is the key that other slots have",
      "was removed",
  };
  const std::string_view became = kBecame.at(static_cast<std::size_t>(found.verdict));
  log(found.failure ? LogLevel::kWarning : LogLevel::kInfo,
      fmt::format("slot {}: key id {}, left unfinished by an earlier run, {}{}", found.slot, found.id, became,
                  found.failure ? ": " + found.failure->text() : ""));
  audit->write({.event = "key-leftover",
                .key_id = found.id,
                .slot = found.slot,
                .detail = std::string(became),
                .error = found.failure});
}

Result<KeyInfo> Engine::Core::remove_key(KeyName name, Deadline deadline) {
  return audited("key-delete", name, {}, management.remove(name, deadline));
}

Result<KeyInfo> Engine::Core::find_key(KeyName name, const RequestOptions& options_) {
  HSMUX_TRY(const std::shared_ptr<const Key> key, index.find(name, deadline_of(options_)));
  return key->info;
}

Result<Bytes> Engine::Core::public_half(KeyName name, const AlgorithmSpec* spec, const RequestOptions& options_) {
  HSMUX_TRY(const std::shared_ptr<const Key> key, index.find(name, deadline_of(options_)));
  if (spec != nullptr) HSMUX_CHECK(check_kind(*key, *spec));
  // What the private half could not decrypt is not encrypted.
  if (spec != nullptr && spec->decrypts && key->object_class == ObjectClass::kPrivateKey) {
    HSMUX_CHECK(check_purpose(*key, *spec, Operation::kDecrypt));
  }
  if (key->object_class == ObjectClass::kSecretKey) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("key '{}' is a secret key ({}) and has no public half", key->info.label, key->info.kind));
  }
  if (!key->spki) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("the token holds no public key object with id {}; import the public key with the vendor's "
                            "tool under the same CKA_ID",
                            key->info.id));
  }
  return *key->spki;
}

bool Engine::Core::close(Deadline deadline) {
  if (forked()) return false;
  active.fetch_or(kClosed);
  group.router.close();
  workers.expire_waiting(Workers::Lane::kErrands);
  const auto all_ended = [this](Deadline until) {
    while (true) {
      const std::uint32_t now = active;
      if (now == kClosed) return true;
      if (until.passed(MonotonicClock::now())) return false;
      Parker::wait_while(active, now, until.at());
    }
  };
  bool clean = all_ended(deadline);
  if (!clean) {
    // What was submitted ends all the same, and its completions run.
    constexpr Duration kCompletions = std::chrono::seconds(1);
    workers.give_up();
    workers.expire_waiting(Workers::Lane::kLeases);
    (void)all_ended(Deadline::after(kCompletions));
  }
  if (!workers.stop(clean ? deadline : Deadline(MonotonicClock::now()))) clean = false;
  for (const auto& slot : group.slots) {
    if (!slot->close(deadline)) clean = false;
  }
  if (audit) audit->write({.event = "engine-closed", .detail = clean ? "" : "calls are stuck in a module"});
  return clean;
}

} // namespace hsmux
