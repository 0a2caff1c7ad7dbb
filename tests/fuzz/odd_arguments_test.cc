// The C ABI with arguments that no sane caller gives: NULL here and there, structs of any size, wrong names, flags at
// random. Memory is of exactly the size that is said, so that AddressSanitizer sees a byte too many.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/hsmux.h"
#include "tests/random_seed.h"
#include "tests/token_folder.h"

namespace hsmux {
namespace {

constexpr int kCalls = 1200;

std::atomic<int> completions{0}, visits{0};
void on_done(void*, hsmux_status, const uint8_t*, size_t, const hsmux_key_info*, const hsmux_error*) { ++completions; }
void on_batch_done(void*, size_t, hsmux_status, const uint8_t*, size_t, const hsmux_error*) { ++completions; }
void on_key(void*, const hsmux_key_info*) { ++visits; }

// Everything that is random, and the memory that calls get, which lives until submitted work has copied it.
class Odd {
public:
  explicit Odd(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return random_() % bound; }
  bool rarely() { return below(8) == 0; }
  template <class T> T one_of(std::initializer_list<T> values) { return values.begin()[below(values.size())]; }
  void forget() { memory_.clear(); }

  std::uint8_t* bytes(std::size_t size, bool random = true) {
    memory_.emplace_back(new std::uint8_t[size]());
    for (std::size_t i = 0; random && i < size; ++i) memory_.back()[i] = static_cast<std::uint8_t>(random_());
    return memory_.back().get();
  }

  const char* key() {
    return one_of<const char*>(
        {nullptr, "", "ec", "ec", "aes", "aes", "rsa", "no-such", "id:zz", "id:00", "pkcs11:object=ec", "pkcs11:x"});
  }
  const char* algorithm() {
    return one_of<const char*>({nullptr, "", "ecdsa-p256-sha256", "ecdsa-p256-sha256", "aes-256-gcm", "aes-256-gcm",
                                "rsa-oaep-sha256", "ed25519", "AES"});
  }
  const char* slot() {
    return one_of<const char*>({nullptr, nullptr, nullptr, "", "slot-0", "slot-1", "slot-9", "\xff\n"});
  }
  std::int64_t timeout() { return one_of<std::int64_t>({0, 0, 0, 1, 2000, -1, INT64_MIN, INT64_MAX}); }
  std::int32_t flag() { return one_of<std::int32_t>({0, 0, 1, -1, INT32_MIN}); }
  void data(const uint8_t*& pointer, size_t& size) {
    size = one_of<size_t>({0, 1, 31, 32, 48, 100, 256, 5000});
    pointer = bytes(size);
    if (rarely()) pointer = nullptr;
  }

  // A struct in memory of the size that it says, or NULL. Where it is larger than ours the rest is zero, or not.
  template <class Struct> Struct* sized(Struct filled) {
    if (rarely()) return nullptr;
    const std::size_t size = rarely()
                                 ? one_of<std::size_t>({0, 7, sizeof(std::size_t), sizeof(Struct) / 2,
                                                        sizeof(Struct) - 1, sizeof(Struct) + 1, sizeof(Struct) * 3})
                                 : sizeof(Struct);
    std::uint8_t* memory = bytes(std::max(size, sizeof(std::size_t)), false);
    filled.struct_size = size;
    std::memcpy(memory, &filled, std::min(std::max(size, sizeof(std::size_t)), sizeof(Struct)));
    if (size > sizeof(Struct) && rarely()) memory[size - 1] = 1;
    return reinterpret_cast<Struct*>(memory);
  }
  template <class Struct> static Struct zero() {
    Struct empty;
    std::memset(&empty, 0, sizeof empty);
    return empty;
  }

  hsmux_error* error() { return sized(zero<hsmux_error>()); }
  hsmux_key_info* info() { return sized(zero<hsmux_key_info>()); }
  hsmux_sign_request* sign() {
    auto request = zero<hsmux_sign_request>();
    request.key = key(), request.algorithm = algorithm(), request.slot = slot(), request.timeout_ms = timeout();
    data(request.data, request.data_bytes);
    request.prehashed = flag(), request.hard = flag();
    return sized(request);
  }
  hsmux_verify_request* verify() {
    auto request = zero<hsmux_verify_request>();
    request.key = key(), request.algorithm = algorithm(), request.slot = slot(), request.timeout_ms = timeout();
    data(request.data, request.data_bytes);
    data(request.signature, request.signature_bytes);
    request.prehashed = flag();
    return sized(request);
  }
  hsmux_cipher_request* cipher() {
    auto request = zero<hsmux_cipher_request>();
    request.key = key(), request.algorithm = algorithm(), request.slot = slot(), request.timeout_ms = timeout();
    data(request.data, request.data_bytes);
    data(request.aad, request.aad_bytes);
    if (rarely()) data(request.bound_to, request.bound_to_bytes);
    request.hard = flag();
    return sized(request);
  }
  hsmux_generate_request* generate() {
    auto request = zero<hsmux_generate_request>();
    request.label = one_of<const char*>({nullptr, "", "made", "\xff\xfe"}), request.algorithm = algorithm();
    if (request.algorithm != nullptr && std::string(request.algorithm).starts_with("rsa"))
      request.algorithm = "ed25519";
    request.bits = one_of<uint32_t>({0, 1, 256, 4096, UINT32_MAX});
    request.slots = one_of<const char*>(
        {nullptr, "all", "quorum:1", "quorum:", "quorum:99", "quorum:4294967296", ",", "slot-0,slot-0", "slot-9", ""});
    request.software_key = flag(), request.timeout_ms = timeout();
    return sized(request);
  }
  uint8_t* out(size_t*& size) {
    size = rarely() ? nullptr : reinterpret_cast<size_t*>(bytes(sizeof(size_t), false));
    const std::size_t room = one_of<size_t>({0, 1, 71, 100, 600, 6000});
    if (size != nullptr) *size = room;
    return rarely() ? nullptr : bytes(room);
  }

private:
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<std::uint8_t[]>> memory_;
};

class OddArguments : public testing::Test {
protected:
  void SetUp() override {
    const std::string config = tokens_.write_toml("keys = { development_software_keys = true }\n");
    auto options = Odd::zero<hsmux_open_options>();
    options.struct_size = sizeof options, options.config_path = config.c_str(), options.set_module_environment = 1;
    auto error = Odd::zero<hsmux_error>();
    error.struct_size = sizeof error;
    ASSERT_EQ(hsmux_open(&options, &engine_, &error), HSMUX_OK) << error.message;
    generate("ec", "ecdsa-p256-sha256");
    generate("aes", "aes-256-gcm");
    generate("rsa", "rsa-oaep-sha256");
  }
  void TearDown() override { EXPECT_EQ(hsmux_close(engine_, 0), HSMUX_OK); }

  void generate(const char* label, const char* algorithm) {
    auto request = Odd::zero<hsmux_generate_request>();
    request.struct_size = sizeof request, request.label = label, request.algorithm = algorithm;
    request.slots = "all", request.software_key = 1;
    auto error = Odd::zero<hsmux_error>();
    error.struct_size = sizeof error;
    ASSERT_EQ(hsmux_key_generate(engine_, &request, nullptr, &error), HSMUX_OK) << error.message;
  }
  void expect_signing_works() {
    auto request = Odd::zero<hsmux_sign_request>();
    request.struct_size = sizeof request, request.key = "ec", request.algorithm = "ecdsa-p256-sha256";
    std::vector<uint8_t> signature(hsmux_output_bytes_max(request.algorithm, HSMUX_SIGN, 0));
    size_t size = signature.size();
    EXPECT_EQ(hsmux_sign(engine_, &request, signature.data(), &size, nullptr), HSMUX_OK);
  }

  const TokenFolder tokens_{2};
  hsmux_engine* engine_ = nullptr;
};

// Each answers a status; those that submit add to `due` how many completions are owed then.
using Entry = std::function<hsmux_status(hsmux_engine*, Odd&, hsmux_error*, int& due)>;

#define INTO_BUFFER(function, request)                                                                                 \
  [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {                                                       \
    size_t* size = nullptr;                                                                                            \
    uint8_t* out = odd.out(size);                                                                                      \
    return function(engine, odd.request(), out, size, error);                                                          \
  }
#define SUBMITTED(function, ...)                                                                                       \
  [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int& due) {                                                   \
    hsmux_job job = 0;                                                                                                 \
    const hsmux_completion done = odd.rarely() ? nullptr : on_done;                                                    \
    const hsmux_status status = function(engine, __VA_ARGS__, done, nullptr, odd.rarely() ? nullptr : &job, error);    \
    due += status == HSMUX_OK ? 1 : 0;                                                                                 \
    if (odd.rarely()) hsmux_cancel(engine, job, error);                                                                \
    return status;                                                                                                     \
  }
#define BATCH(function, type, request)                                                                                 \
  [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int& due) {                                                   \
    const type* requests[3] = {odd.request(), odd.request(), odd.request()};                                           \
    const size_t count = odd.below(4);                                                                                 \
    hsmux_job jobs[3];                                                                                                 \
    const hsmux_status status =                                                                                        \
        function(engine, odd.rarely() ? nullptr : requests, count, odd.rarely() ? nullptr : on_batch_done, nullptr,    \
                 odd.rarely() ? nullptr : jobs, error);                                                                \
    due += status == HSMUX_OK ? static_cast<int>(count) : 0;                                                           \
    return status;                                                                                                     \
  }

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      INTO_BUFFER(hsmux_sign, sign),
      INTO_BUFFER(hsmux_encrypt, cipher),
      INTO_BUFFER(hsmux_decrypt, cipher),
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_verify(engine, odd.verify(), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        const size_t size = odd.one_of<size_t>({0, 1, 32, 65'536});
        uint8_t* out = odd.rarely() ? nullptr : odd.bytes(size);
        return hsmux_random(engine, odd.slot(), odd.timeout(), out, size, error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_key_generate(engine, odd.generate(), odd.info(), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_key_find(engine, odd.key(), odd.timeout(), odd.info(), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_keys_list(engine, odd.key(), odd.timeout(), odd.rarely() ? nullptr : on_key, nullptr, error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        size_t* size = nullptr;
        uint8_t* out = odd.out(size);
        return hsmux_key_public(engine, odd.key(), odd.timeout(), out, size, error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        int32_t exists = 0;
        return hsmux_key_exists(engine, odd.key(), odd.timeout(), odd.rarely() ? nullptr : &exists, error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_key_delete(engine, odd.one_of<const char*>({nullptr, "", "made", "id:", "\xff\xfe"}),
                                odd.timeout(), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_slot_unlatch(engine, odd.slot(), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_work(engine, odd.sized(Odd::zero<hsmux_work_stats>()), error);
      },
      [](hsmux_engine* engine, Odd& odd, hsmux_error* error, int&) {
        return hsmux_cancel(engine, odd.below(100), error);
      },
      SUBMITTED(hsmux_submit_sign, odd.sign()),
      SUBMITTED(hsmux_submit_verify, odd.verify()),
      SUBMITTED(hsmux_submit_encrypt, odd.cipher()),
      SUBMITTED(hsmux_submit_decrypt, odd.cipher()),
      SUBMITTED(hsmux_submit_random, odd.slot(), odd.timeout(), odd.one_of<size_t>({0, 1, 65'536, 65'537, SIZE_MAX})),
      SUBMITTED(hsmux_submit_key_generate, odd.generate()),
      SUBMITTED(hsmux_submit_key_find, odd.key(), odd.timeout()),
      SUBMITTED(hsmux_submit_keys_list, odd.key(), odd.timeout(), odd.rarely() ? nullptr : on_key),
      SUBMITTED(hsmux_submit_key_public, odd.key(), odd.timeout()),
      SUBMITTED(hsmux_submit_key_delete, odd.one_of<const char*>({nullptr, "", "made", "no-such"}), odd.timeout()),
      BATCH(hsmux_submit_sign_batch, hsmux_sign_request, sign),
      BATCH(hsmux_submit_encrypt_batch, hsmux_cipher_request, cipher),
      BATCH(hsmux_submit_decrypt_batch, hsmux_cipher_request, cipher),
  };
  return all;
}

TEST_F(OddArguments, AreAnsweredByAStatusAndHarmNothing) {
  Odd odd(test_seed());
  int due = 0;
  const int before = completions;
  for (int call = 0; call < kCalls; ++call) {
    const std::size_t which = odd.below(entries().size());
    hsmux_error* const error = odd.error();
    hsmux_engine* const engine = odd.below(50) == 0 ? nullptr : engine_;
    const hsmux_status status = entries()[which](engine, odd, error, due);
    const std::string text = error != nullptr && error->struct_size >= sizeof *error ? error->message : "";
    // Also what a module answers to a caller's wrong data is not called a failure of the HSM or of ours.
    EXPECT_TRUE(status != HSMUX_INTERNAL && status != HSMUX_DEVICE && status != HSMUX_UNAVAILABLE)
        << "call " << call << ", entry " << which << ": " << hsmux_status_name(status) << ": " << text;
    EXPECT_TRUE(engine != nullptr || status == HSMUX_INVALID_ARGUMENT);
    odd.forget();
  }
  expect_signing_works();
  EXPECT_EQ(hsmux_close(engine_, 0), HSMUX_OK);
  engine_ = nullptr;
  EXPECT_EQ(completions - before, due);
}

TEST(OddArgumentsWithoutEngine, AreAnsweredByAStatus) {
  Odd odd(test_seed());
  for (int call = 0; call < 200; ++call) {
    auto options = Odd::zero<hsmux_open_options>();
    options.config_path = odd.one_of<const char*>({nullptr, "", "/no/such/file", "/"});
    options.config_text = odd.one_of<const char*>({nullptr, "", "[[slot]]", "\xff", "x = 1"});
    options.config_folder = odd.one_of<const char*>({nullptr, "", "/no/such/folder"});
    options.slots_at_start_min = odd.one_of<uint32_t>({0, 1, UINT32_MAX});
    options.connect_timeout_ms = odd.timeout();
    hsmux_engine* engine = nullptr;
    EXPECT_NE(hsmux_open(odd.sized(options), odd.rarely() ? nullptr : &engine, odd.error()), HSMUX_OK);
    EXPECT_EQ(engine, nullptr);
    odd.forget();
  }
  EXPECT_EQ(hsmux_close(nullptr, -1), HSMUX_OK);
  EXPECT_EQ(hsmux_output_bytes_max(nullptr, HSMUX_SIGN, 1), 0U);
  EXPECT_GE(hsmux_output_bytes_max("aes-256-gcm", HSMUX_ENCRYPT, SIZE_MAX),
            hsmux_output_bytes_max("aes-256-gcm", HSMUX_ENCRYPT, 1000));
  EXPECT_NE(hsmux_status_name(HSMUX_BUFFER_TOO_SMALL), nullptr);
}

} // namespace
} // namespace hsmux
