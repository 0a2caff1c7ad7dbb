// What the requests' way costs besides the module's own calls. Counted, not timed.
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "mechanisms/key_template.h"
#include "slots/pkcs11.h"
#include "slots/slot.h"
#include "tests/hot_path/counters.h"
#include "tests/slots/sim_token.h"

namespace hsmux {
namespace {

constexpr CallStatus kFine{Call::kSign, CKR_OK};
constexpr int kRounds = 1000;

TEST(Counters, SeeWhatTheyCount) {
  const Counters before = counters_of_this_thread();
  std::mutex mutex;
  mutex.lock();
  mutex.unlock();
  const auto memory = std::make_unique<std::array<char, 100>>();
  EXPECT_NE(memory, nullptr);
  EXPECT_EQ(counters_of_this_thread().locks, before.locks + 1);
  EXPECT_EQ(counters_of_this_thread().allocations, before.allocations + 1);
}

class HotPath : public SimToken {
protected:
  std::unique_ptr<Slot> open_slot() {
    SlotOptions options;
    options.name = "hsm-a";
    options.selector.token_label = tokens_.label(0);
    options.pin = PinFromValue{std::make_shared<const Pin>(*Pin::copy_of(tokens_.pin(0)))};
    Result<std::unique_ptr<Slot>> slot =
        Slot::open(std::move(options), module_, {}, [] {}, Deadline::after(std::chrono::seconds(30)), true);
    if (!slot) {
      ADD_FAILURE() << slot.error().text();
      std::abort();
    }
    EXPECT_TRUE(eventually([&] { return (*slot)->stats().sessions.idle > 0; }));
    return std::move(*slot);
  }
};

TEST_F(HotPath, AcquireAndReleaseTakeNoLockAndNoMemory) {
  const std::unique_ptr<Slot> slot = open_slot();
  const Counters before = counters_of_this_thread();
  int lent = 0;
  for (int i = 0; i < kRounds; ++i) {
    std::optional<Lease> lease = slot->try_acquire();
    if (!lease) continue;
    ++lent;
    slot->finish(std::move(*lease), kFine);
  }
  const Counters after = counters_of_this_thread();
  EXPECT_EQ(lent, kRounds);
  EXPECT_EQ(after.locks, before.locks);
  EXPECT_EQ(after.allocations, before.allocations);
}

// Under seccomp's strict mode the kernel kills a thread that makes any system call but read, write and exit.
void lend_under_seccomp(Slot& slot, int done) {
  std::thread([&slot, done] {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return;
    int lent = 0;
    for (int i = 0; i < kRounds; ++i) {
      std::optional<Lease> lease = slot.try_acquire();
      if (!lease) continue;
      ++lent;
      slot.finish(std::move(*lease), kFine);
    }
    const char answer = lent == kRounds ? 'y' : 'n';
    (void)!write(done, &answer, 1);
    syscall(SYS_exit, 0);
  }).detach(); // its end skips all that a join waits for
}

class HotPathDeathTest : public HotPath {
protected:
  [[noreturn]] void lend_and_exit() {
    const std::unique_ptr<Slot> slot = open_slot();
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) _exit(3);
    lend_under_seccomp(*slot, ends[1]);
    pollfd wanted{.fd = ends[0], .events = POLLIN, .revents = 0};
    char answer = 0;
    if (poll(&wanted, 1, 10'000) != 1 || read(ends[0], &answer, 1) != 1) _exit(2); // it was killed
    _exit(answer == 'y' ? 0 : 1);
  }
};

TEST_F(HotPathDeathTest, AcquireAndReleaseMakeNoSystemCall) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(lend_and_exit(), testing::ExitedWithCode(0), "");
}

// A warm signature through the engine, beside the module alone.
class SignPath : public HotPath {
protected:
  SignPath() {
    Result<Config> config = parse_config(tokens_.toml(), "test.toml", tokens_.folder());
    if (!config) ADD_FAILURE() << config.error().text();
    config->modules.front().environment.clear();                // as the fixture loaded the module
    config->slots.front().session_copies = SessionCopies::kOff; // the module alone works with the key itself
    Result<std::unique_ptr<Engine>> engine = Engine::open(std::move(*config));
    if (!engine) ADD_FAILURE() << engine.error().text();
    engine_ = std::move(*engine);
    const auto key = engine_->generate({.label = "a-key-with-a-long-name",
                                        .algorithm = Algorithm::kEcdsaP256Sha256,
                                        .bits = 0,
                                        .placement = {},
                                        .software_key = false,
                                        .options = {}});
    EXPECT_TRUE(key.has_value());
    id_ = *from_hex(key->id);
  }

  // Allocations of so many signatures through the engine, into the caller's buffer.
  std::uint64_t by_engine() {
    const std::array<std::uint8_t, 32> digest{};
    std::array<std::uint8_t, 128> out{};
    const SignRequest request{.key = "a-key-with-a-long-name",
                              .algorithm = Algorithm::kEcdsaP256Sha256,
                              .message = digest,
                              .prehashed = true,
                              .options = {}};
    EXPECT_TRUE(engine_->sign(request, out).has_value()); // looks the key up
    const std::uint64_t before = counters_of_this_thread().allocations;
    for (int i = 0; i < kRounds; ++i) {
      if (!engine_->sign(request, out)) ADD_FAILURE();
    }
    return counters_of_this_thread().allocations - before;
  }
  // The same by the module alone: what it allocates itself.
  std::uint64_t by_module() {
    Session session = open();
    const auto keys = session.find(key_template_by_id(ObjectClass::kPrivateKey, id_));
    EXPECT_EQ(keys.value().size(), 1U);
    const std::array<std::uint8_t, 32> digest{};
    std::array<std::uint8_t, 128> out{};
    const std::uint64_t before = counters_of_this_thread().allocations;
    for (int i = 0; i < kRounds; ++i) {
      if (!session.sign({.type = CKM_ECDSA}, keys->front(), digest, out)) ADD_FAILURE();
    }
    return counters_of_this_thread().allocations - before;
  }

  std::unique_ptr<Engine> engine_;
  Bytes id_;
};

TEST_F(SignPath, ASignatureIntoTheCallersBufferAllocatesNothingOfOurs) {
  const std::uint64_t raw = by_module();
  EXPECT_EQ(by_engine(), raw);
}

} // namespace
} // namespace hsmux
