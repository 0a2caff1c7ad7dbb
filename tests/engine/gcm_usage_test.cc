#include <gtest/gtest.h>

#include "engine/key_index.h"

namespace hsmux {
namespace {

TEST(GcmUsage, WarnsOnceAtTwoToTheThirtyFirst) {
  GcmUsage usage(GcmUsage::kWarnAt - 1);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kFine);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kWarn);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kFine);
}

TEST(GcmUsage, RefusesFromTwoToTheThirtySecondOn) {
  GcmUsage usage(GcmUsage::kRefuseAt - 1);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kFine);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kExhausted);
  EXPECT_EQ(usage.use(), GcmUsage::Verdict::kExhausted);
}

} // namespace
} // namespace hsmux
