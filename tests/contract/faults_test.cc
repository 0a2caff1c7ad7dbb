// What fails while requests run, and what callers must not notice of it: the rows of docs/health.md, by order and
// counts.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/contract/load.h"
#include "tests/contract/submit_fixture.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

class Faults : public Submit {
protected:
  HealthState health(std::size_t slot) { return engine().slots_now().at(slot).stats.health; }
  HealthCause cause(std::size_t slot) { return engine().slots_now().at(slot).stats.cause; }
  bool becomes(std::size_t slot, HealthState state) {
    return eventually([&] { return health(slot) == state; });
  }
  // It is given requests again.
  bool used_again(std::size_t slot) {
    const unsigned long before = sim_->count("C_Sign", slot_id(slot));
    return eventually([&] { return sim_->count("C_Sign", slot_id(slot)) > before + 20; });
  }
};

// --- sessions ---

TEST_F(Faults, AllSessionsOfAllSlotsLostAgainAndAgainUnderLoadAreNoErrorToAnybody) {
  open_with_key();
  Load blocking(engine(), 2), hard(engine(), 2, {.hard = true, .verify = true});
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(blocking.more(30) && hard.more(30));
    sim_->kill_sessions();
  }
  EXPECT_TRUE(blocking.more(30) && hard.more(30));
  blocking.expect_no_error();
  hard.expect_no_error();
}

// --- one of two slots dies under load ---

TEST_F(Faults, ASlotRemovedUnderLoadIsNoErrorAndIsUsedAgainWhenItIsBack) {
  open_with_key();
  Load blocking(engine(), 2), hard(engine(), 2, {.hard = true});
  EXPECT_TRUE(blocking.more(50) && hard.more(50));
  sim_->play("remove-token", slot_id(0));
  EXPECT_TRUE(becomes(0, HealthState::kEjected));
  EXPECT_EQ(engine().health().level, HealthLevel::kDegraded);
  EXPECT_TRUE(blocking.more(50) && hard.more(50));
  sim_->play("insert-token", slot_id(0));
  EXPECT_TRUE(used_again(0));
  EXPECT_TRUE(becomes(0, HealthState::kHealthy));
  blocking.expect_no_error();
  hard.expect_no_error();
  EXPECT_EQ(engine().health().level, HealthLevel::kOk);
}

TEST_F(Faults, ASlotThatHangsUnderLoadIsNoErrorAndIsUsedAgainWhenItIsBack) {
  open_with_key();
  Load hard(engine(), 4, {.hard = true});
  EXPECT_TRUE(hard.more(50));
  sim_->hang("C_Sign", slot_id(0));
  EXPECT_TRUE(becomes(0, HealthState::kEjected));
  EXPECT_EQ(cause(0), HealthCause::kCanaryStuck);
  sim_->reset_counts();
  EXPECT_TRUE(hard.more(200));
  EXPECT_LE(sim_->count("C_Sign", slot_id(0)), 1U); // canaries only, and they are single-flight
  sim_->release();
  EXPECT_TRUE(used_again(0));
  EXPECT_TRUE(becomes(0, HealthState::kHealthy));
  hard.expect_no_error();
}

TEST_F(Faults, ASlotThatAnswersEveryCallLateIsNoErrorAndIsUsedAgainWhenItIsQuick) {
  open_with_key();
  Load hard(engine(), 4, {.hard = true});
  EXPECT_TRUE(hard.more(50));
  sim_->delay("*", milliseconds(1200), slot_id(0));
  EXPECT_TRUE(hard.more(200)); // the load moves
  sim_->delay("*", milliseconds(0), slot_id(0));
  EXPECT_TRUE(used_again(0));
  hard.expect_no_error();
}

TEST_F(Faults, ASlotThatAnswersWrongIsEjectedAndNothingWrongIsReleased) {
  open_with_key("[self_check]\nverify_share = 1.0");
  Load load(engine(), 3, {.hard = false, .verify = true}), hard(engine(), 1, {.hard = true, .verify = true});
  EXPECT_TRUE(load.more(20) && hard.more(20));
  sim_->corrupt("C_Sign", 0, slot_id(0));
  EXPECT_TRUE(becomes(0, HealthState::kEjected));
  EXPECT_TRUE(load.more(20) && hard.more(20));
  EXPECT_GT(engine().slots_now().at(0).stats.wrong_results, 0U);
  sim_->clear_answers();
  EXPECT_TRUE(used_again(0));
  load.expect_no_error();
  hard.expect_no_error();
}

TEST_F(Faults, ASlotThatFailsEveryRequestIsEjectedAndComesBack) {
  open_with_key();
  Load load(engine(), 4);
  EXPECT_TRUE(load.more(50));
  sim_->answer_for_slot(slot_id(0), "C_Sign", CKR_DEVICE_ERROR, 0);
  EXPECT_TRUE(becomes(0, HealthState::kEjected));
  EXPECT_EQ(cause(0), HealthCause::kCanaryFailed);
  sim_->reset_counts();
  EXPECT_TRUE(load.more(300));
  EXPECT_LE(sim_->count("C_Sign", slot_id(0)), 12U); // canaries, one a second
  sim_->clear_answers();
  EXPECT_TRUE(used_again(0));
  EXPECT_TRUE(becomes(0, HealthState::kHealthy));
  load.expect_no_error();
}

// --- all of them ---

TEST_F(Faults, TheLastSlotThatCanServeIsNeverLeftOut) {
  open_with_key();
  // Both fail their canaries; every third request still works.
  sim_->answer("C_GenerateKeyPair", CKR_DEVICE_ERROR, 0);
  for (std::size_t slot = 0; slot < 2; ++slot) {
    sim_->answer_for_slot(slot_id(slot), "C_Sign", CKR_DEVICE_ERROR, 8);
    for (int i = 0; i < 3; ++i) (void)sign("orders", message_, {.deadline = {}, .slot = slot_name(slot)});
    EXPECT_TRUE(becomes(slot, HealthState::kEjected));
  }
  sim_->clear_answers();
  sim_->answer("C_GenerateKeyPair", CKR_DEVICE_ERROR, 0);
  EXPECT_EQ(engine().health().level, HealthLevel::kDegraded);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(sign("orders", message_).has_value());
}

TEST_F(Faults, WithAllSlotsGoneRequestsWithTimeCompleteOnceWhenOneIsBack) {
  open_with_key();
  for (std::size_t slot = 0; slot < 2; ++slot) sim_->play("remove-token", slot_id(slot));
  EXPECT_EQ(error_of(sign("orders", message_, within(milliseconds(50)))).retryable(), true);
  EXPECT_TRUE(eventually([&] { return engine().health().level == HealthLevel::kFailed; }));
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(submit(within(seconds(60))).has_value());
  std::vector<std::jthread> callers;
  std::atomic<int> blocking{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] { blocking += sign("orders", message_, within(seconds(60))).has_value() ? 1 : 0; });
  }
  EXPECT_TRUE(eventually([&] { return engine().work().waiting >= 5; }));
  sim_->play("insert-token", slot_id(1));
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 50);
  callers.clear();
  EXPECT_EQ(blocking, 4);
  sim_->play("insert-token", slot_id(0));
}

TEST_F(Faults, WithAllSlotsGoneRequestsWithoutTimeFailAtTheirDeadlineAndMayBeRepeated) {
  open_with_key();
  for (std::size_t slot = 0; slot < 2; ++slot) sim_->play("remove-token", slot_id(slot));
  (void)sign("orders", message_, within(milliseconds(50)));
  const TimePoint start = MonotonicClock::now();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(submit(within(milliseconds(100 + 5 * i))).has_value());
  tally_.expect_each_once();
  EXPECT_GE(MonotonicClock::now() - start, milliseconds(100));
  EXPECT_EQ(tally_.good(), 0);
  for (const Error& error : tally_.errors()) {
    EXPECT_EQ(error.kind, ErrorKind::kTimeout) << error.text();
    EXPECT_TRUE(error.retryable());
    EXPECT_THAT(error.text(), HasSubstr("slot-0"));
  }
  for (std::size_t slot = 0; slot < 2; ++slot) sim_->play("insert-token", slot_id(slot));
  EXPECT_TRUE(sign("orders", message_).has_value());
}

// --- keys that somebody else changes ---

TEST_F(Faults, AKeyThatSomebodyReplacesNeverGivesAWrongSignature) {
  open("[self_check]\nverify_share = 1.0");
  const std::string id = make_key(kEcdsa, "orders");
  ASSERT_TRUE(sign("orders", message_).has_value());
  const AlgorithmSpec& spec = spec_of(kEcdsa);
  for (std::size_t slot = 0; slot < 2; ++slot) {
    Session own = session(slot);
    for (const ObjectClass each : {ObjectClass::kPrivateKey, ObjectClass::kPublicKey}) {
      const auto objects = own.find(key_template_by_id(each, *from_hex(id)));
      ASSERT_TRUE(objects.has_value()) << why(objects);
      for (const ObjectHandle object : *objects) EXPECT_TRUE(own.destroy(object).has_value());
    }
  }
  const auto other = make_software_key(spec, spec.key_bits_default);
  ASSERT_TRUE(other.has_value());
  for (std::size_t slot = 0; slot < 2; ++slot) import_key(slot, spec, *other, *from_hex(id), "orders");
  // Whatever handles mean now: what is given out verifies with the key that there is, or with the one that was.
  auto fresh = try_open(config());
  ASSERT_TRUE(fresh.has_value()) << why(fresh);
  const auto belongs = [&](Engine& to, const Bytes& signature) {
    return to
        .verify({.key = "orders",
                 .algorithm = kEcdsa,
                 .message = message_,
                 .prehashed = false,
                 .signature = signature,
                 .options = {}})
        .has_value();
  };
  for (int i = 0; i < 20; ++i) {
    const auto signature = sign("orders", message_);
    if (!signature) continue;
    EXPECT_TRUE(belongs(engine(), *signature) || belongs(**fresh, *signature));
  }
}

TEST_F(Faults, SofthsmsTokenFolderMovedAwayAndBackIsRecoveredFrom) {
  const char* own = std::getenv("HSMUX_SIM_CONFIG");
  if (TokenFolder::external() || own != nullptr) GTEST_SKIP() << "about SoftHSM2's files";
  std::ifstream conf(TokenFolder::conf_path());
  std::string folder;
  for (std::string line; std::getline(conf, line);) {
    if (line.starts_with("directories.tokendir")) folder = line.substr(line.find('=') + 1);
  }
  folder.erase(0, folder.find_first_not_of(' '));
  ASSERT_TRUE(std::filesystem::is_directory(folder)) << folder;
  EngineOptions restarting;
  restarting.restart_modules = true;
  Result<std::unique_ptr<Engine>> opened =
      try_open(config("[self_check]\nverify_share = 1.0", "session_copies = 'off'"), std::move(restarting));
  ASSERT_TRUE(opened.has_value()) << why(opened);
  engine_ = std::move(*opened);
  make_key(kEcdsa, "orders");
  // The engine initialises it again: from then on it may finalise it, too.
  EXPECT_EQ(module()->functions().C_Finalize(nullptr), CKR_OK);
  EXPECT_TRUE(eventually([&] { return sign("orders", message_, within(seconds(1))).has_value(); }));

  std::filesystem::rename(folder, folder + ".away");
  for (int i = 0; i < 5; ++i) {
    const auto signature = sign("orders", message_, within(milliseconds(200)));
    if (signature) {
      EXPECT_TRUE(verifies("orders", message_, *signature));
    }
  }
  std::filesystem::rename(folder + ".away", folder);
  const auto recovered = [&] {
    const auto signature = sign("orders", message_, within(seconds(1)));
    return signature && verifies("orders", message_, *signature);
  };
  EXPECT_TRUE(eventually(recovered) || eventually(recovered)); // the last resort comes after five seconds
  sim_->reset_counts();                                        // C_Finalize was meant
}

// --- what clients send ---

TEST_F(Faults, BadCiphertextsAmongGoodSignaturesEjectNothingAndLookAllAlike) {
  open_with_key();
  make_key(kGcm, "box");
  make_key(kOaep, "inbox");
  const auto sealed = encrypt("box", kGcm, bytes("secret"));
  const auto mail = encrypt("inbox", kOaep, bytes("secret"));
  ASSERT_TRUE(sealed.has_value() && mail.has_value());
  for (const std::string_view slot : {"slot-0", "slot-1"}) {
    ASSERT_TRUE(sign("orders", message_, {.deadline = {}, .slot = slot}).has_value());
  }
  std::uint64_t discarded = 0;
  for (const SlotReport& slot : engine().slots_now()) discarded += slot.stats.sessions.discarded;
  Load load(engine(), 1, {.hard = false, .verify = false});
  std::set<std::string> answers;
  for (int i = 0; i < 10'000; ++i) {
    const bool rsa = i % 50 == 0;
    Bytes bad = rsa ? *mail : *sealed;
    bad[bad.size() - 1 - static_cast<std::size_t>(i) % 16] ^= 0x55;
    const auto opened = decrypt(rsa ? "inbox" : "box", rsa ? kOaep : kGcm, bad);
    ASSERT_FALSE(opened.has_value());
    answers.insert(opened.error().text());
  }
  EXPECT_EQ(answers.size(), 1U) << *answers.begin();
  load.expect_no_error();
  for (const SlotReport& slot : engine().slots_now()) {
    EXPECT_EQ(slot.stats.health, HealthState::kHealthy) << slot.name;
    discarded -= slot.stats.sessions.discarded;
  }
  EXPECT_EQ(discarded, 0U); // no session was thrown away
  EXPECT_EQ(engine().health().level, HealthLevel::kOk);
}

// --- operators ---

TEST_F(Faults, ADrainedSlotGetsNothingUntilItIsWantedAgain) {
  open_with_key("", "session_copies = 'off'");
  Load load(engine(), 3);
  EXPECT_TRUE(load.more(20));
  ASSERT_TRUE(engine().drain("slot-0").has_value());
  EXPECT_TRUE(eventually([&] { return engine().slots_now().at(0).in_flight == 0; }));
  sim_->reset_counts();
  EXPECT_TRUE(load.more(100));
  EXPECT_EQ(sim_->count("C_Sign", slot_id(0)), 0U);
  const EngineHealth health = engine().health();
  EXPECT_EQ(health.level, HealthLevel::kDegraded);
  EXPECT_THAT(health.reasons.at(0), HasSubstr("an operator drained it"));
  const Error refused = error_of(sign("orders", message_, {.deadline = {}, .slot = "slot-0"}));
  EXPECT_EQ(refused.kind, ErrorKind::kUnavailable) << refused.text();
  EXPECT_TRUE(refused.retryable());
  ASSERT_TRUE(engine().drain("slot-0", false).has_value());
  EXPECT_TRUE(used_again(0));
  load.expect_no_error();
}

TEST_F(Faults, ThoseWhoWaitForADrainedSlotAloneAreRefused) {
  open_with_key("", "sessions_max = 1");
  sim_->hang("C_Sign", slot_id(0));
  ASSERT_TRUE(submit(within(seconds(60), "slot-0")).has_value());
  EXPECT_TRUE(sim_->wait_hung(1));
  ASSERT_TRUE(submit(within(seconds(60), "slot-0")).has_value());
  EXPECT_TRUE(eventually([&] { return engine().work().waiting == 1; }));
  ASSERT_TRUE(engine().drain("slot-0").has_value());
  EXPECT_TRUE(eventually([&] { return tally_.errors().size() == 1; }));
  EXPECT_EQ(tally_.errors().at(0).kind, ErrorKind::kUnavailable);
  sim_->release();
  tally_.expect_each_once();
  EXPECT_EQ(tally_.good(), 1); // what ran there ended as it does
}

TEST_F(Faults, HealthIsAnsweredThoughTheModuleHangs) {
  open_with_key();
  sim_->hang("*");
  for (const std::string_view slot : {"slot-0", "slot-1"}) ASSERT_TRUE(submit(within(milliseconds(200), slot)));
  EXPECT_TRUE(sim_->wait_hung(2));
  const EngineHealth health = engine().health();
  EXPECT_EQ(health.slots.size(), 2U);
  EXPECT_EQ(engine().slots_now().size(), 2U);
  sim_->release();
  tally_.expect_each_once();
}

TEST_F(Faults, AClosedEngineIsFailedAndSaysWhy) {
  open_with_key();
  EXPECT_TRUE(engine().close(Deadline::after(seconds(10))));
  EXPECT_EQ(engine().health().level, HealthLevel::kFailed);
  EXPECT_EQ(error_of(engine().drain("slot-0")).kind, ErrorKind::kClosed);
}

} // namespace
} // namespace hsmux
