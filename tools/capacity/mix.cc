#include "tools/capacity/mix.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ranges>

namespace hsmux::capacity {
namespace {

constexpr std::uint32_t kMultihashBytes = 34; // what a Canton sequencer signs: a multihash of SHA-256
constexpr std::uint32_t kSmallBytes = 32, kBlockBytes = 1024;

constexpr std::array kOperations{Operation::kSign, Operation::kDecrypt, Operation::kEncrypt};

// What an HSM does: encrypting to a public key is the host's work.
bool in_the_hsm(const AlgorithmSpec& spec, Operation operation) {
  return supports(spec, operation) && !(operation == Operation::kEncrypt && encrypts_on_host(spec));
}

std::uint32_t default_bytes(const AlgorithmSpec& spec) {
  if (spec.signs) return kMultihashBytes;
  return key_family(spec.key) == KeyFamily::kAes ? kBlockBytes : kSmallBytes;
}

MixEntry entry(Algorithm algorithm, Operation operation, double weight = 1) {
  return {.algorithm = algorithm,
          .operation = operation,
          .weight = weight,
          .bytes = default_bytes(spec_of(algorithm)),
          .keys = 1,
          .key = {}};
}

std::unexpected<Error> bad_entry(std::string_view text, const std::string& why) {
  return fail(ErrorKind::kInvalidArgument, fmt::format("--work {}: {}", text, why));
}

template <class Number> bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

} // namespace

std::string MixEntry::name() const { return fmt::format("{} {}", spec_of(algorithm).name, operation_name(operation)); }

Result<Mix> Mix::preset(std::string_view name) {
  Mix mix{.name = std::string(name), .entries = {}};
  if (name == "sequencer") {
    mix.entries = {entry(Algorithm::kEcdsaP256Sha256, Operation::kSign)};
  } else if (name == "participant") {
    mix.entries = {entry(Algorithm::kEcdsaP256Sha256, Operation::kSign, 4),
                   entry(Algorithm::kRsaOaepSha256, Operation::kDecrypt, 1)};
  } else if (name == "all") {
    for (const AlgorithmSpec& spec : spec_table()) {
      for (const Operation operation : kOperations) {
        if (in_the_hsm(spec, operation)) mix.entries.push_back(entry(spec.algorithm, operation));
      }
    }
  } else {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("--mix: there is no '{}'; there are sequencer, participant and all", name));
  }
  return mix;
}

Result<MixEntry> Mix::parse_entry(std::string_view text) {
  std::vector<std::string_view> parts;
  for (const auto range : std::views::split(text, ',')) parts.emplace_back(range.begin(), range.end());
  const std::string_view what = parts.empty() ? std::string_view() : parts.front();
  const std::size_t colon = what.find(':');
  const AlgorithmSpec* spec = find_spec(what.substr(0, colon));
  if (spec == nullptr) {
    std::vector<std::string_view> names;
    for (const AlgorithmSpec& each : spec_table()) names.push_back(each.name);
    return bad_entry(text,
                     fmt::format("no algorithm '{}'; there are {}", what.substr(0, colon), fmt::join(names, ", ")));
  }
  std::vector<std::string_view> possible;
  std::optional<Operation> operation;
  for (const Operation each : kOperations) {
    if (!in_the_hsm(*spec, each)) continue;
    possible.push_back(operation_name(each));
    if (colon == std::string_view::npos ? !operation : operation_name(each) == what.substr(colon + 1)) operation = each;
  }
  if (!operation || (colon == std::string_view::npos && possible.size() > 1)) {
    return bad_entry(text, fmt::format("{} wants one of {}:{}", spec->name, spec->name, fmt::join(possible, " or :")));
  }
  MixEntry result = entry(spec->algorithm, *operation);
  for (const std::string_view part : parts | std::views::drop(1)) {
    const std::size_t sign = part.find('=');
    const std::string_view name = part.substr(0, sign);
    const std::string_view value = sign == std::string_view::npos ? std::string_view() : part.substr(sign + 1);
    bool good = false;
    if (name == "weight") {
      good = read_number(value, result.weight) && std::isfinite(result.weight) && result.weight > 0;
    } else if (name == "bytes") {
      good = read_number(value, result.bytes) && result.bytes >= 1 && result.bytes <= spec->input_bytes_max;
    } else if (name == "keys") {
      good = read_number(value, result.keys) && result.keys >= 1 && result.keys <= kMixKeysMax;
    } else if (name == "key") {
      result.key = value;
      good = !value.empty();
    } else {
      return bad_entry(text, fmt::format("'{}' is not known: weight, bytes, keys, key", name));
    }
    if (!good) {
      return bad_entry(text, fmt::format("'{}' is not allowed: weight above 0, bytes 1 to {}, keys 1 to {}, key=NAME",
                                         part, spec->input_bytes_max, kMixKeysMax));
    }
  }
  return result;
}

MixPicker::MixPicker(const Mix& mix, std::uint64_t seed) : random_(seed), single_(mix.entries.size() == 1) {
  std::vector<double> weights;
  for (const MixEntry& each : mix.entries) weights.push_back(each.weight);
  choose_ = std::discrete_distribution<std::size_t>(weights.begin(), weights.end());
}

std::size_t MixPicker::next() { return single_ ? 0 : choose_(random_); }

} // namespace hsmux::capacity
