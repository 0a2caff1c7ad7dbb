#include "slots/session_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "slots/pkcs11.h"
#include "tests/random_seed.h"
#include "tests/slots/sim_token.h"

namespace hsmux {
namespace {

constexpr CallStatus kFine{Call::kSign, CKR_OK};
constexpr CallStatus kBadData{Call::kSign, CKR_DATA_LEN_RANGE};
constexpr CallStatus kBroken{Call::kSign, CKR_DEVICE_ERROR};
constexpr CallStatus kDead{Call::kSign, CKR_SESSION_HANDLE_INVALID};

class SessionPools : public SimToken {
protected:
  SessionPools() {
    pool_.begin_epoch(1, false);
    pool_.on_work([this] { ++work_; });
    pool_.on_capacity_freed([this] { ++freed_; });
  }

  // After each step: nothing is lost, nothing counted twice.
  void expect_stats(std::uint32_t idle, std::uint32_t leased, std::uint64_t discarded) const {
    const SessionPoolStats stats = pool_.stats();
    EXPECT_EQ(stats.idle, idle);
    EXPECT_EQ(stats.leased, leased);
    EXPECT_EQ(stats.discarded, discarded);
    EXPECT_EQ(stats.opened, stats.idle + stats.leased + stats.discarded);
  }
  Lease acquire() {
    std::optional<Lease> lease = pool_.try_acquire();
    if (!lease) {
      ADD_FAILURE() << "no idle session";
      std::abort();
    }
    return std::move(*lease);
  }
  // Read-only and read-write sessions can be told apart: what tests need to see which one they got.
  static bool read_write(Lease& lease) { return lease->state() == CKS_RW_PUBLIC_SESSION; }

  int work_ = 0, freed_ = 0;
  SessionPool pool_{0, 4};
};

TEST_F(SessionPools, AnEmptyPoolLendsNothingAndNotesTheDemandOnce) {
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(work_, 1);
  EXPECT_EQ(pool_.wanted(), 1U);
}

TEST_F(SessionPools, OneSessionPerDemandIsWantedUpToTheBound) {
  std::vector<Lease> leases;
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(pool_.try_acquire().has_value());
    ASSERT_EQ(pool_.wanted(), 1U);
    pool_.add(open(), 1);
    leases.push_back(acquire());
    expect_stats(0, i + 1, 0);
  }
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 0U);
  for (Lease& lease : leases) pool_.finish(std::move(lease), kFine);
  expect_stats(4, 0, 0);
}

TEST_F(SessionPools, NothingIsWantedWithoutDemandBeyondTheMinimum) {
  SessionPool pool(2, 4);
  pool.begin_epoch(1, false);
  EXPECT_EQ(pool.wanted(), 2U);
  pool.add(open(), 1);
  EXPECT_EQ(pool.wanted(), 1U);
  pool.add(open(), 1);
  EXPECT_EQ(pool.wanted(), 0U);
}

TEST_F(SessionPools, AFailedOpenLeavesTheDemandThere) {
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 1U); // the keeper tries and fails: nothing is added
  EXPECT_EQ(pool_.wanted(), 1U);
}

TEST_F(SessionPools, DemandThatWasMetIsOver) {
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 1U);
  pool_.add(open(), 1);
  const Lease lease = acquire();
  EXPECT_EQ(pool_.wanted(), 0U);
}

TEST_F(SessionPools, DemandAfterAReturnIsNotedAnew) {
  pool_.add(open(), 1);
  Lease first = acquire();
  EXPECT_FALSE(pool_.try_acquire().has_value());
  pool_.finish(std::move(first), kFine);
  EXPECT_EQ(pool_.wanted(), 0U); // the demand was met by the return
  const Lease second = acquire();
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(work_, 2);
  EXPECT_EQ(pool_.wanted(), 1U);
}

TEST_F(SessionPools, TheSessionUsedLastIsLentFirst) {
  pool_.add(open(true), 1);
  pool_.add(open(false), 1);
  Lease newer = acquire();
  EXPECT_FALSE(read_write(newer));
  Lease older = acquire();
  EXPECT_TRUE(read_write(older));
  pool_.finish(std::move(newer), kFine);
  pool_.finish(std::move(older), kFine);
  Lease last = acquire();
  EXPECT_TRUE(read_write(last));
  expect_stats(1, 1, 0);
}

TEST_F(SessionPools, ADeadSessionNeverComesBackAndItsHandleIsNotClosed) {
  pool_.add(open(), 1);
  Lease lease = acquire();
  sim_.kill_sessions(slot_id());
  sim_.reset_counts();
  pool_.finish(std::move(lease), kDead);
  expect_stats(0, 0, 1);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.take_discarded().size(), 1U);
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U);
}

TEST_F(SessionPools, ABrokenSessionNeverComesBack) {
  pool_.add(open(), 1);
  pool_.finish(acquire(), kBroken);
  expect_stats(0, 0, 1);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.take_discarded().size(), 1U);
}

TEST_F(SessionPools, BadDataKeepsTheSession) {
  pool_.add(open(), 1);
  pool_.finish(acquire(), kBadData);
  expect_stats(1, 0, 0);
  EXPECT_TRUE(pool_.take_discarded().empty());
}

TEST_F(SessionPools, EveryCodeOfTheTableEndsALeaseAsItsRowSays) {
  for (const Disposition& row : disposition_table()) {
    pool_.add(open(), 1);
    const CallStatus status{Call::kSign, row.rv};
    pool_.finish(acquire(), status);
    const bool kept = disposition(status).session == SessionFate::kKeep;
    EXPECT_EQ(pool_.stats().idle, kept ? 1U : 0U) << row.name;
    if (kept) pool_.finish(acquire(), kBroken);
    pool_.take_discarded();
  }
  expect_stats(0, 0, disposition_table().size());
}

TEST_F(SessionPools, ADroppedLeaseIsDiscardedAndTheKeeperIsTold) {
  pool_.add(open(), 1);
  {
    const Lease lease = acquire();
  }
  expect_stats(0, 0, 1);
  EXPECT_EQ(work_, 1);
}

TEST_F(SessionPools, AMovedLeaseIsGivenBackOnce) {
  pool_.add(open(), 1);
  Lease lease = acquire();
  Lease moved = std::move(lease);
  expect_stats(0, 1, 0);
  pool_.finish(std::move(moved), kFine);
  expect_stats(1, 0, 0);
}

TEST_F(SessionPools, ReplacingALeaseDiscardsTheOneThatWasHeld) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  Lease lease = acquire();
  {
    Lease other = acquire();
    lease = std::move(other);
    expect_stats(0, 2, 0);
  }
  expect_stats(0, 1, 1);
}

TEST_F(SessionPools, EveryReturnAndEveryNewSessionFreesCapacity) {
  pool_.add(open(), 1);
  EXPECT_EQ(freed_, 1);
  pool_.finish(acquire(), kFine);
  EXPECT_EQ(freed_, 2);
  pool_.finish(acquire(), kBroken); // room for another one
  EXPECT_EQ(freed_, 3);
}

TEST_F(SessionPools, CallbacksMayAskThePool) {
  SessionPool pool(0, 1);
  pool.begin_epoch(1, false);
  SessionPoolStats seen;
  pool.on_capacity_freed([&] { seen = pool.stats(); });
  pool.on_work([&] { seen = pool.stats(); });
  EXPECT_FALSE(pool.try_acquire().has_value()); // would hang here if a lock were held
  pool.add(open(), 1);
  EXPECT_EQ(seen.idle, 1U);
  pool.finish(*pool.try_acquire(), kBroken);
  EXPECT_EQ(seen.discarded, 1U);
}

TEST_F(SessionPools, ANewEpochEndsIdleSessionsAtOnceAndLentOnesOnReturn) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  Lease lease = acquire();
  pool_.begin_epoch(2, false);
  expect_stats(0, 1, 1);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(lease.epoch(), 1U);
  pool_.finish(std::move(lease), kFine);
  expect_stats(0, 0, 2);
  EXPECT_FALSE(pool_.try_acquire().has_value());
}

TEST_F(SessionPools, ASessionOpenedInAnOlderEpochIsNeverLent) {
  pool_.begin_epoch(2, false);
  pool_.add(open(), 1);
  expect_stats(0, 0, 1);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.take_discarded().size(), 1U);
}

TEST_F(SessionPools, ALeaseTellsTheEpochOfItsSession) {
  pool_.begin_epoch(7, false);
  pool_.add(open(), 7);
  EXPECT_EQ(acquire().epoch(), 7U);
}

TEST_F(SessionPools, DiscardedSessionsAreClosedOutsideOfThePool) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  sim_.reset_counts();
  pool_.begin_epoch(2, false);
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U);
  pool_.take_discarded();
  EXPECT_EQ(sim_.count("C_CloseSession"), 2U);
  EXPECT_TRUE(pool_.take_discarded().empty());
}

TEST_F(SessionPools, AbandonedSessionsAreForgottenAndNotClosed) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  Lease lease = acquire();
  sim_.kill_sessions(slot_id());
  sim_.reset_counts();
  pool_.begin_epoch(2, true);
  pool_.finish(std::move(lease), kBroken);
  EXPECT_EQ(pool_.take_discarded().size(), 2U);
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U);
}

TEST_F(SessionPools, SessionsOpenedAfterAnAbandonedEpochAreClosedAgain) {
  pool_.begin_epoch(2, true);
  pool_.add(open(), 2);
  sim_.reset_counts();
  pool_.finish(acquire(), kBroken);
  pool_.take_discarded();
  EXPECT_EQ(sim_.count("C_CloseSession"), 1U);
}

TEST_F(SessionPools, ALearntLimitIsWhatIsOpen) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  const Lease first = acquire(), second = acquire();
  EXPECT_FALSE(pool_.try_acquire().has_value());
  pool_.learn_limit();
  EXPECT_EQ(pool_.stats().target_max, 2U);
  EXPECT_EQ(pool_.wanted(), 0U);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 0U);
}

TEST_F(SessionPools, ALearntLimitIsAtLeastOne) {
  pool_.learn_limit();
  EXPECT_EQ(pool_.stats().target_max, 1U);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 1U);
}

TEST_F(SessionPools, APausedPoolLendsNothingTakesBackAndGoesOnAfter) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  Lease lease = acquire();
  pool_.pause();
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 0U);
  pool_.finish(std::move(lease), kFine);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  expect_stats(2, 0, 0);
  freed_ = 0;
  pool_.resume();
  EXPECT_EQ(freed_, 1);
  EXPECT_TRUE(pool_.try_acquire().has_value());
}

TEST_F(SessionPools, DemandDuringAPauseIsMetAfterIt) {
  pool_.pause();
  EXPECT_FALSE(pool_.try_acquire().has_value());
  pool_.resume();
  EXPECT_EQ(pool_.wanted(), 1U);
}

TEST_F(SessionPools, AClosedPoolLendsNothingAndTakesNothingBack) {
  pool_.add(open(), 1);
  pool_.add(open(), 1);
  Lease lease = acquire();
  pool_.close();
  expect_stats(0, 1, 1);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 0U);
  pool_.finish(std::move(lease), kFine);
  expect_stats(0, 0, 2);
  pool_.add(open(), 1); // opened while the pool was being closed
  expect_stats(0, 0, 3);
}

TEST_F(SessionPools, ASuspectSessionIsDiscardedThoughTheCallSucceeded) {
  pool_.add(open(), 1);
  Lease lease = acquire();
  sim_.answer("C_FindObjectsFinal", CKR_GENERAL_ERROR);
  EXPECT_FALSE(lease->find(Template()).has_value());
  ASSERT_TRUE(lease->suspect());
  pool_.finish(std::move(lease), kFine);
  expect_stats(0, 0, 1);
}

// The simhsm notes a violation when two threads are in one session at once.
TEST_F(SessionPools, StressNoSessionIsEverLentTwice) {
  constexpr int kThreads = 6, kRounds = 2000;
  SessionPool pool(0, 3);
  pool.begin_epoch(1, false);
  std::atomic<int> running{kThreads}, lent{0}, lent_max{0};
  std::atomic<bool> more{false};
  pool.on_work([&] { more = true; });
  const std::uint64_t seed = test_seed();

  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(seed) + static_cast<unsigned>(t));
      for (int done = 0; done < kRounds;) {
        std::optional<Lease> lease = pool.try_acquire();
        if (!lease) {
          std::this_thread::yield();
          continue;
        }
        const int now = ++lent;
        for (int seen = lent_max; now > seen && !lent_max.compare_exchange_weak(seen, now);) {
        }
        EXPECT_TRUE((*lease)->state().has_value());
        --lent;
        const auto dice = random() % 50;
        if (dice == 0)
          lease.reset(); // dropped
        else
          pool.finish(std::move(*lease), dice == 1 ? kBroken : dice == 2 ? kBadData : kFine);
        ++done;
      }
      --running;
    });
  }
  // The keeper's part.
  while (running > 0) {
    if (!more.exchange(false)) std::this_thread::yield();
    for (std::uint32_t wanted = pool.wanted(); wanted > 0; --wanted) pool.add(open(), 1);
    pool.take_discarded();
  }
  threads.clear();

  const SessionPoolStats stats = pool.stats();
  EXPECT_EQ(stats.leased, 0U);
  EXPECT_LE(stats.idle, 3U);
  EXPECT_LE(lent_max, 3);
  EXPECT_GT(stats.discarded, 0U);
  EXPECT_EQ(stats.opened, stats.idle + stats.discarded);
}

// --- quarantine ---

TEST_F(SessionPools, AWrittenOffSessionIsReplacedAndDiscardedWhenItComesBack) {
  for (int i = 0; i < 4; ++i) pool_.add(open(), 1);
  std::vector<Lease> leases;
  for (int i = 0; i < 4; ++i) leases.push_back(acquire());
  EXPECT_EQ(pool_.wanted(), 0U);
  pool_.write_off(leases.back());
  expect_stats(0, 3, 1);
  EXPECT_EQ(pool_.stats().quarantined, 1U);
  EXPECT_FALSE(pool_.try_acquire().has_value());
  EXPECT_EQ(pool_.wanted(), 1U);
  pool_.add(open(), 1);
  expect_stats(1, 3, 1);
  pool_.finish(std::move(leases.back()), kFine);
  leases.pop_back();
  expect_stats(1, 3, 1); // not idle again
  EXPECT_EQ(pool_.stats().quarantined, 0U);
  EXPECT_EQ(pool_.take_discarded().size(), 1U);
  for (Lease& lease : leases) pool_.finish(std::move(lease), kFine);
}

TEST_F(SessionPools, QuarantineIsBounded) {
  SessionPool pool(0, 1);
  pool.begin_epoch(1, false);
  std::vector<Lease> stuck;
  for (std::uint32_t i = 0; i < SessionPool::kQuarantinedMax + 1; ++i) {
    EXPECT_FALSE(pool.try_acquire().has_value());
    ASSERT_EQ(pool.wanted(), 1U) << i;
    pool.add(open(), 1);
    stuck.push_back(std::move(*pool.try_acquire()));
    pool.write_off(stuck.back());
  }
  EXPECT_FALSE(pool.try_acquire().has_value());
  EXPECT_EQ(pool.wanted(), 0U); // no room for one more
  pool.finish(std::move(stuck.back()), kFine);
  stuck.pop_back();
  EXPECT_EQ(pool.take_discarded().size(), 1U);
  EXPECT_FALSE(pool.try_acquire().has_value());
  EXPECT_EQ(pool.wanted(), 1U);
  for (Lease& lease : stuck) pool.finish(std::move(lease), kFine);
}

} // namespace
} // namespace hsmux
