// Thousands of histories of failing slots, from one seed. A failing one is printed and comes back by its seed:
// HSMUX_SEED=17 ctest --preset release -R Simulation
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include "tests/random_seed.h"

namespace hsmux::sim {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kRuns = 150; // not optimised
#else
constexpr std::uint64_t kRuns = 2000;
#endif
constexpr std::uint64_t kPlayedMin = 100; // else the histories showed too little

void run_all(Plan plan, bool every_kind) {
  const std::uint64_t first = test_seed();
  std::array<std::uint64_t, kFaultKinds> played{};
  std::uint64_t succeeded = 0, failed = 0;
  for (std::uint64_t i = 0; i < kRuns; ++i) {
    plan.seed = first + i;
    const Outcome outcome = run(plan);
    ASSERT_FALSE(outcome.broken) << *outcome.broken << "\nrepeat with HSMUX_SEED=" << plan.seed;
    ASSERT_EQ(outcome.requests, outcome.succeeded + outcome.failed) << "repeat with HSMUX_SEED=" << plan.seed;
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) played.at(kind) += outcome.played.at(kind);
    succeeded += outcome.succeeded;
    failed += outcome.failed;
  }
  EXPECT_GT(succeeded, failed / 4); // most of the time something is broken, and deadlines are short
  for (std::size_t kind = 0; every_kind && kind < kFaultKinds; ++kind) {
    EXPECT_GE(played.at(kind), kPlayedMin) << fault_kind_name(static_cast<FaultKind>(kind));
  }
}

TEST(Simulation, EachRequestEndsOnceAndNothingIsMixedUpWhateverFails) { run_all({.slots = 2}, true); }

TEST(Simulation, WithAThirdSlotToo) { run_all({.slots = 3}, true); }

TEST(Simulation, WhileOneSlotServesNoRequestFailsButForItsOwnData) { run_all({.slots = 3, .spare_slot = true}, true); }

TEST(Simulation, OneSeedIsOneHistory) {
  const Plan plan{.seed = 4711, .slots = 3};
  const Outcome once = run(plan), again = run(plan);
  EXPECT_EQ(once.succeeded, again.succeeded);
  EXPECT_EQ(once.played, again.played);
}

} // namespace
} // namespace hsmux::sim
