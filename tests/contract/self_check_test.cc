// Signatures that the host verifies before they leave, keys that want a login each time, and modules that were
// finalised.
#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

class SelfChecks : public Submit {
protected:
  std::uint64_t wrong_results() {
    std::uint64_t sum = 0;
    for (const SlotReport& slot : engine().slots_now()) sum += slot.stats.wrong_results;
    return sum;
  }
};

TEST_F(SelfChecks, TheFirstSignatureOfAKeyOnASlotIsVerifiedWithoutBeingAskedFor) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  sim_->corrupt("C_Sign");
  const auto signature = sign("orders", message_);
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message_, *signature));
  EXPECT_EQ(wrong_results(), 1U);
}

TEST_F(SelfChecks, TheFirstOneAfterSessionsWereLostIsVerifiedAgain) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", message_).has_value());
  const std::uint64_t epoch = engine().slots_now().at(0).stats.epoch;
  sim_->kill_sessions(slot_id(0));
  EXPECT_TRUE(eventually([&] {
    Bytes byte(1);
    (void)engine().random(byte, {.deadline = {}, .slot = "slot-0"}); // finds it out without a signature
    return engine().slots_now().at(0).stats.epoch > epoch && state(0) == SlotState::kReady;
  }));
  const std::uint64_t before = wrong_results();
  sim_->corrupt("C_Sign", 1, slot_id(0));
  const auto signature = sign("orders", message_, {.deadline = {}, .slot = "slot-0"});
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message_, *signature));
  EXPECT_EQ(wrong_results(), before + 1);
}

TEST_F(SelfChecks, WithAShareOfOneNoWrongSignatureLeavesWhateverTheTokenDoes) {
  open_with_key("[self_check]\nverify_share = 1.0");
  for (int i = 0; i < 50; ++i) {
    if (i % 3 == 0) sim_->corrupt("C_Sign");
    const auto signature = sign("orders", message_);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(verifies("orders", message_, *signature));
  }
  EXPECT_GT(wrong_results(), 10U);
}

TEST_F(SelfChecks, AfterAWrongSignatureEveryOneOfThatSlotIsVerifiedForAWhile) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  sim_->corrupt("C_Sign", 1, slot_id(0));
  (void)sign("orders", message_, {.deadline = {}, .slot = "slot-0"});
  EXPECT_EQ(wrong_results(), 1U);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(sign("orders", message_, {.deadline = {}, .slot = "slot-0"}).has_value());
  // Not the first of its handle any more, and no share is configured.
  sim_->corrupt("C_Sign", 1, slot_id(0));
  const auto signature = sign("orders", message_, {.deadline = {}, .slot = "slot-0"});
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message_, *signature));
  EXPECT_EQ(wrong_results(), 2U);
}

TEST_F(SelfChecks, ASlotThatOnlySignsWronglyIsAnErrorThatSaysSo) {
  open("[self_check]\nverify_share = 1.0");
  make_key(kEcdsa, "orders");
  sim_->corrupt("C_Sign", 0);
  const Error error = error_of(sign("orders", message_));
  EXPECT_EQ(error.kind, ErrorKind::kDevice) << error.text();
  EXPECT_THAT(error.text(), HasSubstr("does not verify"));
  EXPECT_TRUE(error.retryable());
  EXPECT_EQ(engine().health().level, HealthLevel::kDegraded);
}

// --- keys that want a login for each operation ---

class LoginForEach : public SelfChecks {
protected:
  // In slot 0. False where the token does not make or enforce such keys.
  bool make_careful_key() {
    open("", "session_copies = 'off'");
    Session own = session(0);
    const Bytes id = bytes("careful key");
    Template public_key, private_key;
    const Bytes p256{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    public_key.flag(CKA_TOKEN, true).flag(CKA_VERIFY, true).bytes(CKA_EC_PARAMS, p256).bytes(CKA_ID, id);
    public_key.text(CKA_LABEL, "careful");
    private_key.flag(CKA_TOKEN, true).flag(CKA_PRIVATE, true).flag(CKA_SIGN, true).flag(CKA_SENSITIVE, true);
    private_key.flag(CKA_ALWAYS_AUTHENTICATE, true).bytes(CKA_ID, id).text(CKA_LABEL, "careful");
    if (!own.generate_key_pair({.type = CKM_EC_KEY_PAIR_GEN}, public_key, private_key)) return false;
    remember(id);
    return true;
  }
};

TEST_F(LoginForEach, SuchAKeySignsWithALoginBetweenInitAndSign) {
  if (!make_careful_key()) GTEST_SKIP() << "the token makes no such keys";
  sim_->reset_counts();
  for (int i = 0; i < 3; ++i) {
    const auto signature = sign("careful", message_);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(verifies("careful", message_, *signature));
  }
  EXPECT_EQ(sim_->logins(slot_id(0)), 3U);
  EXPECT_EQ(sim_->count("C_Sign", slot_id(0)), 3U);
}

TEST_F(LoginForEach, ARefusedLoginIsTriedOnceAndNotAgain) {
  if (!make_careful_key()) GTEST_SKIP() << "the token makes no such keys";
  ASSERT_TRUE(sign("careful", message_).has_value());
  sim_->reset_counts();
  sim_->answer("C_Login", CKR_PIN_INCORRECT);
  const Error first = error_of(sign("careful", message_));
  EXPECT_EQ(first.kind, ErrorKind::kCredentials) << first.text();
  const Error second = error_of(sign("careful", message_));
  EXPECT_EQ(second.kind, ErrorKind::kCredentials) << second.text();
  EXPECT_EQ(sim_->logins(slot_id(0)), 1U);
  ASSERT_TRUE(engine().unlatch("slot-0").has_value());
  const auto signature = sign("careful", message_);
  EXPECT_TRUE(signature.has_value()) << why(signature);
  sim_->reset_counts(); // a session was closed with its operation active, which ends both
}

// --- finalised by somebody else ---

TEST_F(SelfChecks, AModuleThatSomebodyFinalisedIsInitialisedAgainAndNobodyNotices) {
  if (TokenFolder::external()) GTEST_SKIP() << "the module is not ours alone";
  const char* own = std::getenv("HSMUX_SIM_CONFIG");
  if (own != nullptr) GTEST_SKIP() << "the simulator's own tokens go with C_Finalize";
  open_with_key();
  EXPECT_EQ(module()->functions().C_Finalize(nullptr), CKR_OK);
  for (int i = 0; i < 10; ++i) {
    const auto signature = sign("orders", message_);
    EXPECT_TRUE(signature.has_value()) << why(signature);
  }
  EXPECT_TRUE(eventually([&] { return engine().health().level == HealthLevel::kOk; }));
  sim_->reset_counts(); // the test's own breach of the rules, and calls that met it
}

} // namespace
} // namespace hsmux
