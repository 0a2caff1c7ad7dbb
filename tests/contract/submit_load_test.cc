// Submitted work under load: run by ThreadSanitizer too.
#include <functional>
#include <thread>

#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SubmitUnderLoad : public Submit {
protected:
  // Chains of requests, each submitted by the completion of the one before.
  void run_chains(int chains, int length, const std::function<void()>& meanwhile = {}) {
    std::atomic<int> left{chains * length}, ended{0};
    std::function<void(Result<Bytes>)> again = [&](const Result<Bytes>& result) {
      EXPECT_TRUE(result.has_value()) << why(result);
      if (left.fetch_sub(1) > chains) {
        EXPECT_TRUE(engine().submit(request(), again).has_value());
      }
      ++ended;
    };
    for (int i = 0; i < chains; ++i) EXPECT_TRUE(engine().submit(request(), again).has_value());
    if (meanwhile) meanwhile();
    EXPECT_TRUE(eventually([&] { return ended == chains * length; })) << ended;
    EXPECT_TRUE(eventually([&] { return engine().work().submitted == 0; }));
  }
};

TEST_F(SubmitUnderLoad, ManyChainsAllEnd) {
  open_with_key();
  run_chains(64, 20);
}

TEST_F(SubmitUnderLoad, KilledSessionsAreNoErrorToAnybody) {
  open_with_key();
  run_chains(16, 100, [&] {
    for (std::size_t i = 0; i < 4; ++i) {
      sim_->kill_sessions(slot_id(i % 2));
      std::this_thread::yield();
    }
  });
}

TEST_F(SubmitUnderLoad, ASlotThatHangsForAWhileIsNoErrorToAnybody) {
  open_with_key();
  run_chains(16, 60, [&] {
    sim_->hang("C_Sign", slot_id(0));
    EXPECT_TRUE(sim_->wait_hung(1));
    EXPECT_TRUE(eventually([&] { return engine().slots().at(0).overdue > 0; }));
    sim_->release();
  });
}

TEST_F(SubmitUnderLoad, CancellingAndClosingMeetNoRequestTwice) {
  open_with_key("", "sessions_max = 2");
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto job = engine().submit(request(), tally_.next());
        if (!job) continue; // counted as given out: see below
        if ((i + t) % 3 == 0) (void)job->cancel();
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(engine().close(Deadline::after(seconds(20))));
  tally_.expect_each_once();
}

TEST_F(SubmitUnderLoad, BlockingAndSubmittedRequestsShareTheSessions) {
  open_with_key("", "sessions_max = 2");
  std::atomic<bool> stop{false};
  std::atomic<int> signatures{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto signature = sign("orders", message_);
        EXPECT_TRUE(signature.has_value()) << why(signature);
        ++signatures;
      }
    });
  }
  run_chains(8, 40);
  EXPECT_TRUE(eventually([&] { return signatures > 20; }));
  stop = true;
}

// A flood of decryptions and a few signatures on one session a slot: the signatures are not behind all of the flood.
TEST_F(SubmitUnderLoad, AFloodOfDecryptionsDoesNotStarveSignatures) {
  open_with_key("", "sessions_max = 1\nconcurrency_min = 1");
  make_key(kOaep, "inbox");
  const Bytes secret = bytes("secret");
  const auto sealed =
      engine().encrypt({.key = "inbox", .algorithm = kOaep, .plaintext = secret, .aad = {}, .options = {}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  const DecryptRequest decrypt{.key = "inbox",
                               .algorithm = kOaep,
                               .ciphertext = *sealed,
                               .aad = {},
                               .bound_to = {},
                               .options = {.deadline = Deadline::after(seconds(120)), .slot = {}}};
  ASSERT_TRUE(engine().decrypt(decrypt).has_value());
  std::atomic<int> decrypted{0};
  constexpr int kFlood = 400;
  for (int i = 0; i < kFlood; ++i) {
    ASSERT_TRUE(engine().submit(decrypt, [&](const Result<Bytes>&) { ++decrypted; }).has_value());
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(decrypted, kFlood / 2); // ten signatures by turns with what takes longer
  EXPECT_TRUE(eventually([&] { return decrypted == kFlood; }));
}

// The same when nothing is known of either yet.
TEST_F(SubmitUnderLoad, AFloodOfWorkThatIsNewDoesNotStarveSignatures) {
  open("", "sessions_max = 1\nconcurrency_min = 1");
  make_key(kEcdsa, "orders");
  make_key(kOaep, "inbox");
  const Bytes secret = bytes("secret");
  const auto sealed =
      engine().encrypt({.key = "inbox", .algorithm = kOaep, .plaintext = secret, .aad = {}, .options = {}});
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  ASSERT_TRUE(engine().find_key("orders").has_value());
  const DecryptRequest decrypt{.key = "inbox",
                               .algorithm = kOaep,
                               .ciphertext = *sealed,
                               .aad = {},
                               .bound_to = {},
                               .options = {.deadline = Deadline::after(seconds(120)), .slot = {}}};
  std::atomic<int> decrypted{0};
  constexpr int kFlood = 400;
  for (int i = 0; i < kFlood; ++i) {
    ASSERT_TRUE(engine().submit(decrypt, [&](const Result<Bytes>&) { ++decrypted; }).has_value());
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(decrypted, kFlood / 2);
  EXPECT_TRUE(eventually([&] { return decrypted == kFlood; }));
}

TEST_F(SubmitUnderLoad, AFloodOfRandomBytesDoesNotStarveSignatures) {
  open_with_key("", "sessions_max = 1\nconcurrency_min = 1");
  sim_->delay("C_GenerateRandom", milliseconds(5));
  std::atomic<bool> stop{false};
  std::atomic<int> taken{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      Bytes out(8);
      while (!stop) {
        EXPECT_TRUE(engine().random(out).has_value());
        ++taken;
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return taken > 50; }));
  const int before = taken;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(submit_and_wait().has_value());
  EXPECT_LT(taken - before, 200);
  stop = true;
}

} // namespace
} // namespace hsmux
