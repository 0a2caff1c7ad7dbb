// Engine's submitted forms: copies of the requests, as jobs.
#include <fmt/format.h>

#include <algorithm>

#include "engine/crypto_job.h"
#include "engine/engine.h"
#include "engine/errand.h"
#include "mechanisms/secure_bytes.h"

namespace hsmux {
namespace {

template <class Request> Result<Job> submit_crypto(Engine::Core& core, const Request& request, Completion<Bytes> done) {
  const Engine::Core::Call call(core);
  HSMUX_CHECK(call.admitted);
  const auto job =
      std::make_shared<CryptoJob>(core, CryptoOrder(request, core.deadline_of(request.options)), std::move(done));
  Status started = job->prepare();
  if (started) started = core.take_jobs(1);
  if (started) {
    started = job->start();
    if (!started) core.job_ended();
  }
  if (!started) {
    job->tell(&started.error());
    return fail(std::move(started).error());
  }
  return Job(std::weak_ptr<Cancellable>(job));
}

template <class Request>
Result<std::vector<Job>> submit_batch(Engine::Core& core, std::span<const Request> batch, const BatchCompletion& done) {
  const Engine::Core::Call call(core);
  HSMUX_CHECK(call.admitted);
  std::vector<std::shared_ptr<CryptoJob>> jobs;
  std::vector<Job> handles;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto& job =
        jobs.emplace_back(std::make_shared<CryptoJob>(core, CryptoOrder(batch[i], core.deadline_of(batch[i].options)),
                                                      [done, i](Result<Bytes> result) { done(i, std::move(result)); }));
    if (Status prepared = job->prepare(); !prepared) {
      job->tell(&prepared.error());
      prepared.error().message = fmt::format("request {} of the batch: {}", i, prepared.error().message);
      return fail(std::move(prepared).error());
    }
    handles.emplace_back(std::weak_ptr<Cancellable>(job));
  }
  if (Status taken = core.take_jobs(static_cast<std::uint32_t>(jobs.size())); !taken) {
    for (const auto& job : jobs) job->tell(&taken.error());
    return fail(std::move(taken).error());
  }
  const Workers::Batch together(core.workers);
  for (const auto& job : jobs) {
    if (Status started = job->start(); !started) job->refuse(std::move(started).error());
  }
  return handles;
}

template <class T>
Result<Job> submit_errand(Engine::Core& core, Deadline deadline, typename Errand<T>::Work work, Completion<T> done,
                          std::move_only_function<void(const Result<T>&)> undo = {}) {
  const Engine::Core::Call call(core);
  HSMUX_CHECK(call.admitted);
  HSMUX_CHECK(core.take_jobs(1));
  const auto errand = std::make_shared<Errand<T>>(core, deadline, std::move(work), std::move(done), std::move(undo));
  errand->start();
  return Job(std::weak_ptr<Cancellable>(errand));
}

} // namespace

Result<Job> Engine::submit(const SignRequest& request, Completion<Bytes> done) {
  return submit_crypto(*core_, request, std::move(done));
}

Result<Job> Engine::submit(const DecryptRequest& request, Completion<Bytes> done) {
  return submit_crypto(*core_, request, std::move(done));
}

Result<Job> Engine::submit(const EncryptRequest& request, Completion<Bytes> done) {
  if (!encrypts_on_host(spec_of(request.algorithm))) return submit_crypto(*core_, request, std::move(done));
  const Deadline deadline = core_->deadline_of(request.options);
  SecureBytes plaintext(request.plaintext.size());
  std::ranges::copy(request.plaintext, plaintext.span().begin());
  return submit_errand<Bytes>(
      *core_, deadline,
      [core = core_.get(), deadline, algorithm = request.algorithm, key = std::string(request.key),
       plaintext = std::move(plaintext)] {
        return core->encrypt_on_host({.key = key,
                                      .algorithm = algorithm,
                                      .plaintext = plaintext.view(),
                                      .aad = {},
                                      .options = {.deadline = deadline, .slot = {}}});
      },
      std::move(done));
}

Result<std::vector<Job>> Engine::submit(std::span<const SignRequest> batch, const BatchCompletion& done) {
  return submit_batch(*core_, batch, done);
}

Result<std::vector<Job>> Engine::submit(std::span<const DecryptRequest> batch, const BatchCompletion& done) {
  return submit_batch(*core_, batch, done);
}

Result<std::vector<Job>> Engine::submit(std::span<const EncryptRequest> batch, const BatchCompletion& done) {
  for (const EncryptRequest& request : batch) {
    if (encrypts_on_host(spec_of(request.algorithm))) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("{} encrypts on this host, which a batch makes no faster: submit each by itself",
                              spec_of(request.algorithm).name));
    }
  }
  return submit_batch(*core_, batch, done);
}

Result<Job> Engine::submit(const VerifyRequest& request, Completion<void> done) {
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<void>(
      *core_, deadline,
      [core = core_.get(), deadline, algorithm = request.algorithm, prehashed = request.prehashed,
       key = std::string(request.key), message = copy_of(request.message), signature = copy_of(request.signature)] {
        return core->verify({.key = key,
                             .algorithm = algorithm,
                             .message = message,
                             .prehashed = prehashed,
                             .signature = signature,
                             .options = {.deadline = deadline, .slot = {}}});
      },
      std::move(done));
}

Result<Job> Engine::submit(const RandomRequest& request, Completion<Bytes> done) {
  HSMUX_CHECK(check_random(request.bytes));
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<Bytes>(
      *core_, deadline,
      [core = core_.get(), deadline, slot = std::string(request.options.slot),
       size = request.bytes]() -> Result<Bytes> {
        Bytes out(size);
        HSMUX_CHECK(core->random(out, {.deadline = deadline, .slot = slot}));
        return out;
      },
      std::move(done));
}

Result<Job> Engine::submit(const GenerateRequest& request, Completion<KeyInfo> done) {
  const Deadline deadline = core_->generation_deadline(request.options);
  return submit_errand<KeyInfo>(
      *core_, deadline,
      [core = core_.get(), deadline, request, label = std::string(request.label)] {
        GenerateRequest own = request;
        own.label = label;
        own.options = {.deadline = deadline, .slot = {}};
        return core->generate(own);
      },
      std::move(done),
      [core = core_.get()](const Result<KeyInfo>& made) {
        if (!made) return;
        const Result<KeyInfo> removed =
            core->management.remove("id:" + made->id, Deadline::after(core->config.deadlines.operation));
        core->log(LogLevel::kWarning,
                  removed ? fmt::format("key id {} was made after its request had ended, and deleted", made->id)
                          : fmt::format("key id {} was made after its request had ended, and remains: {}", made->id,
                                        removed.error().text()));
      });
}

Result<Job> Engine::submit(const FindKeyRequest& request, Completion<KeyInfo> done) {
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<KeyInfo>(
      *core_, deadline,
      [core = core_.get(), deadline, key = std::string(request.key)] {
        return core->find_key(key, {.deadline = deadline, .slot = {}});
      },
      std::move(done));
}

Result<Job> Engine::submit(const PublicKeyRequest& request, Completion<Bytes> done) {
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<Bytes>(
      *core_, deadline,
      [core = core_.get(), deadline, key = std::string(request.key)] {
        return core->public_half(key, nullptr, {.deadline = deadline, .slot = {}});
      },
      std::move(done));
}

Result<Job> Engine::submit(const ListKeysRequest& request, Completion<std::vector<KeyInfo>> done) {
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<std::vector<KeyInfo>>(
      *core_, deadline,
      [core = core_.get(), deadline, name = std::string(request.name), slot = std::string(request.options.slot)] {
        return core->management.list(name, slot, deadline);
      },
      std::move(done));
}

Result<Job> Engine::submit(const DeleteKeyRequest& request, Completion<KeyInfo> done) {
  const Deadline deadline = core_->deadline_of(request.options);
  return submit_errand<KeyInfo>(
      *core_, deadline,
      [core = core_.get(), deadline, key = std::string(request.key)] { return core->remove_key(key, deadline); },
      std::move(done));
}

} // namespace hsmux
