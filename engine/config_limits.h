// What the configuration allows, as data: read by its reader, its checks and their tests. docs/configuration.md says
// the same for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace hsmux::config_limits {

struct IntegerRange {
  std::int64_t min, max;
};

inline constexpr IntegerRange kInitTimeoutMs{1, 600'000};
inline constexpr IntegerRange kSlotId{0, std::numeric_limits<std::int64_t>::max()};
inline constexpr IntegerRange kSessionsMin{0, 4096};
inline constexpr IntegerRange kSessionsMax{1, 4096};
inline constexpr IntegerRange kConcurrency{1, 4096};
inline constexpr IntegerRange kOperationMs{1, 3'600'000};
inline constexpr IntegerRange kKeyGenerationMs{1, 3'600'000};
inline constexpr IntegerRange kInFlightMax{1, 1'000'000};
inline constexpr IntegerRange kAttemptLimitMs{1, 3'600'000};
inline constexpr IntegerRange kQuorum{1, 64};
inline constexpr IntegerRange kTransportBits{2048, 4096};
inline constexpr IntegerRange kDescriptor{0, 65'535};

inline constexpr double kWeightMax = 1000.0; // and above 0

inline constexpr std::size_t kFileBytesMax = 1024 * 1024;
inline constexpr std::size_t kModulesMax = 16;
inline constexpr std::size_t kAlgorithmsMax = 64;
inline constexpr std::size_t kEnvironmentMax = 64; // variables of one module
inline constexpr std::size_t kNameBytesMax = 32;
inline constexpr std::size_t kSocketPathBytesMax = 100; // of sockaddr_un's 108
inline constexpr std::size_t kTextBytesMax = 4096;      // paths, URIs, init arguments, values of variables

} // namespace hsmux::config_limits
