#include "engine/router.h"

#include <gtest/gtest.h>

namespace hsmux {
namespace {

TEST(Router, ADeadlineInThePastIsATimeoutBeforeAnythingIsTried) {
  Router router;
  const auto lease =
      router.lease({.eligible = slot_bit(0), .deadline = Deadline(MonotonicClock::now() - std::chrono::seconds(1))});
  ASSERT_FALSE(lease.has_value());
  EXPECT_EQ(lease.error().kind, ErrorKind::kTimeout);
  EXPECT_TRUE(lease.error().retryable());
}

TEST(Router, AClosedRouterTakesNoRequest) {
  Router router;
  router.close();
  const auto lease = router.lease({.eligible = slot_bit(0), .deadline = Deadline::after(std::chrono::seconds(1))});
  ASSERT_FALSE(lease.has_value());
  EXPECT_EQ(lease.error().kind, ErrorKind::kClosed);
}

} // namespace
} // namespace hsmux
