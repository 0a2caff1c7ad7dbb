#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "engine/admin.h"
#include "engine/admin_commands.h"
#include "engine/engine_core.h"
#include "engine/key_audit.h"
#include "mechanisms/cross_check.h"
#include "mechanisms/ecies.h"
#include "mechanisms/envelope.h"
#include "mechanisms/secure_bytes.h"
#include "mechanisms/spki.h"

namespace hsmux {
namespace {

Status check_room(std::size_t needed, std::size_t given) {
  if (given >= needed) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("the output buffer has {} bytes; {} are needed", given, needed));
}

// `result` may be a plaintext: no copy of it stays behind.
Result<std::size_t> into(std::span<std::uint8_t> out, Result<Bytes> result) {
  if (!result) return fail(std::move(result).error());
  const std::size_t size = result->size();
  const Status room = check_room(size, out.size());
  if (room) std::ranges::copy(*result, out.begin());
  wipe(*result);
  if (!room) return fail(room.error());
  return size;
}

template <class Fill> Result<Bytes> filled(std::size_t size, Fill fill) {
  Bytes out(size);
  HSMUX_TRY(const std::size_t written, fill(std::span<std::uint8_t>(out)));
  out.resize(written);
  return out;
}

} // namespace

Result<std::unique_ptr<Engine>> Engine::open(Config config, EngineOptions options) {
  auto core = std::make_shared<Core>(std::move(config), std::move(options));
  std::unique_ptr<Engine> engine(new Engine(core));
  HSMUX_CHECK(core->open());
  if (core->config.admin.socket) {
    HSMUX_TRY(engine->admin_,
              AdminSocket::open(*core->config.admin.socket,
                                [raw = engine.get()](std::string_view line) { return answer_admin(*raw, line); }));
  }
  return engine;
}

Engine::Engine(std::shared_ptr<Core> core) : core_(std::move(core)) {}

Engine::~Engine() {
  // In a fork's child its thread is not there to be ended.
  if (core_->forked()) {
    (void)admin_.release();
  } else {
    admin_.reset();
  }
  // What did not end is left behind: a thread inside the vendor's code may still write to its memory.
  if (!close(Deadline::after(std::chrono::seconds(5)))) new std::shared_ptr<Core>(std::move(core_));
}

bool Engine::close(Deadline deadline) { return core_->close(deadline); }

std::size_t Engine::output_bytes_max(Algorithm algorithm, Operation operation, std::size_t input_bytes) {
  const AlgorithmSpec& spec = spec_of(algorithm);
  switch (operation) {
  case Operation::kSign: return signature_bytes_max(spec);
  case Operation::kDecrypt: return input_bytes;
  case Operation::kEncrypt:
    if (key_family(spec.key) == KeyFamily::kRsa) return spec.key_bits_max / 8;
    // Longer input is refused; a sum with it could wrap.
    input_bytes = std::min<std::size_t>(input_bytes, spec.input_bytes_max);
    return spec.agrees ? ecies_bytes(input_bytes) : envelope_bytes(kEnvelopeIdBytesMax, input_bytes);
  }
  return 0;
}

// --- cryptography ---

Result<std::size_t> Engine::sign(const SignRequest& request, std::span<std::uint8_t> out) {
  if (request.options.hard) return into(out, sign(request));
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->told(Operation::kSign, request.algorithm, [&]() -> Result<std::size_t> {
    Work work;
    HSMUX_CHECK(core_->begin(work, request.key, request.algorithm, Operation::kSign, request.options));
    HSMUX_CHECK(core_->prepare(work, request.message, {}, {}, request.prehashed));
    HSMUX_CHECK(check_room(work.output_bytes_max, out.size()));
    return core_->runner.run(work, out);
  });
}

Result<std::size_t> Engine::decrypt(const DecryptRequest& request, std::span<std::uint8_t> out) {
  if (request.options.hard) return into(out, decrypt(request));
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->told(Operation::kDecrypt, request.algorithm, [&]() -> Result<std::size_t> {
    Work work;
    HSMUX_CHECK(core_->begin(work, request.key, request.algorithm, Operation::kDecrypt, request.options));
    const ByteView bound_to = request.bound_to ? ByteView(*request.bound_to) : ByteView();
    HSMUX_CHECK(core_->prepare(work, request.ciphertext, request.aad, bound_to, false));
    HSMUX_CHECK(check_room(work.output_bytes_max, out.size()));
    return core_->runner.run(work, out);
  });
}

Result<std::size_t> Engine::encrypt(const EncryptRequest& request, std::span<std::uint8_t> out) {
  if (request.options.hard || encrypts_on_host(spec_of(request.algorithm))) return into(out, encrypt(request));
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->told(Operation::kEncrypt, request.algorithm, [&]() -> Result<std::size_t> {
    Work work;
    HSMUX_CHECK(core_->begin(work, request.key, request.algorithm, Operation::kEncrypt, request.options));
    HSMUX_CHECK(core_->prepare(work, request.plaintext, request.aad, {}, false));
    HSMUX_CHECK(check_room(work.output_bytes_max, out.size()));
    return core_->runner.run(work, out);
  });
}

Result<Bytes> Engine::sign(const SignRequest& request) {
  if (request.options.hard) return wait_for<Bytes>(request);
  return filled(output_bytes_max(request.algorithm, Operation::kSign, request.message.size()),
                [&](std::span<std::uint8_t> out) { return sign(request, out); });
}

Result<Bytes> Engine::decrypt(const DecryptRequest& request) {
  if (request.options.hard) return wait_for<Bytes>(request);
  return filled(output_bytes_max(request.algorithm, Operation::kDecrypt, request.ciphertext.size()),
                [&](std::span<std::uint8_t> out) { return decrypt(request, out); });
}

Result<Bytes> Engine::encrypt(const EncryptRequest& request) {
  if (request.options.hard) return wait_for<Bytes>(request);
  if (encrypts_on_host(spec_of(request.algorithm))) {
    const Core::Call call(*core_);
    HSMUX_CHECK(call.admitted);
    return core_->encrypt_on_host(request);
  }
  // Before the buffer is made: its size comes from the caller.
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  HSMUX_CHECK(check_plaintext(spec, request.plaintext.size(), spec.input_bytes_max));
  return filled(output_bytes_max(request.algorithm, Operation::kEncrypt, request.plaintext.size()),
                [&](std::span<std::uint8_t> out) { return encrypt(request, out); });
}

Status Engine::verify(const VerifyRequest& request) {
  if (request.options.hard) return wait_for<void>(request);
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->verify(request);
}

Status Engine::random(std::span<std::uint8_t> out, const RequestOptions& options) {
  HSMUX_CHECK(check_random(out.size()));
  if (options.hard) {
    HSMUX_CHECK(into(out, wait_for<Bytes>(RandomRequest{.bytes = out.size(), .options = options})));
    return {};
  }
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->random(out, options);
}

// --- keys ---

Result<KeyInfo> Engine::generate(const GenerateRequest& request) {
  if (request.options.hard) return wait_for<KeyInfo>(request);
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->generate(request);
}

Result<KeyInfo> Engine::replicate(const ReplicateRequest& request) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->audited("key-replicate", request.key, {},
                        core_->management.replicate(request, core_->generation_deadline(request.options)));
}

Result<KeyInfo> Engine::import_key(const ImportRequest& request) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->audited("key-import", request.label, spec_of(request.algorithm).name,
                        core_->management.import(request, core_->generation_deadline(request.options)));
}

Result<AuditReport> Engine::audit_keys(const AuditRequest& request) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  Result<AuditReport> report =
      hsmux::audit_keys(core_->group, core_->index, request.name, core_->generation_deadline(request.options));
  AuditRecord record{.event = "key-audit", .key = std::string(request.name)};
  if (report) {
    record.detail = fmt::format("{} keys, {} findings", report->keys.size(), findings_of(*report));
  } else {
    record.error = report.error();
  }
  core_->audit->write(record);
  return report;
}

Result<std::vector<KeyInfo>> Engine::list_keys(std::string_view name, const RequestOptions& options) {
  if (options.hard) return wait_for<std::vector<KeyInfo>>(ListKeysRequest{.name = name, .options = options});
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->management.list(name, options.slot, core_->deadline_of(options));
}

Result<KeyInfo> Engine::find_key(KeyName name, const RequestOptions& options) {
  if (options.hard) return wait_for<KeyInfo>(FindKeyRequest{.key = name, .options = options});
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->find_key(name, options);
}

Result<Bytes> Engine::public_key(KeyName name, const RequestOptions& options) {
  if (options.hard) return wait_for<Bytes>(PublicKeyRequest{.key = name, .options = options});
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->public_half(name, nullptr, options);
}

Result<bool> Engine::exists(KeyName name, const RequestOptions& options) {
  Result<KeyInfo> info = find_key(name, options);
  if (info) return true;
  if (info.error().kind == ErrorKind::kKeyNotFound) return false;
  return fail(std::move(info).error());
}

Result<KeyInfo> Engine::delete_key(KeyName name, const RequestOptions& options) {
  if (options.hard) return wait_for<KeyInfo>(DeleteKeyRequest{.key = name, .options = options});
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->remove_key(name, core_->deadline_of(options));
}

Status Engine::cross_check(Algorithm algorithm, const RequestOptions& options) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  HSMUX_TRY(const std::size_t slot, core_->group.find(options.slot));
  const AlgorithmSpec& spec = spec_of(algorithm);
  return core_->group.with_session_again(slot, core_->generation_deadline(options), [&](Lease& lease) -> Status {
    SlotRecipes& recipes = core_->group.recipes[slot];
    HSMUX_TRY(const RecipeChoice* choice, recipes.get(spec, *core_->group.slots[slot], lease));
    if (choice->recipe == nullptr) return fail(ErrorKind::kUnsupported, choice->reason);
    return hsmux::cross_check(spec, *choice->recipe, recipes.quirks(), *lease);
  });
}

std::vector<SlotReport> Engine::slots_now() const {
  std::vector<SlotReport> reports;
  const Core::Call call(*core_);
  if (!call.admitted) return reports;
  for (std::size_t i = 0; i < core_->group.slots.size(); ++i) {
    const Slot& slot = *core_->group.slots[i];
    const SlotTraffic traffic = core_->group.router.traffic(i);
    reports.push_back({.name = slot.name(),
                       .module_path = slot.module().path(),
                       .module_description = slot.module().info().description,
                       .quirks = std::string(quirks_of(slot.token(), slot.module().path()).name),
                       .locks = slot.module().locks(),
                       .token = slot.token(),
                       .stats = slot.stats(),
                       .weight = slot.options().weight,
                       .sessions_configured_max = slot.options().sessions_max,
                       .in_flight = traffic.in_flight,
                       .concurrency = traffic.concurrency,
                       .overdue = traffic.overdue,
                       .mechanisms = {},
                       .algorithms = {}});
    for (const AlgorithmSpec& spec : spec_table()) {
      const RecipeChoice* choice = core_->group.recipes[i].known(spec);
      if (choice == nullptr || choice->recipe == nullptr) continue;
      reports.back().algorithms.push_back({.algorithm = spec.name, .recipe = choice->recipe->name, .reason = {}});
    }
  }
  return reports;
}

std::vector<SlotReport> Engine::slots(bool probe_all) {
  std::vector<SlotReport> reports = slots_now();
  const Core::Call call(*core_);
  if (!call.admitted) return {};
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const Slot& slot = *core_->group.slots[i];
    SlotReport& report = reports[i];
    report.algorithms.clear();
    if (slot.ready()) {
      if (auto offers = read_mechanisms(slot.module(), report.token.slot_id, slot.name())) {
        report.mechanisms = std::move(*offers);
      }
    }
    for (const AlgorithmSpec& spec : spec_table()) {
      if (probe_all && slot.ready()) core_->try_recipes_of(spec, i);
      const RecipeChoice* choice = core_->group.recipes[i].known(spec);
      if (choice == nullptr) continue;
      report.algorithms.push_back(
          {spec.name, choice->recipe == nullptr ? std::string_view() : choice->recipe->name, choice->reason});
    }
  }
  return reports;
}

const Config& Engine::config() const { return core_->config; }

WorkStats Engine::work() const {
  if (core_->forked()) return {};
  const Workers::Stats stats = core_->workers.stats();
  return {.submitted = core_->submitted,
          .waiting = core_->group.router.waiting(),
          .threads = stats.threads,
          .idle = stats.idle,
          .quarantined = stats.stuck};
}

EngineHealth Engine::health() const {
  // Locks that the parent held are held for ever in the child.
  if (core_->forked()) return unusable(HealthLevel::kFatal, "this process is a fork of the one that opened the engine");
  const Core::Call call(*core_);
  if (!call.admitted) return unusable(HealthLevel::kFailed, "the engine is closed");
  std::vector<SlotCondition> slots;
  for (const auto& slot : core_->group.slots) slots.push_back(condition_of(slot->name(), slot->stats()));
  return judge(std::move(slots));
}

bool Engine::forked() const { return core_->forked(); }

Status Engine::unlatch(std::string_view slot) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  HSMUX_TRY(const std::size_t index, core_->group.find(slot));
  core_->group.slots[index]->unlatch();
  core_->audit->write({.event = "slot-unlatch", .slot = std::string(slot)});
  return {};
}

Status Engine::drain(std::string_view slot, bool on) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  HSMUX_TRY(const std::size_t index, core_->group.find(slot));
  core_->group.slots[index]->drain(on);
  core_->audit->write({.event = on ? "slot-drain" : "slot-undrain", .slot = std::string(slot)});
  return {};
}

Status Engine::reload() {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  core_->index.clear();
  for (const auto& slot : core_->group.slots) slot->connect_now();
  core_->audit->write({.event = "reload"});
  return {};
}

} // namespace hsmux
