// Result<T>: a value or an Error. Never dropped: the type is [[nodiscard]] through std::expected's use in our
// functions.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <utility>
#include <vector>

#include "slots/error.h"

namespace hsmux {

template <class T> using Result = std::expected<T, Error>;
using Status = Result<void>;

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }
inline std::unexpected<Error> fail(ErrorKind kind, std::string message, Retry retry = Retry::kNever) {
  return fail(make_error(kind, std::move(message), retry));
}

} // namespace hsmux

#define HSMUX_CONCAT_INNER(a, b) a##b
#define HSMUX_CONCAT(a, b) HSMUX_CONCAT_INNER(a, b)

// HSMUX_TRY(auto value, expression): the value, or an early return of the error.
#define HSMUX_TRY(declaration, expression) HSMUX_TRY_AS(HSMUX_CONCAT(result_, __COUNTER__), declaration, expression)
#define HSMUX_TRY_AS(result, declaration, expression)                                                                  \
  auto result = (expression);                                                                                          \
  if (!result) return ::hsmux::fail(std::move(result).error());                                                        \
  declaration = std::move(*(result))

// HSMUX_CHECK(expression): nothing, or an early return of the error of a Status.
#define HSMUX_CHECK(expression) HSMUX_CHECK_AS(HSMUX_CONCAT(status_, __COUNTER__), expression)
#define HSMUX_CHECK_AS(status, expression)                                                                             \
  do {                                                                                                                 \
    auto status = (expression);                                                                                        \
    if (!status) return ::hsmux::fail(std::move(status).error());                                                      \
  } while (false)
