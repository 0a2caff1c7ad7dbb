// hsmux selftest: every algorithm on every slot, checked against OpenSSL
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "mechanisms/envelope.h"
#include "mechanisms/host_crypto.h"
#include "mechanisms/openssl_handles.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace hsmux {
namespace {

enum class CheckOutcome : std::uint8_t { kPassed, kFailed, kSkipped };
constexpr std::array<std::string_view, 3> kOutcomeNames{"passed", "FAILED", "skipped"};

struct Check {
  std::string algorithm, slot, check;
  CheckOutcome outcome = CheckOutcome::kFailed;
  std::chrono::milliseconds time{};
  std::string detail;
};

Error wrong(std::string what) { return make_error(ErrorKind::kDevice, std::move(what)); }

// A second way of verifying, apart from the one that the engine uses itself.
Status verified_by_openssl(const AlgorithmSpec& spec, ByteView spki, ByteView message, ByteView signature) {
  const unsigned char* position = spki.data();
  const openssl::Key key(d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size())));
  const openssl::DigestContext context(EVP_MD_CTX_new());
  const EVP_MD* hash = !spec.hash ? nullptr : *spec.hash == Hash::kSha384 ? EVP_sha384() : EVP_sha256();
  const bool pss = spec.algorithm == Algorithm::kRsaPssSha256;
  EVP_PKEY_CTX* parameters = nullptr; // the context's own
  const bool valid =
      key && context && EVP_DigestVerifyInit(context.get(), &parameters, hash, nullptr, key.get()) == 1 &&
      (!pss || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
  ERR_clear_error();
  if (valid) return {};
  return fail(wrong("OpenSSL does not verify the signature"));
}

Status expect_decrypt_failure(const Result<Bytes>& result) {
  if (result) return fail(wrong("a tampered ciphertext was decrypted"));
  if (result.error().text() == decrypt_failed().text()) return {};
  return fail(wrong("a tampered ciphertext fails in a way of its own: " + result.error().text()));
}

// All checks of one algorithm with one key in one slot.
class Subject {
public:
  Subject(Engine& engine, const Program& program, const AlgorithmSpec& spec, std::string key, std::string slot)
      : engine_(engine), program_(program), spec_(spec), key_(std::move(key)), slot_(std::move(slot)) {}

  Status round_trip() {
    for (const std::size_t size : {std::size_t{0}, std::size_t{34}, largest()}) {
      const Bytes data(size, 0x6d);
      HSMUX_CHECK(spec_.signs ? sign_and_verify(data) : encrypt_and_decrypt(data));
    }
    return {};
  }

  Status tampering_is_noticed() {
    Bytes data(34, 0x6d);
    if (spec_.signs) {
      HSMUX_TRY(const Bytes signature, sign(data));
      data[0] ^= 1;
      const Status status = verify(data, signature);
      if (!status && status.error().kind == ErrorKind::kSignatureInvalid) return {};
      return fail(wrong("a signature over other data is accepted"));
    }
    HSMUX_TRY(Bytes ciphertext, encrypt(data));
    Bytes tampered = ciphertext;
    tampered.back() ^= 1;
    HSMUX_CHECK(expect_decrypt_failure(decrypt(tampered)));
    ciphertext.pop_back();
    return expect_decrypt_failure(decrypt(ciphertext));
  }

  Status public_key_is_stable() {
    HSMUX_TRY(const Bytes first, engine_.public_key(key_, here()));
    HSMUX_TRY(const Bytes second, engine_.public_key(key_, here()));
    if (first == second) return {};
    return fail(wrong("the public key is not the same bytes twice"));
  }

private:
  [[nodiscard]] std::size_t largest() const {
    if (spec_.signs) return std::min<std::size_t>(1UL << 20, spec_.input_bytes_max);
    return key_family(spec_.key) == KeyFamily::kRsa ? spec_.key_bits_default / 8 - 66 : spec_.input_bytes_max;
  }
  Result<Bytes> sign(ByteView data) {
    return engine_.sign(
        {.key = key_, .algorithm = spec_.algorithm, .message = data, .prehashed = false, .options = here()});
  }
  Status verify(ByteView data, ByteView signature) {
    return engine_.verify({.key = key_,
                           .algorithm = spec_.algorithm,
                           .message = data,
                           .prehashed = false,
                           .signature = signature,
                           .options = here()});
  }
  Result<Bytes> encrypt(ByteView data) {
    return engine_.encrypt(
        {.key = key_, .algorithm = spec_.algorithm, .plaintext = data, .aad = {}, .options = here()});
  }
  Result<Bytes> decrypt(ByteView data) {
    return engine_.decrypt({.key = key_,
                            .algorithm = spec_.algorithm,
                            .ciphertext = data,
                            .aad = {},
                            .bound_to = std::nullopt,
                            .options = here()});
  }
  Status sign_and_verify(ByteView data) {
    HSMUX_TRY(const Bytes signature, sign(data));
    HSMUX_CHECK(verify(data, signature));
    HSMUX_TRY(const Bytes spki, engine_.public_key(key_, here()));
    return verified_by_openssl(spec_, spki, data, signature);
  }
  Status encrypt_and_decrypt(ByteView data) { // RSA, ECIES: encrypted by OpenSSL on the host
    HSMUX_TRY(const Bytes ciphertext, encrypt(data));
    HSMUX_TRY(const Bytes opened, decrypt(ciphertext));
    if (std::ranges::equal(opened, data)) return {};
    return fail(wrong("what was decrypted is not what was encrypted"));
  }

  // Each request gets a deadline of its own.
  [[nodiscard]] RequestOptions here() const {
    RequestOptions options = program_.request_options();
    options.slot = slot_;
    return options;
  }

  Engine& engine_;
  const Program& program_;
  const AlgorithmSpec& spec_;
  const std::string key_, slot_;
};

class Selftest {
public:
  Selftest(Engine& engine, const Program& program) : engine_(engine), program_(program) {}

  void run() {
    add("host", "-", "known answers", [] { return host_crypto_self_test(); });
    for (const SlotReport& slot : engine_.slots(true)) {
      for (const AlgorithmOnSlot& algorithm : slot.algorithms) {
        if (Program::interrupted()) return;
        check(slot.name, *find_spec(algorithm.algorithm), algorithm);
      }
      if (slot.algorithms.empty())
        skip("all", slot.name, "all", "the slot is not up: see hsmux slots", CheckOutcome::kFailed);
    }
  }

  [[nodiscard]] const std::vector<Check>& rows() const { return rows_; }
  [[nodiscard]] std::size_t count(CheckOutcome outcome) const {
    return static_cast<std::size_t>(std::ranges::count(rows_, outcome, &Check::outcome));
  }

private:
  void check(const std::string& slot, const AlgorithmSpec& spec, const AlgorithmOnSlot& choice) {
    if (choice.recipe.empty()) {
      return skip(spec.name, slot, "all", "the token has no recipe for it: " + choice.reason, CheckOutcome::kSkipped);
    }
    std::string id;
    add(spec.name, slot, "key generated in the token", [&]() -> Status {
      std::array<std::uint8_t, 8> random{};
      HSMUX_CHECK(random_bytes(random));
      const std::string label = "hsmux-selftest-" + to_hex(random);
      HSMUX_TRY(const KeyInfo key,
                engine_.generate({.label = label,
                                  .algorithm = spec.algorithm,
                                  .bits = 0,
                                  .placement = PlacementConfig{.kind = Placement::kSlots, .quorum = 0, .slots = {slot}},
                                  .software_key = false,
                                  .options = program_.request_options()}));
      id = "id:" + key.id;
      return {};
    });
    if (!id.empty()) {
      Subject subject(engine_, program_, spec, id, slot);
      add(spec.name, slot, "round trips", [&] { return subject.round_trip(); });
      add(spec.name, slot, "tampering noticed", [&] { return subject.tampering_is_noticed(); });
      if (key_family(spec.key) != KeyFamily::kAes) {
        add(spec.name, slot, "public key stable", [&] { return subject.public_key_is_stable(); });
      }
      add(spec.name, slot, "key deleted", [&]() -> Status {
        HSMUX_CHECK(engine_.delete_key(id, program_.request_options()));
        return {};
      });
    }
    add(spec.name, slot, "known key against OpenSSL", [&] {
      RequestOptions here = program_.request_options();
      here.slot = slot;
      return engine_.cross_check(spec.algorithm, here);
    });
  }

  void add(std::string_view algorithm, const std::string& slot, std::string_view name,
           const std::function<Status()>& work) {
    progress_.show(fmt::format("self-test: {} on {}: {}", algorithm, slot, name));
    const TimePoint start = MonotonicClock::now();
    const Status status = work();
    Check row{std::string(algorithm),
              slot,
              std::string(name),
              CheckOutcome::kPassed,
              std::chrono::duration_cast<std::chrono::milliseconds>(MonotonicClock::now() - start),
              ""};
    if (!status) {
      // A token that takes no keys in clear is no worse for it.
      const bool import_refused = status.error().call == Call::kCreateObject && !status.error().retryable();
      row.outcome = import_refused ? CheckOutcome::kSkipped : CheckOutcome::kFailed;
      row.detail = (import_refused ? "the token takes no imported key: " : "") + status.error().text();
    }
    rows_.push_back(std::move(row));
  }

  void skip(std::string_view algorithm, const std::string& slot, std::string_view name, std::string why,
            CheckOutcome outcome) {
    rows_.push_back({std::string(algorithm), slot, std::string(name), outcome, {}, std::move(why)});
  }

  Engine& engine_;
  const Program& program_;
  StatusLine progress_;
  std::vector<Check> rows_;
};

Status report(const Program& program, const Selftest& test) {
  const std::size_t failed = test.count(CheckOutcome::kFailed);
  const std::size_t skipped = test.count(CheckOutcome::kSkipped);
  const std::size_t passed = test.count(CheckOutcome::kPassed);
  if (program.options.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const Check& row : test.rows()) {
      rows.push_back(
          {{"algorithm", row.algorithm},
           {"slot", row.slot},
           {"check", row.check},
           {"outcome",
            row.outcome == CheckOutcome::kFailed ? "failed" : kOutcomeNames[static_cast<std::size_t>(row.outcome)]},
           {"milliseconds", row.time.count()},
           {"detail", row.detail}});
    }
    return Program::print_json(
        {{"checks", std::move(rows)}, {"passed", passed}, {"failed", failed}, {"skipped", skipped}});
  }
  std::vector<std::vector<std::string>> lines;
  for (const Check& row : test.rows()) {
    lines.push_back({row.algorithm, row.slot, row.check,
                     std::string(kOutcomeNames[static_cast<std::size_t>(row.outcome)]),
                     fmt::format("{} ms", row.time.count()), row.detail});
  }
  HSMUX_CHECK(Program::print(table({"ALGORITHM", "SLOT", "CHECK", "RESULT", "TIME", ""}, lines)));
  return Program::print(fmt::format("{} passed, {} failed, {} skipped\n", passed, failed, skipped));
}

Result<ExitCode> selftest(Program& program) {
  HSMUX_TRY(const std::unique_ptr<Engine> engine, program.open_engine());
  Selftest test(*engine, program);
  test.run();
  HSMUX_CHECK(report(program, test));
  if (Program::interrupted()) return fail(ErrorKind::kUnavailable, "interrupted: not every check was made");
  return test.count(CheckOutcome::kFailed) == 0 ? ExitCode::kOk : ExitCode::kHsm;
}

} // namespace

void add_selftest(CLI::App& app, Program& program) {
  CLI::App* command = app.add_subcommand("selftest", "Try every algorithm on every slot, checked by OpenSSL");
  command->footer(
      "Makes a key of its own per algorithm and slot and deletes it again; other keys are not touched. A check is\n"
      "skipped only where the token lacks a mechanism or takes no imported key, and says so. Exit status 6 when a\n"
      "check fails.\n"
      "Examples:\n"
      "  hsmux selftest\n"
      "  hsmux selftest --slot hsm-a --json\n"
      "Global options: see hsmux --help.");
  program.on(*command, [&program] { return selftest(program); });
}

} // namespace hsmux
