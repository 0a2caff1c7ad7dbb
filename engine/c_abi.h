// What the C entry points share: sized structs in, errors and key information out. Internal to engine/c_api*.cc. Any
// thread.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>

#include "engine/engine.h"
#include "engine/hsmux.h"

struct hsmux_engine {
  std::unique_ptr<hsmux::Engine> engine;
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

Error bad_struct();
Result<Algorithm> algorithm(const char* name);
Result<RequestOptions> request_options(const char* slot, std::int64_t timeout_ms);
Result<ByteView> data(const std::uint8_t* bytes, std::size_t size);
Result<std::string_view> text(const char* string, const char* what);
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
