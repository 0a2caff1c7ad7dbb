#include "engine/retry_budget.h"

#include <gtest/gtest.h>

namespace hsmux {
namespace {

TEST(RetryBudgetOfAnEngine, ABurstIsAllowedAndThenAShareOfWhatSucceeds) {
  RetryBudget budget;
  std::int64_t retries = 0;
  while (budget.take()) ++retries;
  EXPECT_EQ(retries, RetryBudget::kRetriesMax);
  for (int i = 0; i < 10 * RetryBudget::kUnits; ++i) budget.put_back();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.take());
  EXPECT_FALSE(budget.take());
}

TEST(RetryBudgetOfAnEngine, ItNeverHoldsMoreThanItsMaximum) {
  RetryBudget budget;
  for (int i = 0; i < 1000; ++i) budget.put_back();
  EXPECT_EQ(budget.left(), RetryBudget::kRetriesMax);
}

} // namespace
} // namespace hsmux
