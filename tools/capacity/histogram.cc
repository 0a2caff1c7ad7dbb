#include "tools/capacity/histogram.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

namespace hsmux::capacity {
namespace {

// As HdrHistogram computes them for 3 significant digits and a lowest value of 1.
constexpr int kDigits = 3;
constexpr unsigned kSubBucketBits = 11; // 2048 >= 2 x 10^3
constexpr std::uint64_t kSubBuckets = 1ULL << kSubBucketBits, kHalf = kSubBuckets / 2;
constexpr std::size_t kCountsMax = 33 * kHalf; // bounds what is decoded: buckets up to kHighestNs

constexpr std::uint32_t kCookieV2 = 0x1c849303 | 0x10, kCookieV2Compressed = 0x1c849304 | 0x10;
constexpr std::size_t kHeaderBytes = 40;

void put(Bytes& out, std::uint64_t value, unsigned bytes) { // big-endian
  for (unsigned shift = bytes * 8; shift > 0; shift -= 8)
    out.push_back(static_cast<std::uint8_t>(value >> (shift - 8)));
}

std::uint64_t get(ByteView in, std::size_t at, unsigned bytes) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value = value << 8 | in[at + i];
  return value;
}

// ZigZag LEB128 of 64 bits, whose ninth byte has eight bits of its own.
void put_zigzag(Bytes& out, std::int64_t signed_value) {
  std::uint64_t value = static_cast<std::uint64_t>(signed_value) << 1 ^ static_cast<std::uint64_t>(signed_value >> 63);
  for (int i = 0; i < 8 && value > 0x7f; ++i, value >>= 7) out.push_back(static_cast<std::uint8_t>(value | 0x80));
  out.push_back(static_cast<std::uint8_t>(value));
}

std::optional<std::int64_t> get_zigzag(ByteView& in) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 9; ++i) {
    if (in.empty()) return std::nullopt;
    const std::uint64_t byte = in.front();
    in = in.subspan(1);
    value |= (i == 8 ? byte : byte & 0x7f) << (7 * i);
    if (i < 8 && byte < 0x80) break;
  }
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

std::unexpected<Error> not_a_histogram(std::string_view why) {
  return fail(ErrorKind::kInvalidArgument, "not a compressed V2 histogram of this program: " + std::string(why));
}

Result<Bytes> inflated(ByteView in) {
  Bytes out(kHeaderBytes + kCountsMax * 9);
  uLongf size = out.size();
  if (uncompress(out.data(), &size, in.data(), in.size()) != Z_OK) return not_a_histogram("it does not decompress");
  out.resize(size);
  return out;
}

} // namespace

std::size_t Histogram::index_of(std::int64_t ns) {
  const auto value = static_cast<std::uint64_t>(std::clamp<std::int64_t>(ns, 0, kHighestNs));
  const auto bucket = static_cast<unsigned>(std::bit_width(value | (kSubBuckets - 1))) - kSubBucketBits;
  return (bucket + 1) * kHalf + (value >> bucket) - kHalf;
}

std::int64_t Histogram::lowest_of(std::size_t index) {
  const std::size_t bucket = index / kHalf;
  if (bucket <= 1) return static_cast<std::int64_t>(index); // the first two halves count single nanoseconds
  return static_cast<std::int64_t>((index % kHalf + kHalf) << (bucket - 1));
}

std::int64_t Histogram::highest_of(std::size_t index) { return lowest_of(index + 1) - 1; }

void Histogram::record(std::int64_t ns, std::uint64_t count) {
  const std::size_t index = index_of(ns);
  if (index >= counts_.size()) counts_.resize(index + 1);
  counts_[index] += count;
  count_ += count;
}

void Histogram::add(const Histogram& other) {
  if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
  for (std::size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
}

std::int64_t Histogram::percentile(double percent) const {
  if (count_ == 0) return 0;
  const double wanted = std::min(std::max(percent, 0.0), 100.0) / 100 * static_cast<double>(count_);
  const std::uint64_t rank = std::max<std::uint64_t>(static_cast<std::uint64_t>(std::ceil(wanted - 1e-9)), 1);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    sum += counts_[i];
    if (sum >= rank) return highest_of(i);
  }
  return max();
}

std::int64_t Histogram::min() const {
  const auto first = std::ranges::find_if(counts_, [](std::uint64_t count) { return count > 0; });
  return first == counts_.end() ? 0 : lowest_of(static_cast<std::size_t>(first - counts_.begin()));
}

std::int64_t Histogram::max() const {
  for (std::size_t i = counts_.size(); i > 0; --i) {
    if (counts_[i - 1] > 0) return highest_of(i - 1);
  }
  return 0;
}

double Histogram::mean() const {
  if (count_ == 0) return 0;
  double sum = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    sum +=
        static_cast<double>(counts_[i]) * (static_cast<double>(lowest_of(i)) + static_cast<double>(highest_of(i))) / 2;
  }
  return sum / static_cast<double>(count_);
}

std::uint64_t Histogram::count_above(std::int64_t ns) const {
  std::uint64_t sum = 0;
  for (std::size_t i = index_of(ns) + 1; i < counts_.size(); ++i) sum += counts_[i];
  return sum;
}

std::string Histogram::encode() const {
  Bytes payload;
  for (std::size_t i = 0; i < counts_.size();) {
    std::size_t zeros = 0;
    while (i + zeros < counts_.size() && counts_[i + zeros] == 0) ++zeros;
    if (i + zeros == counts_.size()) break;
    if (zeros > 1) {
      put_zigzag(payload, -static_cast<std::int64_t>(zeros));
      i += zeros;
    } else {
      put_zigzag(payload, static_cast<std::int64_t>(counts_[i]));
      ++i;
    }
  }
  Bytes plain;
  put(plain, kCookieV2, 4);
  put(plain, payload.size(), 4);
  put(plain, 0, 4); // normalizing index offset
  put(plain, kDigits, 4);
  put(plain, 1, 8); // lowest discernible value
  put(plain, static_cast<std::uint64_t>(kHighestNs), 8);
  put(plain, std::bit_cast<std::uint64_t>(1.0), 8); // integer to double conversion ratio
  plain.insert(plain.end(), payload.begin(), payload.end());

  uLongf size = compressBound(plain.size());
  Bytes packed(size);
  if (compress(packed.data(), &size, plain.data(), plain.size()) != Z_OK) return {}; // only without memory
  Bytes all;
  put(all, kCookieV2Compressed, 4);
  put(all, size, 4);
  all.insert(all.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
  Bytes text(4 * ((all.size() + 2) / 3) + 1);
  const int length = EVP_EncodeBlock(text.data(), all.data(), static_cast<int>(all.size()));
  return {text.begin(), text.begin() + length};
}

Result<Histogram> Histogram::decode(std::string_view text) {
  constexpr std::size_t kTextMax = 8UL << 20;
  if (text.size() % 4 != 0 || text.size() < 16 || text.size() > kTextMax) return not_a_histogram("its length is wrong");
  const Bytes in(text.begin(), text.end());
  Bytes all(in.size() / 4 * 3);
  if (EVP_DecodeBlock(all.data(), in.data(), static_cast<int>(in.size())) < 0)
    return not_a_histogram("it is not base64");
  const ByteView packed = all;
  if (get(packed, 0, 4) != kCookieV2Compressed) return not_a_histogram("its first bytes are others");
  const std::size_t size = get(packed, 4, 4);
  if (size > packed.size() - 8) return not_a_histogram("it is cut off");
  HSMUX_TRY(const Bytes plain, inflated(packed.subspan(8, size)));
  const ByteView view = plain;
  if (view.size() < kHeaderBytes || get(view, 0, 4) != kCookieV2) return not_a_histogram("its header is another");
  if (get(view, 8, 4) != 0 || get(view, 12, 4) != kDigits || get(view, 16, 8) != 1 ||
      get(view, 32, 8) != std::bit_cast<std::uint64_t>(1.0)) {
    return not_a_histogram("it has other digits or units");
  }
  if (get(view, 4, 4) != view.size() - kHeaderBytes) return not_a_histogram("its length is wrong");
  Histogram histogram;
  ByteView left = view.subspan(kHeaderBytes);
  for (std::size_t index = 0; !left.empty();) {
    const std::optional<std::int64_t> value = get_zigzag(left);
    if (!value) return not_a_histogram("it is cut off");
    const std::uint64_t places = *value < 0 ? -static_cast<std::uint64_t>(*value) : 1;
    if (places > kCountsMax - index) return not_a_histogram("it has too many buckets");
    if (*value > 0) {
      histogram.counts_.resize(index + 1);
      histogram.counts_[index] = static_cast<std::uint64_t>(*value);
      histogram.count_ += histogram.counts_[index];
    }
    index += places;
  }
  return histogram;
}

bool Histogram::operator==(const Histogram& other) const {
  if (count_ != other.count_) return false;
  const std::size_t common = std::min(counts_.size(), other.counts_.size());
  return std::ranges::equal(std::span(counts_).first(common), std::span(other.counts_).first(common));
}

} // namespace hsmux::capacity
