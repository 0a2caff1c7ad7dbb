// The C entry points for keys and slots, and the asynchronous forms that are not there yet.
#include "engine/c_abi.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

namespace {

hsmux_status not_yet(hsmux_error* error) {
  return c_abi::report(
      make_error(ErrorKind::kUnsupported, "asynchronous work is not in this version of hsmux: use the blocking form"),
      error);
}

} // namespace

extern "C" {

hsmux_status hsmux_key_generate(hsmux_engine* engine, const hsmux_generate_request* request, hsmux_key_info* info,
                                hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    const auto given = c_abi::read(request);
    if (!given) return fail(c_abi::bad_struct());
    GenerateRequest generate{};
    HSMUX_TRY(generate.label, c_abi::text(given->label, "label"));
    HSMUX_TRY(generate.algorithm, c_abi::algorithm(given->algorithm));
    HSMUX_TRY(generate.placement, c_abi::placement(given->slots));
    HSMUX_TRY(generate.options, c_abi::request_options(nullptr, given->timeout_ms));
    generate.bits = given->bits;
    generate.software_key = given->software_key != 0;
    HSMUX_TRY(const KeyInfo key, target.generate(generate));
    c_abi::write(key, info);
    return {};
  });
}

hsmux_status hsmux_key_find(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_key_info* info,
                            hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(key, "key"));
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(nullptr, timeout_ms));
    HSMUX_TRY(const KeyInfo found, target.find_key(name, options));
    c_abi::write(found, info);
    return {};
  });
}

hsmux_status hsmux_keys_list(hsmux_engine* engine, const char* label, int64_t timeout_ms, hsmux_key_visitor visit,
                             void* context, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    if (visit == nullptr) return fail(ErrorKind::kInvalidArgument, "visit is NULL");
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(nullptr, timeout_ms));
    HSMUX_TRY(const std::vector<KeyInfo> keys, target.list_keys(label == nullptr ? "" : label, options));
    for (const KeyInfo& key : keys) {
      hsmux_key_info info;
      HSMUX_INIT(&info);
      c_abi::write(key, &info);
      visit(context, &info);
    }
    return {};
  });
}

hsmux_status hsmux_key_public(hsmux_engine* engine, const char* key, int64_t timeout_ms, uint8_t* out,
                              size_t* out_bytes, hsmux_error* error) {
  bool too_small = false;
  const hsmux_status status = c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(key, "key"));
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(nullptr, timeout_ms));
    if (out_bytes == nullptr) return fail(ErrorKind::kInvalidArgument, "out_bytes is NULL");
    HSMUX_TRY(const Bytes spki, target.public_key(name, options));
    too_small = out == nullptr || *out_bytes < spki.size();
    *out_bytes = spki.size();
    if (too_small)
      return fail(ErrorKind::kInvalidArgument, "the output buffer is too small; out_bytes says what is needed");
    std::ranges::copy(spki, out);
    return {};
  });
  return too_small ? HSMUX_BUFFER_TOO_SMALL : status;
}

hsmux_status hsmux_key_exists(hsmux_engine* engine, const char* key, int64_t timeout_ms, int32_t* exists,
                              hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(key, "key"));
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(nullptr, timeout_ms));
    if (exists == nullptr) return fail(ErrorKind::kInvalidArgument, "exists is NULL");
    HSMUX_TRY(const bool there, target.exists(name, options));
    *exists = there ? 1 : 0;
    return {};
  });
}

hsmux_status hsmux_key_delete(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(key, "key"));
    HSMUX_TRY(const RequestOptions options, c_abi::request_options(nullptr, timeout_ms));
    HSMUX_CHECK(target.delete_key(name, options));
    return {};
  });
}

hsmux_status hsmux_slot_unlatch(hsmux_engine* engine, const char* slot, hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const std::string_view name, c_abi::text(slot, "slot"));
    return target.unlatch(name);
  });
}

hsmux_status hsmux_submit_sign(hsmux_engine*, const hsmux_sign_request*, hsmux_completion, void*, hsmux_job*,
                               hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_verify(hsmux_engine*, const hsmux_verify_request*, hsmux_completion, void*, hsmux_job*,
                                 hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_encrypt(hsmux_engine*, const hsmux_cipher_request*, hsmux_completion, void*, hsmux_job*,
                                  hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_decrypt(hsmux_engine*, const hsmux_cipher_request*, hsmux_completion, void*, hsmux_job*,
                                  hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_random(hsmux_engine*, const char*, int64_t, size_t, hsmux_completion, void*, hsmux_job*,
                                 hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_key_generate(hsmux_engine*, const hsmux_generate_request*, hsmux_completion, void*,
                                       hsmux_job*, hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_key_find(hsmux_engine*, const char*, int64_t, hsmux_completion, void*, hsmux_job*,
                                   hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_keys_list(hsmux_engine*, const char*, int64_t, hsmux_key_visitor, hsmux_completion, void*,
                                    hsmux_job*, hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_key_public(hsmux_engine*, const char*, int64_t, hsmux_completion, void*, hsmux_job*,
                                     hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_submit_key_delete(hsmux_engine*, const char*, int64_t, hsmux_completion, void*, hsmux_job*,
                                     hsmux_error* error) {
  return not_yet(error);
}
hsmux_status hsmux_cancel(hsmux_engine*, hsmux_job, hsmux_error* error) { return not_yet(error); }

} // extern "C"
