// hsmux's front door: keys by name, spread over the configured slots; any number of threads. Blocking calls work on the
// caller's thread, which is fastest: while a module's own call runs it is not interrupted, so that their deadlines
// bound waiting and retries and not the vendor's code. Submitted work (and blocking calls with RequestOptions::hard)
// runs on threads of the engine and is given up on when the vendor's code does not return.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/health.h"
#include "engine/log.h"
#include "engine/request.h"
#include "metrics/events.h"

namespace hsmux {

struct EngineOptions {
  EventSink events;
  LogSink log;
  // Set the modules' environment variables before they are loaded: only for a program of its own (slots/module.h).
  bool set_module_environment = false;
  // Finalise a module and initialise it again when none of its tokens comes back otherwise: only for a program of its
  // own, in which no other code uses PKCS#11. Where a module was finalised by somebody else it is initialised again in
  // any case.
  bool restart_modules = false;
  // How many slots must be ready for open() to succeed; 0 = all. The others are tried again in the background.
  std::size_t slots_at_start_min = 0;
  bool slots_may_be_down = false; // open() succeeds even when none is ready, whatever slots_at_start_min says
  std::chrono::milliseconds connect_timeout{30'000};
};

class AdminSocket; // engine/admin.h

class Engine {
public:
  // Loads the modules, connects the slots (all at once) and tries the recipes of the configured algorithms. Errors:
  // kInvalidConfig, kModule, kCredentials, kUnavailable, kTimeout, each naming module or slot.
  static Result<std::unique_ptr<Engine>> open(Config config, EngineOptions options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Results go into `out`, which must have room for the largest possible result (output_bytes_max); the number of bytes
  // is returned. The forms without `out` allocate.
  Result<std::size_t> sign(const SignRequest& request, std::span<std::uint8_t> out);
  Result<Bytes> sign(const SignRequest& request);
  Result<std::size_t> decrypt(const DecryptRequest& request, std::span<std::uint8_t> out);
  Result<Bytes> decrypt(const DecryptRequest& request);
  Result<std::size_t> encrypt(const EncryptRequest& request, std::span<std::uint8_t> out);
  Result<Bytes> encrypt(const EncryptRequest& request);
  // kSignatureInvalid when the signature does not belong to message and key.
  Status verify(const VerifyRequest& request);
  // From a slot's random generator.
  Status random(std::span<std::uint8_t> out, const RequestOptions& options = {});

  // A bound for `out`: signature size, input size (decrypt), or input size and envelope (encrypt).
  static std::size_t output_bytes_max(Algorithm algorithm, Operation operation, std::size_t input_bytes);

  // Into several slots by wrapping, whole or not at all (engine/replicate.h). What a run of a process that crashed left
  // is cleared first.
  Result<KeyInfo> generate(const GenerateRequest& request);
  Result<KeyInfo> replicate(const ReplicateRequest& request);
  Result<KeyInfo> import_key(const ImportRequest& request);
  // Proves by one use of each replica that it is the same key, and reads what a security officer asks for. Changes
  // nothing.
  Result<AuditReport> audit_keys(const AuditRequest& request = {});
  Result<std::vector<KeyInfo>> list_keys(std::string_view name = {}, const RequestOptions& options = {});
  Result<KeyInfo> find_key(KeyName name, const RequestOptions& options = {});
  // DER SubjectPublicKeyInfo (RFC 5280; EC points uncompressed). The same bytes each time and from each replica.
  Result<Bytes> public_key(KeyName name, const RequestOptions& options = {});
  Result<bool> exists(KeyName name, const RequestOptions& options = {});
  Result<KeyInfo> delete_key(KeyName name, const RequestOptions& options = {});

  // The token against OpenSSL with a key that both know, imported for a moment (mechanisms/cross_check.h). Error::call
  // tells a refused import (Call::kCreateObject) from a failing operation. kUnsupported: the slot has no recipe.
  Status cross_check(Algorithm algorithm, const RequestOptions& options);

  // --- submitted work ---
  // Inputs are copied before submit() returns. Where it returns a Job, `done` is called exactly once; where it returns
  // an error, never. Besides the errors of the blocking forms that can be known without waiting: kOverloaded (the
  // configuration's submit.in_flight_max, or what waits already takes longer than the deadline allows). Deadlines hold
  // even while the module does not return; an attempt that takes too long goes on in another slot, and its late result
  // is dropped. A generated key for which nobody waits any more is deleted. close() ends what is left with kClosed.
  Result<Job> submit(const SignRequest& request, Completion<Bytes> done);
  Result<Job> submit(const DecryptRequest& request, Completion<Bytes> done);
  Result<Job> submit(const EncryptRequest& request, Completion<Bytes> done);
  Result<Job> submit(const VerifyRequest& request, Completion<void> done);
  Result<Job> submit(const RandomRequest& request, Completion<Bytes> done);
  Result<Job> submit(const GenerateRequest& request, Completion<KeyInfo> done);
  Result<Job> submit(const FindKeyRequest& request, Completion<KeyInfo> done);
  Result<Job> submit(const PublicKeyRequest& request, Completion<Bytes> done);
  Result<Job> submit(const ListKeysRequest& request, Completion<std::vector<KeyInfo>> done);
  Result<Job> submit(const DeleteKeyRequest& request, Completion<KeyInfo> done);

  // All or none are taken; those that cannot go on later end by the completion. They start together.
  Result<std::vector<Job>> submit(std::span<const SignRequest> batch, const BatchCompletion& done);
  Result<std::vector<Job>> submit(std::span<const DecryptRequest> batch, const BatchCompletion& done);
  Result<std::vector<Job>> submit(std::span<const EncryptRequest> batch, const BatchCompletion& done);

  // The same with a future: engine.submit_for<Bytes>(request).result.get(). Not to be waited for in a completion.
  template <class T, class Request> Submitted<T> submit_for(const Request& request) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    Submitted<T> submitted{.job = {}, .result = promise->get_future()};
    Result<Job> job = submit(request, [promise](Result<T> result) { promise->set_value(std::move(result)); });
    if (job) {
      submitted.job = *job;
    } else {
      promise->set_value(std::unexpected(std::move(job).error()));
    }
    return submitted;
  }

  [[nodiscard]] const Config& config() const;
  // Inside of the completion of a submitted signature, decryption or encryption: how it went. Elsewhere nothing.
  [[nodiscard]] static std::optional<RequestStory> story();

  [[nodiscard]] WorkStats work() const;
  // In a child of the process that opened it: all requests end with kForked.
  [[nodiscard]] bool forked() const;

  // State of every slot, from memory; `probe_all` first tries the recipes of every algorithm on every slot that is up.
  std::vector<SlotReport> slots(bool probe_all = false);
  // The same without mechanisms, and of algorithms only which are known to work: without any call of the module, as
  // often as one likes.
  [[nodiscard]] std::vector<SlotReport> slots_now() const;
  // Answered from state, never by a call of the module: for health checks, as often as they like.
  [[nodiscard]] EngineHealth health() const;
  // An operator says that the PIN of a slot is right now.
  Status unlatch(std::string_view slot);
  // An operator wants no request on the slot (for its maintenance), or again: what runs there ends, what waits for it
  // alone is refused. Lasts as long as the engine.
  Status drain(std::string_view slot, bool on = true);

  // Keys are looked up anew at their next use, and slots that are down are tried at once. PINs from files and variables
  // are read at each login anyway; what else the configuration says is read when an engine is opened.
  Status reload();

  // No new request is taken; waiting ones end with kClosed; running ones get until `deadline`. False when the module
  // holds some for longer: they and all that they touch are left behind, and the completions of submitted ones run, for
  // which there is up to a second more. Later calls end with kClosed. Not from a completion. The destructor closes with
  // 5 s.
  bool close(Deadline deadline);

  struct Core; // engine/engine_core.h

private:
  explicit Engine(std::shared_ptr<Core> core);
  template <class T, class Request> Result<T> wait_for(const Request& request) {
    return submit_for<T>(request).result.get();
  }
  std::shared_ptr<Core> core_;
  std::unique_ptr<AdminSocket> admin_;
};

} // namespace hsmux
