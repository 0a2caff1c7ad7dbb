#include "engine/c_abi.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>

namespace hsmux::c_abi {
namespace {

// Same numbers on both sides.
#define SAME(kind, status) static_assert(static_cast<int>(ErrorKind::kind) == (status))
SAME(kInvalidArgument, HSMUX_INVALID_ARGUMENT);
SAME(kInvalidConfig, HSMUX_INVALID_CONFIG);
SAME(kKeyNotFound, HSMUX_KEY_NOT_FOUND);
SAME(kKeyAmbiguous, HSMUX_KEY_AMBIGUOUS);
SAME(kKeyUnusable, HSMUX_KEY_UNUSABLE);
SAME(kUnsupported, HSMUX_UNSUPPORTED);
SAME(kDecryptFailed, HSMUX_DECRYPT_FAILED);
SAME(kSignatureInvalid, HSMUX_SIGNATURE_INVALID);
SAME(kCredentials, HSMUX_CREDENTIALS);
SAME(kTimeout, HSMUX_TIMEOUT);
SAME(kOverloaded, HSMUX_OVERLOADED);
SAME(kUnavailable, HSMUX_UNAVAILABLE);
SAME(kDevice, HSMUX_DEVICE);
SAME(kModule, HSMUX_MODULE);
SAME(kForked, HSMUX_FORKED);
SAME(kClosed, HSMUX_CLOSED);
SAME(kInternal, HSMUX_INTERNAL);
SAME(kConflict, HSMUX_CONFLICT);
SAME(kIo, HSMUX_IO);
SAME(kCancelled, HSMUX_CANCELLED);
#undef SAME

} // namespace

hsmux_status report(const Error& error, hsmux_error* out) {
  hsmux_error filled;
  std::memset(&filled, 0, sizeof filled);
  filled.status = static_cast<int32_t>(error.kind);
  filled.retryable = error.retryable() ? 1 : 0;
  filled.ck_rv = error.rv;
  copy(call_name(error.call), filled.call);
  copy(error.slot, filled.slot);
  copy(error.message, filled.message);
  give(filled, out);
  return static_cast<hsmux_status>(error.kind);
}

hsmux_status succeed(hsmux_error* out) {
  hsmux_error filled;
  std::memset(&filled, 0, sizeof filled);
  give(filled, out);
  return HSMUX_OK;
}

void write(const KeyInfo& info, hsmux_key_info* out) {
  hsmux_key_info filled;
  std::memset(&filled, 0, sizeof filled);
  copy(info.id, filled.id);
  copy(info.label, filled.label);
  copy(info.kind, filled.kind);
  filled.bits = info.bits;
  filled.signs = info.purposes.sign ? 1 : 0;
  filled.decrypts = info.purposes.decrypt ? 1 : 0;
  filled.encrypts = info.purposes.encrypt ? 1 : 0;
  filled.agrees = info.purposes.derive ? 1 : 0;
  filled.sensitive = info.sensitive ? 1 : 0;
  filled.extractable = info.extractable ? 1 : 0;
  filled.software_key = info.software_key ? 1 : 0;
  copy(fmt::format("{}", fmt::join(info.slots, ",")), filled.slots);
  give(filled, out);
}

Error bad_struct() {
  return make_error(
      ErrorKind::kInvalidArgument,
      "a struct is NULL, its struct_size is not set (HSMUX_INIT), or it sets members that this version of "
      "hsmux does not know");
}

Result<Algorithm> algorithm(const char* name) {
  HSMUX_TRY(const std::string_view wanted, text(name, "algorithm"));
  if (const AlgorithmSpec* spec = find_spec(wanted)) return spec->algorithm;
  std::vector<std::string_view> known;
  for (const AlgorithmSpec& spec : spec_table()) known.push_back(spec.name);
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("algorithm '{}' is not known; known are {}", wanted, fmt::join(known, ", ")));
}

std::chrono::milliseconds time_out(std::int64_t milliseconds) {
  constexpr std::int64_t kMax = 24 * 3'600'000;
  return std::chrono::milliseconds(std::min(milliseconds, kMax));
}

Result<RequestOptions> request_options(const char* slot, std::int64_t timeout_ms) {
  if (timeout_ms < 0) return fail(ErrorKind::kInvalidArgument, "a time-out is not negative");
  RequestOptions options;
  if (slot != nullptr) options.slot = slot;
  if (timeout_ms > 0) options.deadline = Deadline::after(time_out(timeout_ms));
  return options;
}

Result<ByteView> data(const std::uint8_t* bytes, std::size_t size) {
  if (bytes == nullptr && size != 0) return fail(ErrorKind::kInvalidArgument, "data is NULL and its length is not 0");
  return ByteView(bytes, size);
}

Result<std::string_view> text(const char* string, const char* what) {
  if (string == nullptr) return fail(ErrorKind::kInvalidArgument, fmt::format("{} is NULL", what));
  return std::string_view(string);
}

Result<std::optional<PlacementConfig>> placement(const char* slots) {
  if (slots == nullptr) return std::optional<PlacementConfig>();
  const std::string_view wanted(slots);
  constexpr std::string_view kQuorum = "quorum:";
  PlacementConfig result;
  if (wanted == "all") return result;
  if (wanted.starts_with(kQuorum)) {
    const std::string_view number = wanted.substr(kQuorum.size());
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), result.quorum);
    if (code != std::errc() || end != number.data() + number.size()) {
      return fail(ErrorKind::kInvalidArgument, "slots: a quorum is written quorum:N");
    }
    result.kind = Placement::kQuorum;
    return result;
  }
  result.kind = Placement::kSlots;
  for (std::size_t start = 0; start <= wanted.size();) {
    const std::size_t comma = std::min(wanted.find(',', start), wanted.size());
    if (comma > start) result.slots.emplace_back(wanted.substr(start, comma - start));
    start = comma + 1;
  }
  return result;
}

Result<SignRequest> sign_request(const hsmux_sign_request* request) {
  const auto given = read(request);
  if (!given) return fail(bad_struct());
  SignRequest sign{};
  HSMUX_TRY(sign.key, text(given->key, "key"));
  HSMUX_TRY(sign.algorithm, algorithm(given->algorithm));
  HSMUX_TRY(sign.message, data(given->data, given->data_bytes));
  HSMUX_TRY(sign.options, request_options(given->slot, given->timeout_ms));
  sign.prehashed = given->prehashed != 0;
  sign.options.hard = given->hard != 0;
  return sign;
}

Result<VerifyRequest> verify_request(const hsmux_verify_request* request) {
  const auto given = read(request);
  if (!given) return fail(bad_struct());
  VerifyRequest verify{};
  HSMUX_TRY(verify.key, text(given->key, "key"));
  HSMUX_TRY(verify.algorithm, algorithm(given->algorithm));
  HSMUX_TRY(verify.message, data(given->data, given->data_bytes));
  HSMUX_TRY(verify.signature, data(given->signature, given->signature_bytes));
  HSMUX_TRY(verify.options, request_options(given->slot, given->timeout_ms));
  verify.prehashed = given->prehashed != 0;
  return verify;
}

Result<EncryptRequest> encrypt_request(const hsmux_cipher_request* request) {
  const auto given = read(request);
  if (!given) return fail(bad_struct());
  EncryptRequest encrypt{};
  HSMUX_TRY(encrypt.key, text(given->key, "key"));
  HSMUX_TRY(encrypt.algorithm, algorithm(given->algorithm));
  HSMUX_TRY(encrypt.plaintext, data(given->data, given->data_bytes));
  HSMUX_TRY(encrypt.aad, data(given->aad, given->aad_bytes));
  HSMUX_TRY(encrypt.options, request_options(given->slot, given->timeout_ms));
  encrypt.options.hard = given->hard != 0;
  return encrypt;
}

Result<DecryptRequest> decrypt_request(const hsmux_cipher_request* request) {
  const auto given = read(request);
  if (!given) return fail(bad_struct());
  DecryptRequest decrypt{};
  HSMUX_TRY(decrypt.key, text(given->key, "key"));
  HSMUX_TRY(decrypt.algorithm, algorithm(given->algorithm));
  HSMUX_TRY(decrypt.ciphertext, data(given->data, given->data_bytes));
  HSMUX_TRY(decrypt.aad, data(given->aad, given->aad_bytes));
  HSMUX_TRY(decrypt.options, request_options(given->slot, given->timeout_ms));
  HSMUX_TRY(const ByteView bound_to, data(given->bound_to, given->bound_to_bytes));
  if (!bound_to.empty()) decrypt.bound_to.emplace(bound_to.begin(), bound_to.end());
  decrypt.options.hard = given->hard != 0;
  return decrypt;
}

Result<GenerateRequest> generate_request(const hsmux_generate_request* request) {
  const auto given = read(request);
  if (!given) return fail(bad_struct());
  GenerateRequest generate{};
  HSMUX_TRY(generate.label, text(given->label, "label"));
  HSMUX_TRY(generate.algorithm, algorithm(given->algorithm));
  HSMUX_TRY(generate.placement, placement(given->slots));
  HSMUX_TRY(generate.options, request_options(nullptr, given->timeout_ms));
  generate.bits = given->bits;
  generate.software_key = given->software_key != 0;
  return generate;
}

hsmux_job Jobs::begin() {
  const std::lock_guard lock(mutex_);
  jobs_.emplace(++last_, Job());
  return last_;
}

void Jobs::set(hsmux_job number, Job job) {
  const std::lock_guard lock(mutex_);
  if (const auto entry = jobs_.find(number); entry != jobs_.end()) entry->second = std::move(job);
}

void Jobs::end(hsmux_job number) {
  const std::lock_guard lock(mutex_);
  jobs_.erase(number);
}

std::optional<Job> Jobs::find(hsmux_job number) const {
  const std::lock_guard lock(mutex_);
  const auto entry = jobs_.find(number);
  return entry == jobs_.end() ? std::nullopt : std::optional(entry->second);
}

} // namespace hsmux::c_abi
