// The C entry points of submitted work.
#include "engine/c_abi.h"
#include "mechanisms/secure_bytes.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

namespace {

struct Completed {
  const Bytes* bytes = nullptr;
  const KeyInfo* key = nullptr;
};
Completed shown(const Bytes& bytes) { return {.bytes = &bytes}; }
Completed shown(const KeyInfo& key) { return {.key = &key}; }
Completed shown(const std::vector<KeyInfo>&) { return {}; }

// The caller's completion, and the end of the job's number.
class Done {
public:
  Done(hsmux_completion done, void* context, std::shared_ptr<c_abi::Jobs> jobs, hsmux_job number)
      : done_(done), context_(context), jobs_(std::move(jobs)), number_(number) {}

  template <class T> void operator()(Result<T> result) const {
    if (number_ != 0) jobs_->end(number_);
    if (!result) return call(report_of(&result.error()), {}, &result.error());
    Completed completed;
    if constexpr (!std::is_void_v<T>) completed = shown(*result);
    call(HSMUX_OK, completed, nullptr);
    if constexpr (std::is_same_v<T, Bytes>) wipe(*result); // it may be a plaintext
  }

private:
  static hsmux_status report_of(const Error* error) { return static_cast<hsmux_status>(error->kind); }

  void call(hsmux_status status, const Completed& completed, const Error* failure) const {
    hsmux_error error;
    HSMUX_INIT(&error);
    if (failure != nullptr) {
      c_abi::report(*failure, &error);
    } else {
      c_abi::succeed(&error);
    }
    hsmux_key_info info;
    if (completed.key != nullptr) {
      HSMUX_INIT(&info);
      c_abi::write(*completed.key, &info);
    }
    done_(context_, status, completed.bytes == nullptr ? nullptr : completed.bytes->data(),
          completed.bytes == nullptr ? 0 : completed.bytes->size(), completed.key == nullptr ? nullptr : &info, &error);
  }

  hsmux_completion done_;
  void* context_;
  std::shared_ptr<c_abi::Jobs> jobs_;
  hsmux_job number_;
};

// `work(Engine&, Done) -> Result<Job>`; its number in `job` where the caller wants one.
template <class Work>
hsmux_status submit(hsmux_engine* engine, hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error,
                    Work work) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (done == nullptr) return fail(ErrorKind::kInvalidArgument, "done is NULL");
    const hsmux_job number = job == nullptr ? 0 : engine->jobs->begin();
    if (job != nullptr) *job = number;
    Result<Job> submitted = work(target, Done(done, context, engine->jobs, number));
    if (submitted) {
      if (number != 0) engine->jobs->set(number, std::move(*submitted));
      return {};
    }
    if (number != 0) engine->jobs->end(number);
    if (job != nullptr) *job = 0;
    return fail(std::move(submitted).error());
  });
}

Error forked() {
  return make_error(ErrorKind::kForked, "this process is a fork of the one that opened the engine: its work is there");
}

template <class Request, class Given, class Read>
hsmux_status submit_batch(hsmux_engine* engine, const Given* const* requests, std::size_t count,
                          hsmux_batch_completion done, void* context, hsmux_job* jobs, hsmux_error* error, Read read) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (done == nullptr) return fail(ErrorKind::kInvalidArgument, "done is NULL");
    if (requests == nullptr && count != 0) return fail(ErrorKind::kInvalidArgument, "requests is NULL");
    std::vector<Request> batch;
    for (std::size_t i = 0; i < count; ++i) {
      HSMUX_TRY(Request each, read(requests[i]));
      batch.push_back(std::move(each));
    }
    // Numbers from one row, so that a completion finds its own.
    auto numbers = std::make_shared<std::vector<hsmux_job>>();
    for (std::size_t i = 0; jobs != nullptr && i < count; ++i) jobs[i] = numbers->emplace_back(engine->jobs->begin());
    Result<std::vector<Job>> submitted =
        target.submit(std::span<const Request>(batch),
                      [done, context, numbers, known = engine->jobs](std::size_t i, Result<Bytes> result) {
                        if (!numbers->empty()) known->end(numbers->at(i));
                        hsmux_error failure;
                        HSMUX_INIT(&failure);
                        if (result) {
                          c_abi::succeed(&failure);
                          done(context, i, HSMUX_OK, result->data(), result->size(), &failure);
                          return wipe(*result);
                        }
                        done(context, i, c_abi::report(result.error(), &failure), nullptr, 0, &failure);
                      });
    for (std::size_t i = 0; i < numbers->size(); ++i) {
      if (submitted) {
        engine->jobs->set(numbers->at(i), std::move(submitted->at(i)));
      } else {
        engine->jobs->end(numbers->at(i));
        jobs[i] = 0;
      }
    }
    if (!submitted) return fail(std::move(submitted).error());
    return {};
  });
}

} // namespace

extern "C" {

hsmux_status hsmux_submit_sign(hsmux_engine* engine, const hsmux_sign_request* request, hsmux_completion done,
                               void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const SignRequest sign, c_abi::sign_request(request));
    return target.submit(sign, std::move(completion));
  });
}

hsmux_status hsmux_submit_verify(hsmux_engine* engine, const hsmux_verify_request* request, hsmux_completion done,
                                 void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const VerifyRequest verify, c_abi::verify_request(request));
    return target.submit(verify, std::move(completion));
  });
}

hsmux_status hsmux_submit_encrypt(hsmux_engine* engine, const hsmux_cipher_request* request, hsmux_completion done,
                                  void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const EncryptRequest encrypt, c_abi::encrypt_request(request));
    return target.submit(encrypt, std::move(completion));
  });
}

hsmux_status hsmux_submit_decrypt(hsmux_engine* engine, const hsmux_cipher_request* request, hsmux_completion done,
                                  void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const DecryptRequest decrypt, c_abi::decrypt_request(request));
    return target.submit(decrypt, std::move(completion));
  });
}

hsmux_status hsmux_submit_random(hsmux_engine* engine, const char* slot, int64_t timeout_ms, size_t bytes,
                                 hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(slot, timeout_ms));
    return target.submit(RandomRequest{.bytes = bytes, .options = options}, std::move(completion));
  });
}

hsmux_status hsmux_submit_key_generate(hsmux_engine* engine, const hsmux_generate_request* request,
                                       hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    HSMUX_TRY(const GenerateRequest generate, c_abi::generate_request(request));
    return target.submit(generate, std::move(completion));
  });
}

hsmux_status hsmux_submit_key_find(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_completion done,
                                   void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    FindKeyRequest find{};
    HSMUX_TRY(find.key, c_abi::text(key, "key"));
    HSMUX_TRY(find.options, c_abi::request_options(nullptr, timeout_ms));
    return target.submit(find, std::move(completion));
  });
}

hsmux_status hsmux_submit_keys_list(hsmux_engine* engine, const char* label, int64_t timeout_ms,
                                    hsmux_key_visitor visit, hsmux_completion done, void* context, hsmux_job* job,
                                    hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, const Done& completion) -> Result<Job> {
    if (visit == nullptr) return fail(ErrorKind::kInvalidArgument, "visit is NULL");
    ListKeysRequest list{};
    if (label != nullptr) list.name = label;
    HSMUX_TRY(list.options, c_abi::request_options(nullptr, timeout_ms));
    return target.submit(list, [visit, context, completion](const Result<std::vector<KeyInfo>>& keys) {
      for (const KeyInfo& key : keys.value_or(std::vector<KeyInfo>())) {
        hsmux_key_info info;
        HSMUX_INIT(&info);
        c_abi::write(key, &info);
        visit(context, &info);
      }
      completion(keys);
    });
  });
}

hsmux_status hsmux_submit_key_public(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_completion done,
                                     void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    PublicKeyRequest wanted{};
    HSMUX_TRY(wanted.key, c_abi::text(key, "key"));
    HSMUX_TRY(wanted.options, c_abi::request_options(nullptr, timeout_ms));
    return target.submit(wanted, std::move(completion));
  });
}

hsmux_status hsmux_submit_key_delete(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_completion done,
                                     void* context, hsmux_job* job, hsmux_error* error) {
  return submit(engine, done, context, job, error, [&](Engine& target, Done completion) -> Result<Job> {
    DeleteKeyRequest unwanted{};
    HSMUX_TRY(unwanted.key, c_abi::text(key, "key"));
    HSMUX_TRY(unwanted.options, c_abi::request_options(nullptr, timeout_ms));
    return target.submit(unwanted, std::move(completion));
  });
}

hsmux_status hsmux_submit_sign_batch(hsmux_engine* engine, const hsmux_sign_request* const* requests, size_t count,
                                     hsmux_batch_completion done, void* context, hsmux_job* jobs, hsmux_error* error) {
  return submit_batch<SignRequest>(engine, requests, count, done, context, jobs, error, c_abi::sign_request);
}

hsmux_status hsmux_submit_encrypt_batch(hsmux_engine* engine, const hsmux_cipher_request* const* requests, size_t count,
                                        hsmux_batch_completion done, void* context, hsmux_job* jobs,
                                        hsmux_error* error) {
  return submit_batch<EncryptRequest>(engine, requests, count, done, context, jobs, error, c_abi::encrypt_request);
}

hsmux_status hsmux_submit_decrypt_batch(hsmux_engine* engine, const hsmux_cipher_request* const* requests, size_t count,
                                        hsmux_batch_completion done, void* context, hsmux_job* jobs,
                                        hsmux_error* error) {
  return submit_batch<DecryptRequest>(engine, requests, count, done, context, jobs, error, c_abi::decrypt_request);
}

hsmux_status hsmux_story(hsmux_request_story* story) {
  const std::optional<RequestStory> told = Engine::story();
  if (story == nullptr) return HSMUX_INVALID_ARGUMENT;
  if (!told) return HSMUX_CONFLICT;
  hsmux_request_story filled;
  HSMUX_INIT(&filled);
  filled.slot = told->slot ? static_cast<int32_t>(*told->slot) : -1;
  filled.attempts = told->attempts;
  filled.waited_ns = static_cast<uint64_t>(told->waited.count());
  c_abi::give(filled, story);
  return HSMUX_OK;
}

hsmux_status hsmux_work(hsmux_engine* engine, hsmux_work_stats* stats, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (target.forked()) return fail(forked());
    if (stats == nullptr || stats->struct_size < sizeof(std::size_t)) return fail(c_abi::bad_struct());
    const WorkStats now = target.work();
    c_abi::give({.struct_size = sizeof(hsmux_work_stats),
                 .submitted = now.submitted,
                 .waiting = now.waiting,
                 .threads = now.threads,
                 .idle = now.idle,
                 .quarantined = now.quarantined},
                stats);
    return {};
  });
}

hsmux_status hsmux_cancel(hsmux_engine* engine, hsmux_job job, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (target.forked()) return fail(forked());
    const std::optional<Job> found = engine->jobs->find(job);
    if (found && found->cancel()) return {};
    return fail(ErrorKind::kConflict, "the job has started or ended");
  });
}

} // extern "C"
