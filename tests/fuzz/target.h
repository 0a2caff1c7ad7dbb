// What every fuzzer is made of: HSMUX_FUZZ(reader) { ... } defines it, `input` is what it is given, and promise() ends
// the process where the reader breaks one. With HSMUX_WITH_LIBFUZZER it is libFuzzer's entry point; else it is listed
// for tests/fuzz/replay.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "slots/result.h"

namespace hsmux::fuzz {

using Target = void (*)(ByteView input);
std::vector<std::pair<std::string, Target>>& targets();
struct Listed {
  Listed(const char* reader, Target target) { targets().emplace_back(reader, target); }
};

inline void promise(bool kept, const char* what, std::source_location place = std::source_location::current()) {
  if (kept) return;
  std::fprintf(stderr, "%s:%u: broken promise: %s\n", place.file_name(), static_cast<unsigned>(place.line()), what);
  std::abort();
}

inline std::string_view text_of(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; // chars of bytes
}

// Takes bytes off the front of what is left of an input; zeros where there are none.
class Pieces {
public:
  explicit Pieces(ByteView input) : left_(input) {}
  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const std::uint8_t first = left_.front();
    left_ = left_.subspan(1);
    return first;
  }
  ByteView take(std::size_t bytes) {
    const ByteView piece = left_.first(std::min(bytes, left_.size()));
    left_ = left_.subspan(piece.size());
    return piece;
  }
  [[nodiscard]] ByteView rest() const { return left_; }

private:
  ByteView left_;
};

} // namespace hsmux::fuzz

#ifdef HSMUX_WITH_LIBFUZZER
#define HSMUX_FUZZ(reader)                                                                                             \
  static void fuzz_##reader(hsmux::ByteView input);                                                                    \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);                                   \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {                                  \
    fuzz_##reader({data, size});                                                                                       \
    return 0;                                                                                                          \
  }                                                                                                                    \
  static void fuzz_##reader(hsmux::ByteView input)
#else
#define HSMUX_FUZZ(reader)                                                                                             \
  static void fuzz_##reader(hsmux::ByteView input);                                                                    \
  static const hsmux::fuzz::Listed listed_##reader(#reader, fuzz_##reader);                                            \
  static void fuzz_##reader(hsmux::ByteView input)
#endif
