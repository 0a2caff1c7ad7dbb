// The C entry points: opening, closing, cryptography. Keys are in c_api_keys.cc, submitted work in c_api_submit.cc.
#include "engine/c_abi.h"

#ifndef HSMUX_VERSION
#define HSMUX_VERSION "0.0.0"
#endif

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

namespace {

// A buffer that is large enough for every result of this request: known before the HSM is asked.
Status check_room(std::size_t needed, const std::uint8_t* out, std::size_t* out_bytes, bool& too_small) {
  if (out_bytes == nullptr) return fail(ErrorKind::kInvalidArgument, "out_bytes is NULL");
  if (out != nullptr && *out_bytes >= needed) return {};
  *out_bytes = needed;
  too_small = true;
  return fail(ErrorKind::kInvalidArgument, "the output buffer is too small; out_bytes says what is needed");
}

template <class Work>
hsmux_status into_buffer(hsmux_engine* engine, std::uint8_t* out, std::size_t* out_bytes, hsmux_error* error,
                         Work work) {
  bool too_small = false;
  const hsmux_status status = c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(*out_bytes, work(target, too_small));
    return {};
  });
  if (!too_small) return status;
  if (error != nullptr && error->struct_size >= offsetof(hsmux_error, retryable))
    error->status = HSMUX_BUFFER_TOO_SMALL;
  (void)out;
  return HSMUX_BUFFER_TOO_SMALL;
}

EngineOptions engine_options(const hsmux_open_options& options) {
  EngineOptions result;
  result.set_module_environment = options.set_module_environment != 0;
  result.restart_modules = options.restart_modules != 0;
  result.slots_at_start_min = options.slots_at_start_min;
  if (options.connect_timeout_ms > 0) result.connect_timeout = c_abi::time_out(options.connect_timeout_ms);
  if (options.log != nullptr) {
    result.log = [callback = options.log, context = options.log_context](LogLevel level, const std::string& text) {
      callback(context, static_cast<hsmux_log_level>(level), text.c_str());
    };
  }
  if (options.event != nullptr) {
    result.events = [callback = options.event, context = options.event_context](const Event& event) {
      // An event's strings end with NUL (metrics/events.h): nothing is copied for each signature.
      const auto text = [](std::string_view view) { return view.data() == nullptr ? "" : view.data(); };
      const hsmux_event plain{.struct_size = sizeof(hsmux_event),
                              .kind = static_cast<int32_t>(event.kind),
                              .ck_rv = event.rv,
                              .duration_ns = static_cast<uint64_t>(event.duration.count()),
                              .slot = text(event.slot),
                              .call = text(event.call),
                              .algorithm = text(event.algorithm),
                              .detail = text(event.detail),
                              .reason = text(event.reason),
                              .status = static_cast<int32_t>(event.status),
                              .waited_ns = static_cast<uint64_t>(event.waited.count()),
                              .operation = text(event.operation)};
      callback(context, &plain);
    };
  }
  return result;
}

Result<std::unique_ptr<Engine>> open_engine(const hsmux_open_options* given) {
  const auto options = c_abi::read(given);
  if (!options) return fail(c_abi::bad_struct());
  if ((options->config_path == nullptr) == (options->config_text == nullptr)) {
    return fail(ErrorKind::kInvalidArgument, "give either config_path or config_text");
  }
  if (options->connect_timeout_ms < 0) return fail(ErrorKind::kInvalidArgument, "a time-out is not negative");
  Result<Config> config = options->config_path != nullptr
                              ? read_config(options->config_path)
                              : parse_config(options->config_text, "configuration",
                                             options->config_folder != nullptr ? options->config_folder : ".");
  if (!config) return fail(std::move(config).error());
  return Engine::open(std::move(*config), engine_options(*options));
}

} // namespace

extern "C" {

uint32_t hsmux_abi_version(void) { return HSMUX_ABI_VERSION; }
const char* hsmux_version(void) { return HSMUX_VERSION; }

const char* hsmux_status_name(hsmux_status status) {
  if (status == HSMUX_OK) return "ok";
  if (status == HSMUX_BUFFER_TOO_SMALL) return "buffer-too-small";
  return error_kind_name(static_cast<ErrorKind>(status)).data(); // string literals: they end with NUL
}

hsmux_status hsmux_open(const hsmux_open_options* options, hsmux_engine** engine, hsmux_error* error) {
  try {
    if (engine == nullptr) return c_abi::report(make_error(ErrorKind::kInvalidArgument, "engine is NULL"), error);
    *engine = nullptr;
    Result<std::unique_ptr<Engine>> opened = open_engine(options);
    if (!opened) return c_abi::report(opened.error(), error);
    *engine = std::make_unique<hsmux_engine>(hsmux_engine{std::move(*opened)}).release();
    return c_abi::succeed(error);
  } catch (const std::exception&) {
    return c_abi::report(make_error(ErrorKind::kInternal, "out of memory or another failure of the C++ library"),
                         error);
  }
}

hsmux_status hsmux_close(hsmux_engine* engine, int64_t timeout_ms) {
  if (engine == nullptr) return HSMUX_OK;
  if (timeout_ms < 0) return HSMUX_INVALID_ARGUMENT;
  const std::unique_ptr<hsmux_engine> handle(engine);
  const bool clean = handle->engine->close(Deadline::after(c_abi::time_out(timeout_ms == 0 ? 5000 : timeout_ms)));
  if (clean) return HSMUX_OK;
  (void)handle->engine.release(); // left behind at once: its destructor would wait anew
  return HSMUX_TIMEOUT;
}

hsmux_status hsmux_sign(hsmux_engine* engine, const hsmux_sign_request* request, uint8_t* out, size_t* out_bytes,
                        hsmux_error* error) {
  return into_buffer(engine, out, out_bytes, error, [&](Engine& target, bool& too_small) -> Result<std::size_t> {
    HSMUX_TRY(const SignRequest sign, c_abi::sign_request(request));
    HSMUX_CHECK(check_room(Engine::output_bytes_max(sign.algorithm, Operation::kSign, 0), out, out_bytes, too_small));
    return target.sign(sign, {out, *out_bytes});
  });
}

hsmux_status hsmux_verify(hsmux_engine* engine, const hsmux_verify_request* request, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const VerifyRequest verify, c_abi::verify_request(request));
    return target.verify(verify);
  });
}

hsmux_status hsmux_encrypt(hsmux_engine* engine, const hsmux_cipher_request* request, uint8_t* out, size_t* out_bytes,
                           hsmux_error* error) {
  return into_buffer(engine, out, out_bytes, error, [&](Engine& target, bool& too_small) -> Result<std::size_t> {
    HSMUX_TRY(const EncryptRequest encrypt, c_abi::encrypt_request(request));
    HSMUX_CHECK(check_room(Engine::output_bytes_max(encrypt.algorithm, Operation::kEncrypt, encrypt.plaintext.size()),
                           out, out_bytes, too_small));
    return target.encrypt(encrypt, {out, *out_bytes});
  });
}

hsmux_status hsmux_decrypt(hsmux_engine* engine, const hsmux_cipher_request* request, uint8_t* out, size_t* out_bytes,
                           hsmux_error* error) {
  return into_buffer(engine, out, out_bytes, error, [&](Engine& target, bool& too_small) -> Result<std::size_t> {
    HSMUX_TRY(const DecryptRequest decrypt, c_abi::decrypt_request(request));
    HSMUX_CHECK(check_room(Engine::output_bytes_max(decrypt.algorithm, Operation::kDecrypt, decrypt.ciphertext.size()),
                           out, out_bytes, too_small));
    return target.decrypt(decrypt, {out, *out_bytes});
  });
}

hsmux_status hsmux_random(hsmux_engine* engine, const char* slot, int64_t timeout_ms, uint8_t* out, size_t out_bytes,
                          hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_CHECK(c_abi::data(out, out_bytes));
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(slot, timeout_ms));
    return target.random({out, out_bytes}, options);
  });
}

size_t hsmux_output_bytes_max(const char* algorithm, hsmux_operation operation, size_t input_bytes) {
  const Result<Algorithm> known = c_abi::algorithm(algorithm);
  if (!known || operation < HSMUX_SIGN || operation > HSMUX_ENCRYPT) return 0;
  return Engine::output_bytes_max(*known, static_cast<Operation>(operation), input_bytes);
}

} // extern "C"
