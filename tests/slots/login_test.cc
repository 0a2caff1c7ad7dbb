#include "slots/login.h"

#include <gtest/gtest.h>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr unsigned long kGood = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED;

TEST(MayLogin, AHealthyTokenGetsOneTry) { EXPECT_EQ(may_login(kGood, false, false), LoginVerdict::kTry); }

TEST(MayLogin, AfterARefusalNothingIsTriedAgain) {
  EXPECT_EQ(may_login(kGood, true, false), LoginVerdict::kWithheldLatched);
  EXPECT_EQ(may_login(kGood, true, true), LoginVerdict::kWithheldLatched);
}

TEST(MayLogin, CountLowIsWithheldUnlessAllowed) {
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_COUNT_LOW, false, false), LoginVerdict::kWithheldCountLow);
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_COUNT_LOW, false, true), LoginVerdict::kTry);
}

TEST(MayLogin, FinalTryIsNeverUsedUp) {
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_FINAL_TRY, false, true), LoginVerdict::kWithheldFinalTry);
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW, false, true),
            LoginVerdict::kWithheldFinalTry);
}

TEST(MayLogin, ALockedPinIsNamedAsSuchAlsoAfterARefusal) {
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_LOCKED, false, true), LoginVerdict::kWithheldLocked);
  EXPECT_EQ(may_login(kGood | CKF_USER_PIN_LOCKED, true, true), LoginVerdict::kWithheldLocked);
}

TEST(MayLogin, ATokenWithoutAUserPinIsNamedAsSuch) {
  EXPECT_EQ(may_login(CKF_TOKEN_INITIALIZED, false, true), LoginVerdict::kWithheldNotInitialised);
}

TEST(MayLogin, AnOperatorsPinPadIsLeftToTheOperator) {
  EXPECT_EQ(may_login(kGood | CKF_PROTECTED_AUTHENTICATION_PATH, false, true), LoginVerdict::kWithheldOperatorNeeded);
}

// Over every combination: a try happens only where no flag and no memory speaks against it.
TEST(MayLogin, NoCombinationOfFlagsBurnsATry) {
  constexpr unsigned long kAgainst = CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY | CKF_PROTECTED_AUTHENTICATION_PATH;
  constexpr unsigned long kBits[] = {CKF_USER_PIN_INITIALIZED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY,
                                     CKF_USER_PIN_LOCKED, CKF_PROTECTED_AUTHENTICATION_PATH};
  for (unsigned combination = 0; combination < 128; ++combination) {
    unsigned long flags = CKF_TOKEN_INITIALIZED;
    for (unsigned bit = 0; bit < 5; ++bit) {
      if ((combination >> bit & 1) != 0) flags |= kBits[bit];
    }
    const bool refused = (combination & 32) != 0, allow = (combination & 64) != 0;
    const bool fine = !refused && (flags & kAgainst) == 0 && (flags & CKF_USER_PIN_INITIALIZED) != 0 &&
                      (allow || (flags & CKF_USER_PIN_COUNT_LOW) == 0);
    EXPECT_EQ(may_login(flags, refused, allow) == LoginVerdict::kTry, fine) << "combination " << combination;
  }
}

TEST(MayLogin, ATokenWithItsOwnKeypadWantsAnOperator) {
  EXPECT_EQ(may_login(kGood | CKF_PROTECTED_AUTHENTICATION_PATH, false, false), LoginVerdict::kWithheldOperatorNeeded);
  EXPECT_EQ(may_login(kGood | CKF_PROTECTED_AUTHENTICATION_PATH, false, false, true), LoginVerdict::kTry);
  EXPECT_EQ(may_login(kGood | CKF_PROTECTED_AUTHENTICATION_PATH, true, false, true), LoginVerdict::kWithheldLatched);
}

} // namespace
} // namespace hsmux
