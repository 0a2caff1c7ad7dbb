#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "engine/engine_core.h"
#include "mechanisms/cross_check.h"
#include "mechanisms/envelope.h"
#include "mechanisms/spki.h"

namespace hsmux {
namespace {

// The digest that goes to the token, made before a session is taken; empty where the token gets the whole message.
class Digested {
public:
  static Result<Digested> of(const AlgorithmSpec& spec, ByteView message, bool prehashed) {
    Digested result;
    if (!spec.hash && prehashed) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("{} signs whole messages: give the message instead of its digest", spec.name));
    }
    if (prehashed) {
      if (message.size() != hash_bytes(*spec.hash)) {
        return fail(ErrorKind::kInvalidArgument, fmt::format("a digest for {} has {} bytes, not {}", spec.name,
                                                             hash_bytes(*spec.hash), message.size()));
      }
      result.size_ = message.size();
      std::ranges::copy(message, result.bytes_.begin());
      return result;
    }
    if (message.size() > spec.input_bytes_max) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("the message has {} bytes; {} takes at most {}",
                                                           message.size(), spec.name, spec.input_bytes_max));
    }
    if (!spec.hash) return result;
    HSMUX_TRY(result.size_, digest(*spec.hash, message, result.bytes_));
    return result;
  }
  [[nodiscard]] ByteView view() const { return ByteView(bytes_).first(size_); }

private:
  std::array<std::uint8_t, 64> bytes_{};
  std::size_t size_ = 0;
};

Status check_room(std::size_t needed, std::size_t given) {
  if (given >= needed) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("the output buffer has {} bytes; {} are needed", given, needed));
}

Status check_plaintext(const AlgorithmSpec& spec, std::size_t size, std::size_t max) {
  if (size <= max) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("the plaintext has {} bytes; {} takes at most {} with this key", size, spec.name, max));
}

template <class Fill> Result<Bytes> filled(std::size_t size, Fill fill) {
  Bytes out(size);
  HSMUX_TRY(const std::size_t written, fill(std::span<std::uint8_t>(out)));
  out.resize(written);
  return out;
}

std::size_t modulus_bytes(const Key& key) { return (key.info.bits + 7) / 8; }

} // namespace

Result<std::unique_ptr<Engine>> Engine::open(Config config, EngineOptions options) {
  auto core = std::make_shared<Core>(std::move(config), std::move(options));
  std::unique_ptr<Engine> engine(new Engine(core));
  HSMUX_CHECK(core->open());
  return engine;
}

Engine::~Engine() {
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
    return key_family(spec.key) == KeyFamily::kRsa ? spec.key_bits_max / 8
                                                   : envelope_bytes(kEnvelopeIdBytesMax, input_bytes);
  }
  return 0;
}

Result<std::size_t> Engine::sign(const SignRequest& request, std::span<std::uint8_t> out) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  const Deadline deadline = core_->deadline_of(request.options);
  HSMUX_TRY(const Core::Target target, core_->target(request.key, spec, Operation::kSign, request.options, deadline));
  HSMUX_CHECK(check_room(signature_bytes_max(spec), out.size()));
  HSMUX_TRY(const Digested digested, Digested::of(spec, request.message, request.prehashed));
  const SignInput input{.message = request.message, .digest = digested.view(), .has_message = !request.prehashed};
  const auto attempt = [&](const RecipeSpec& recipe, const Quirks&, Session& session, ObjectHandle handle) {
    return run_sign(spec, recipe, session, handle, input, out);
  };
  return core_->runner.run({*target.key, spec, Operation::kSign, target.slots, deadline}, std::ref(attempt));
}

Result<std::size_t> Engine::decrypt(const DecryptRequest& request, std::span<std::uint8_t> out) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  const Deadline deadline = core_->deadline_of(request.options);
  HSMUX_TRY(const Core::Target target,
            core_->target(request.key, spec, Operation::kDecrypt, request.options, deadline));
  CipherInput input{.data = request.ciphertext, .aad = request.aad, .key_id = target.key->id, .modulus_bytes = 0};
  if (key_family(spec.key) == KeyFamily::kRsa) {
    input.modulus_bytes = modulus_bytes(*target.key);
    if (request.ciphertext.size() != input.modulus_bytes) return fail(decrypt_failed());
    HSMUX_CHECK(check_room(plaintext_bytes_max(spec, input), out.size()));
  } else {
    const std::size_t max = envelope_bytes(kEnvelopeIdBytesMax, spec.input_bytes_max);
    if (request.ciphertext.size() > max) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("the ciphertext has {} bytes; {} takes at most {}",
                                                           request.ciphertext.size(), spec.name, max));
    }
    HSMUX_TRY(const EnvelopeView envelope, parse_envelope(request.ciphertext));
    if (request.bound_to) input.key_id = *request.bound_to;
    // The envelope's header is public: naming another key is a mix-up, which deserves its own answer.
    if (!std::ranges::equal(envelope.key_id, input.key_id)) {
      return fail(ErrorKind::kKeyUnusable,
                  fmt::format("the ciphertext was made with the key of id {}, not with id {}; after a migration, give "
                              "the old id as bound_to",
                              to_hex(envelope.key_id), to_hex(input.key_id)));
    }
    HSMUX_CHECK(check_room(envelope.ciphertext_and_tag.size() - kTagBytes, out.size()));
  }
  const auto attempt = [&](const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle handle) {
    return run_decrypt(recipe, quirks, session, handle, input, out);
  };
  return core_->runner.run({*target.key, spec, Operation::kDecrypt, target.slots, deadline}, std::ref(attempt));
}

Result<std::size_t> Engine::encrypt(const EncryptRequest& request, std::span<std::uint8_t> out) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  if (key_family(spec.key) == KeyFamily::kRsa) {
    HSMUX_TRY(const Bytes spki, core_->public_half(request.key, &spec, request.options));
    HSMUX_TRY(const PublicKeyFacts facts, describe_spki(spki));
    HSMUX_CHECK(check_plaintext(spec, request.plaintext.size(), facts.bits / 8 - 66));
    HSMUX_TRY(const Bytes ciphertext, rsa_oaep_sha256_encrypt(spki, request.plaintext));
    HSMUX_CHECK(check_room(ciphertext.size(), out.size()));
    std::ranges::copy(ciphertext, out.begin());
    return ciphertext.size();
  }
  const Deadline deadline = core_->deadline_of(request.options);
  HSMUX_TRY(const Core::Target target,
            core_->target(request.key, spec, Operation::kEncrypt, request.options, deadline));
  HSMUX_CHECK(check_plaintext(spec, request.plaintext.size(), spec.input_bytes_max));
  const CipherInput input{.data = request.plaintext, .aad = request.aad, .key_id = target.key->id};
  HSMUX_CHECK(check_room(ciphertext_bytes(spec, input), out.size()));
  switch (target.key->gcm_usage->use()) {
  case GcmUsage::Verdict::kFine: break;
  case GcmUsage::Verdict::kWarn:
    core_->log(LogLevel::kWarning, fmt::format("key id {}: 2^31 AES-GCM encryptions in this process; from 2^32 on they "
                                               "are refused (NIST SP 800-38D, 8.3): rotate the key",
                                               target.key->info.id));
    break;
  case GcmUsage::Verdict::kExhausted:
    return fail(ErrorKind::kKeyUnusable, fmt::format("key id {} has made 2^32 AES-GCM encryptions in this process, the "
                                                     "limit for random IVs (NIST SP 800-38D, 8.3): rotate the key",
                                                     target.key->info.id));
  }
  const auto attempt = [&](const RecipeSpec& recipe, const Quirks& quirks, Session& session, ObjectHandle handle) {
    return run_encrypt(recipe, quirks, session, handle, input, out);
  };
  return core_->runner.run({*target.key, spec, Operation::kEncrypt, target.slots, deadline}, std::ref(attempt));
}

Result<Bytes> Engine::sign(const SignRequest& request) {
  return filled(output_bytes_max(request.algorithm, Operation::kSign, request.message.size()),
                [&](std::span<std::uint8_t> out) { return sign(request, out); });
}

Result<Bytes> Engine::decrypt(const DecryptRequest& request) {
  return filled(output_bytes_max(request.algorithm, Operation::kDecrypt, request.ciphertext.size()),
                [&](std::span<std::uint8_t> out) { return decrypt(request, out); });
}

Result<Bytes> Engine::encrypt(const EncryptRequest& request) {
  // Before the buffer is made: its size comes from the caller.
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  HSMUX_CHECK(check_plaintext(spec, request.plaintext.size(), spec.input_bytes_max));
  return filled(output_bytes_max(request.algorithm, Operation::kEncrypt, request.plaintext.size()),
                [&](std::span<std::uint8_t> out) { return encrypt(request, out); });
}

Status Engine::verify(const VerifyRequest& request) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  const AlgorithmSpec& spec = spec_of(request.algorithm);
  if (!spec.signs) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("{} makes no signatures to verify", spec.name));
  }
  HSMUX_TRY(const Bytes spki, core_->public_half(request.key, &spec, request.options));
  HSMUX_TRY(const Digested digested, Digested::of(spec, request.message, request.prehashed));
  return verify_signature(spec, spki, request.message, digested.view(), request.signature);
}

Status Engine::random(std::span<std::uint8_t> out, const RequestOptions& options) {
  constexpr std::size_t kRandomBytesMax = 65'536;
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  if (out.size() > kRandomBytesMax) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("at most {} random bytes at once", kRandomBytesMax));
  }
  SlotSet slots = core_->group.router.all();
  if (!options.slot.empty()) {
    HSMUX_TRY(const std::size_t only, core_->group.find(options.slot));
    slots = slot_bit(only);
  }
  return core_->runner.run_plain(slots, core_->deadline_of(options),
                                 [&](Session& session) { return session.random(out); });
}

Result<KeyInfo> Engine::generate(const GenerateRequest& request) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  Result<KeyInfo> info = core_->management.generate(request, core_->generation_deadline(request.options));
  if (info && info->software_key) {
    core_->log(
        LogLevel::kWarning,
        fmt::format("key '{}' (id {}) was made in software and imported: for development only", info->label, info->id));
  }
  return info;
}

Result<std::vector<KeyInfo>> Engine::list_keys(std::string_view name, const RequestOptions& options) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->management.list(name, options.slot, core_->deadline_of(options));
}

Result<KeyInfo> Engine::find_key(KeyName name, const RequestOptions& options) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  HSMUX_TRY(const std::shared_ptr<const Key> key, core_->index.find(name, core_->deadline_of(options)));
  return key->info;
}

Result<Bytes> Engine::public_key(KeyName name, const RequestOptions& options) {
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
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  return core_->management.remove(name, core_->deadline_of(options));
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

std::vector<SlotReport> Engine::slots(bool probe_all) {
  std::vector<SlotReport> reports;
  const Core::Call call(*core_);
  if (!call.admitted) return reports;
  for (std::size_t i = 0; i < core_->group.slots.size(); ++i) {
    const Slot& slot = *core_->group.slots[i];
    const SlotTraffic traffic = core_->group.router.traffic(i);
    SlotReport report{.name = slot.name(),
                      .module_path = slot.module().path(),
                      .module_description = slot.module().info().description,
                      .quirks = std::string(quirks_of(slot.token()).name),
                      .locks = slot.module().locks(),
                      .token = slot.token(),
                      .stats = slot.stats(),
                      .weight = slot.options().weight,
                      .sessions_configured_max = slot.options().sessions_max,
                      .in_flight = traffic.in_flight,
                      .concurrency = traffic.concurrency,
                      .mechanisms = {},
                      .algorithms = {}};
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
    reports.push_back(std::move(report));
  }
  return reports;
}

Status Engine::unlatch(std::string_view slot) {
  const Core::Call call(*core_);
  HSMUX_CHECK(call.admitted);
  HSMUX_TRY(const std::size_t index, core_->group.find(slot));
  core_->group.slots[index]->unlatch();
  return {};
}

} // namespace hsmux
