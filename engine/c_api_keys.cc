// The C entry points for keys.
#include "engine/c_abi.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

extern "C" {

hsmux_status hsmux_key_generate(hsmux_engine* engine, const hsmux_generate_request* request, hsmux_key_info* info,
                                hsmux_error* error) {
  return c_abi::run(engine, error, [&](Engine& target) -> Status {
    HSMUX_TRY(const GenerateRequest generate, c_abi::generate_request(request));
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

} // extern "C"
