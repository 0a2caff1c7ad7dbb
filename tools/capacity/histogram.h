// Latencies counted in HdrHistogram's buckets (3 significant digits, from 1 ns to 1 hour), and their exchange in its
// compressed V2 encoding, which its readers in every language take (https://github.com/HdrHistogram/HdrHistogram).
// Debian has no C++ library of it. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "slots/result.h"

namespace hsmux::capacity {

class Histogram {
public:
  static constexpr std::int64_t kHighestNs = 3'600'000'000'000;

  // Values below 0 count as 0, above kHighestNs as kHighestNs.
  void record(std::int64_t ns, std::uint64_t count = 1);
  void add(const Histogram& other); // exact: bucket by bucket

  [[nodiscard]] std::uint64_t count() const { return count_; }
  // The highest value that its bucket stands for, as HdrHistogram's getValueAtPercentile; 0 when empty.
  [[nodiscard]] std::int64_t percentile(double percent) const;
  [[nodiscard]] std::int64_t min() const; // the lowest value of its bucket
  [[nodiscard]] std::int64_t max() const;
  [[nodiscard]] double mean() const; // of the middles of the buckets
  [[nodiscard]] std::uint64_t count_above(std::int64_t ns) const;

  // Base64 of the compressed V2 encoding: "HISTFAAA...".
  [[nodiscard]] std::string encode() const;
  // Errors: kInvalidArgument (not such an encoding, damaged, or of other digits and units than this program's).
  static Result<Histogram> decode(std::string_view text);

  bool operator==(const Histogram& other) const;

private:
  static std::size_t index_of(std::int64_t ns);
  static std::int64_t lowest_of(std::size_t index);
  static std::int64_t highest_of(std::size_t index);
  std::vector<std::uint64_t> counts_; // as long as its highest bucket needs
  std::uint64_t count_ = 0;
};

} // namespace hsmux::capacity
