#include "engine/attempt.h"

#include <gtest/gtest.h>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

const TimePoint kNow{std::chrono::seconds(100)};
const Deadline kLater{kNow + std::chrono::seconds(1)};

Error answered(Call call, unsigned long rv) { return call_error({call, rv}, "slot-0"); }

TEST(NextStep, ALostSessionIsWorthAnotherOne) {
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_SESSION_HANDLE_INVALID), {.made = 1}, true, kLater, kNow),
            Step::kElsewhere);
}

TEST(NextStep, AFailingDeviceIsWorthAnotherSlot) {
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_DEVICE_ERROR), {.made = 1}, true, kLater, kNow), Step::kElsewhere);
}

TEST(NextStep, BadDataIsNeverTriedAgain) {
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_DATA_LEN_RANGE), {.made = 1}, true, kLater, kNow), Step::kGiveUp);
  EXPECT_EQ(next_step(answered(Call::kDecrypt, CKR_ENCRYPTED_DATA_INVALID), {.made = 1}, true, kLater, kNow),
            Step::kGiveUp);
  EXPECT_EQ(next_step(answered(Call::kDecrypt, CKR_GENERAL_ERROR), {.made = 1}, true, kLater, kNow), Step::kGiveUp);
}

TEST(NextStep, APinErrorIsNeverTriedAgain) {
  EXPECT_EQ(next_step(answered(Call::kLogin, CKR_PIN_INCORRECT), {.made = 1}, true, kLater, kNow), Step::kGiveUp);
}

TEST(NextStep, WhatMustNotHappenTwiceIsNeverTriedAgain) {
  EXPECT_EQ(next_step(answered(Call::kGenerateKeyPair, CKR_DEVICE_ERROR), {.made = 1}, false, kLater, kNow),
            Step::kGiveUp);
}

TEST(NextStep, AStaleHandleIsFoundAgainOnce) {
  const Error stale = answered(Call::kSignInit, CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(next_step(stale, {.made = 1}, true, kLater, kNow), Step::kFindAgain);
  EXPECT_EQ(next_step(stale, {.made = 2, .found_again = true}, true, kLater, kNow), Step::kGiveUp);
}

// Seen of SoftHSM 2.6.1 when an object goes while it is being used.
TEST(NextStep, WhateverGoesWrongWithASessionCopyIsTriedAgainWithTheKey) {
  for (const CK_RV rv : {CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_MECHANISM_INVALID,
                         CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT}) {
    EXPECT_EQ(next_step(answered(Call::kSignInit, rv), {.made = 1, .by_copy = true}, true, kLater, kNow),
              Step::kWithKey);
  }
  // Where the copy cannot be the cause, it goes elsewhere as ever.
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_DEVICE_ERROR), {.made = 1, .by_copy = true}, true, kLater, kNow),
            Step::kElsewhere);
}

TEST(NextStep, AfterTheDeadlineNothingIsTried) {
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_DEVICE_ERROR), {.made = 1}, true, Deadline(kNow), kNow), Step::kGiveUp);
}

TEST(NextStep, AttemptsAreBounded) {
  EXPECT_EQ(next_step(answered(Call::kSign, CKR_DEVICE_ERROR), {.made = kAttemptsMax}, true, kLater, kNow),
            Step::kGiveUp);
}

// --- limits ---

using std::chrono::milliseconds;
const Deadline kTenSeconds{kNow + std::chrono::seconds(10)};

TEST(AttemptLimit, IsTenTimesWhatIsSlowForTheSlotAndAtLeastFiftyMilliseconds) {
  EXPECT_EQ(attempt_limit(milliseconds(20), {}, kTenSeconds, kNow), milliseconds(200));
  EXPECT_EQ(attempt_limit(milliseconds(1), {}, kTenSeconds, kNow), milliseconds(50));
  EXPECT_EQ(attempt_limit({}, {}, kTenSeconds, kNow), milliseconds(50)); // nothing is known yet
}

TEST(AttemptLimit, LeavesHalfOfTheTimeForAnotherSlot) {
  EXPECT_EQ(attempt_limit(milliseconds(20), {}, Deadline(kNow + milliseconds(60)), kNow), milliseconds(30));
  EXPECT_EQ(attempt_limit(Duration::max(), {}, kTenSeconds, kNow), std::chrono::seconds(5));
  EXPECT_EQ(attempt_limit(milliseconds(20), {}, Deadline(kNow), kNow), Duration{});
}

TEST(AttemptLimit, IsAsConfigured) {
  EXPECT_EQ(attempt_limit(milliseconds(20), milliseconds(7), kTenSeconds, kNow), milliseconds(7));
  EXPECT_EQ(attempt_limit(milliseconds(20), std::chrono::seconds(9), kTenSeconds, kNow), std::chrono::seconds(5));
}

TEST(AvoidNext, EachSlotIsTriedOnceBeforeAnyIsTriedAgain) {
  SlotSet avoid = avoid_next(0b111, 0, 0b001);
  EXPECT_EQ(avoid, 0b001U);
  avoid = avoid_next(0b111, avoid, 0b100);
  EXPECT_EQ(avoid, 0b101U);
  avoid = avoid_next(0b111, avoid, 0b010); // all were: another round, not with the one that failed last
  EXPECT_EQ(avoid, 0b010U);
  EXPECT_EQ(avoid_next(0b001, 0, 0b001), 0b001U);
}

} // namespace
} // namespace hsmux
