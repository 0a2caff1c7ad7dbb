// What the C entry points share: sized structs in, errors and key information out. Internal to engine/c_api*.cc. Any
// thread.
#pragma once

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <unordered_map>

#include "engine/engine.h"
#include "engine/hsmux.h"

namespace hsmux::c_abi {

// The jobs that callers may cancel, by number. Any thread.
class Jobs {
public:
  // A number for a request that is about to be submitted.
  hsmux_job begin();
  void set(hsmux_job number, Job job); // unless it has ended meanwhile
  void end(hsmux_job number);
  [[nodiscard]] std::optional<Job> find(hsmux_job number) const;

private:
  mutable std::mutex mutex_; // guards what follows
  hsmux_job last_ = 0;
  std::unordered_map<hsmux_job, Job> jobs_;
};

} // namespace hsmux::c_abi

struct hsmux_engine {
  std::unique_ptr<hsmux::Engine> engine;
  std::shared_ptr<hsmux::c_abi::Jobs> jobs = std::make_shared<hsmux::c_abi::Jobs>(); // completions may outlive this
};

namespace hsmux::c_abi {

// Fills `error`, if there is one, and returns its status.
hsmux_status report(const Error& error, hsmux_error* out);
hsmux_status succeed(hsmux_error* out);
void write(const KeyInfo& info, hsmux_key_info* out);

// The caller's struct as this version's: missing members zero. nullopt: NULL, no struct_size, or an unknown member is
// set.
template <class Struct> std::optional<Struct> read(const Struct* given) {
  if (given == nullptr) return std::nullopt;
  const std::size_t size = given->struct_size;
  if (size < sizeof(std::size_t) || size > 64 * sizeof(Struct)) return std::nullopt;
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(Struct); i < size; ++i) {
    if (bytes[i] != 0) return std::nullopt;
  }
  Struct known;
  std::memset(&known, 0, sizeof known);
  std::memcpy(&known, given, std::min(size, sizeof(Struct)));
  return known;
}

// Into the caller's struct, which may be of another version.
template <class Struct> void give(const Struct& filled, Struct* out) {
  if (out == nullptr || out->struct_size < sizeof(std::size_t)) return;
  const std::size_t size = std::min(out->struct_size, sizeof(Struct));
  std::memcpy(reinterpret_cast<char*>(out) + sizeof(std::size_t),
              reinterpret_cast<const char*>(&filled) + sizeof(std::size_t), size - sizeof(std::size_t));
}

// Cut at the end of a UTF-8 character.
template <std::size_t Size> void copy(std::string_view text, char (&out)[Size]) {
  std::size_t size = std::min(text.size(), Size - 1);
  if (size < text.size()) {
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  }
  std::memcpy(out, text.data(), size);
  out[size] = '\0';
}

Error bad_struct();
// A time-out in milliseconds, not negative; at most a day, since more does not fit into the clock's nanoseconds.
std::chrono::milliseconds time_out(std::int64_t milliseconds);
Result<Algorithm> algorithm(const char* name);
Result<RequestOptions> request_options(const char* slot, std::int64_t timeout_ms);
Result<ByteView> data(const std::uint8_t* bytes, std::size_t size);
Result<std::string_view> text(const char* string, const char* what);
// The caller's requests as the engine's, with views of the same memory.
Result<SignRequest> sign_request(const hsmux_sign_request* request);
Result<VerifyRequest> verify_request(const hsmux_verify_request* request);
Result<EncryptRequest> encrypt_request(const hsmux_cipher_request* request);
Result<DecryptRequest> decrypt_request(const hsmux_cipher_request* request);
Result<GenerateRequest> generate_request(const hsmux_generate_request* request);
// `request.slots` of hsmux_generate_request.
Result<std::optional<PlacementConfig>> placement(const char* slots);

// Runs `work(Engine&) -> Status`, with every failure in `error`.
template <class Work> hsmux_status run(hsmux_engine* handle, hsmux_error* error, Work work) noexcept {
  try {
    if (handle == nullptr) return report(make_error(ErrorKind::kInvalidArgument, "the engine is NULL"), error);
    const Status status = work(*handle->engine);
    return status ? succeed(error) : report(status.error(), error);
  } catch (const std::exception&) {
    return report(make_error(ErrorKind::kInternal, "out of memory or another failure of the C++ library"), error);
  }
}

} // namespace hsmux::c_abi
