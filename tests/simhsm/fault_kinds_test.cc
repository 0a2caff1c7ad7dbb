// Each kind of fault is seen by a caller of PKCS#11: on the module that the simulator wraps, and on its own HSM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "slots/disposition.h"
#include "tests/simhsm/sim_faults.h"

namespace hsmux::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

// --- faults of one call ---

TEST_F(SimFaults, EveryCodeOfTheDispositionTableIsAnswered) {
  const RawToken token(functions_, tokens_);
  for (const Disposition& row : disposition_table()) {
    if (!row.name.starts_with("CKR_") || row.rv == CKR_OK) continue;
    fault("function = 'C_GenerateRandom'\naction = 'answer'\nrv = '" + std::string(row.name) + "'");
    EXPECT_EQ(random_byte(token.session()), row.rv) << row.name;
    EXPECT_EQ(random_byte(token.session()), CKR_OK) << row.name;
  }
}

TEST_F(SimFaults, AVendorsCodeIsAnswered) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'answer'\nrv = 0x80000042");
  EXPECT_EQ(random_byte(token.session()), 0x80000042U);
}

TEST_F(SimFaults, AnAnswerEndsTheOperationAsTheStandardWantsIt) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.answer("C_Encrypt", CKR_DEVICE_ERROR);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_DEVICE_ERROR);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK); // Init would answer CKR_OPERATION_ACTIVE
}

TEST_F(SimFaults, BufferTooSmallLeavesTheOperationActive) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.answer("C_Encrypt", CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OPERATION_ACTIVE);
}

TEST_F(SimFaults, ARefusedCallLeavesTheOperationActive) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  fault("function = 'C_Encrypt'\naction = 'refuse'\nrv = 'CKR_DEVICE_ERROR'");
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_DEVICE_ERROR);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OPERATION_ACTIVE);
}

TEST_F(SimFaults, AnOperationThatFailedAsFarAsItsCallerKnowsIsNotHeldAgainstIt) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_SESSION_HANDLE session = token.open();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  std::array<CK_BYTE, 16> block{}, out{};
  CK_ULONG bytes = out.size();
  fault("function = 'C_Encrypt'\naction = 'refuse'\nrv = 'CKR_DEVICE_ERROR'");
  EXPECT_EQ(functions_.C_EncryptInit(session, &mechanism, key), CKR_OK);
  EXPECT_EQ(functions_.C_Encrypt(session, block.data(), block.size(), out.data(), &bytes), CKR_DEVICE_ERROR);
  EXPECT_EQ(functions_.C_EncryptInit(session, &mechanism, key), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(functions_.C_CloseSession(session), CKR_OK);

  session = token.open();
  fault("function = 'C_EncryptInit'\naction = 'lose-reply'\nrv = 'CKR_DEVICE_ERROR'");
  EXPECT_EQ(functions_.C_EncryptInit(session, &mechanism, key), CKR_DEVICE_ERROR);
  EXPECT_EQ(functions_.C_EncryptInit(session, &mechanism, key), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(functions_.C_CloseSession(session), CKR_OK);
  EXPECT_EQ(sim_.violations(), 0U) << sim_.last_violation();
}

TEST_F(SimFaults, AnAnswerEndsAnOperationInPartsToo) {
  const RawToken token(functions_, tokens_);
  CK_MECHANISM mechanism{CKM_SHA256, nullptr, 0};
  std::array<CK_BYTE, 4> data{};
  sim_.answer("C_DigestUpdate", CKR_DEVICE_ERROR);
  EXPECT_EQ(functions_.C_DigestInit(token.session(), &mechanism), CKR_OK);
  EXPECT_EQ(functions_.C_DigestUpdate(token.session(), data.data(), data.size()), CKR_DEVICE_ERROR);
  EXPECT_EQ(functions_.C_DigestInit(token.session(), &mechanism), CKR_OK);
  EXPECT_EQ(sim_.violations("operation-active"), 0U);
}

TEST_F(SimFaults, AnAnswerMeetsASizeQueryAndAHugeBuffer) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  std::array<CK_BYTE, 16> block{}, out{};
  for (CK_BYTE* buffer : {static_cast<CK_BYTE*>(nullptr), out.data()}) {
    sim_.answer("C_Encrypt", CKR_DEVICE_ERROR);
    CK_ULONG bytes = 1UL << 62; // a caller's mistake
    EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, key), CKR_OK);
    EXPECT_EQ(functions_.C_Encrypt(token.session(), block.data(), block.size(), buffer, &bytes), CKR_DEVICE_ERROR);
  }
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK);
}

TEST_F(SimFaults, AnAnswerEndsAnOperationWithAHugeOutput) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  Bytes data(1 << 20), out(1 << 20);
  CK_ULONG bytes = out.size();
  sim_.answer("C_Encrypt", CKR_DEVICE_ERROR);
  EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, key), CKR_OK);
  EXPECT_EQ(functions_.C_Encrypt(token.session(), data.data(), data.size(), out.data(), &bytes), CKR_DEVICE_ERROR);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK);
}

TEST_F(SimFaults, FaultsOfOutputsWaitForACallThatHasOne) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  fault("action = 'short'");
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_EQ(token.encrypt_block(key).length, 15U);
}

TEST_F(SimFaults, ASizeQueryUsesUpNoFaultOfOutputs) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  std::array<CK_BYTE, 16> block{}, out{};
  fault("function = 'C_Encrypt'\naction = 'short'");
  CK_ULONG bytes = 0;
  EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, key), CKR_OK);
  EXPECT_EQ(functions_.C_Encrypt(token.session(), block.data(), block.size(), nullptr, &bytes), CKR_OK);
  EXPECT_EQ(bytes, 16U);
  EXPECT_EQ(functions_.C_Encrypt(token.session(), block.data(), block.size(), out.data(), &bytes), CKR_OK);
  EXPECT_EQ(bytes, 15U);
}

TEST_F(SimFaults, ALostReplyLeavesWhatWasDone) {
  const RawToken token(functions_, tokens_);
  const auto aes_keys = [&] {
    CK_OBJECT_CLASS secret = CKO_SECRET_KEY;
    CK_ATTRIBUTE wanted{CKA_CLASS, &secret, sizeof secret};
    std::array<CK_OBJECT_HANDLE, 8> found{};
    CK_ULONG count = 0;
    EXPECT_EQ(functions_.C_FindObjectsInit(token.session(), &wanted, 1), CKR_OK);
    EXPECT_EQ(functions_.C_FindObjects(token.session(), found.data(), found.size(), &count), CKR_OK);
    EXPECT_EQ(functions_.C_FindObjectsFinal(token.session()), CKR_OK);
    return count;
  };
  fault("function = 'C_GenerateKey'\naction = 'lose-reply'\nrv = 'CKR_DEVICE_ERROR'");
  CK_ULONG bytes = 32;
  CK_ATTRIBUTE length{CKA_VALUE_LEN, &bytes, sizeof bytes};
  CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
  CK_OBJECT_HANDLE key = 0;
  const CK_ULONG before = aes_keys();
  EXPECT_EQ(functions_.C_GenerateKey(token.session(), &mechanism, &length, 1, &key), CKR_DEVICE_ERROR);
  EXPECT_EQ(aes_keys(), before + 1);
}

TEST_F(SimFaults, AWrongOutputDiffersInOneBit) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  const Bytes right = token.encrypt_block(key).buffer;
  fault("function = 'C_Encrypt'\naction = 'corrupt'");
  const Bytes wrong = token.encrypt_block(key).buffer;
  int bits = 0;
  for (std::size_t i = 0; i < right.size(); ++i) bits += std::popcount(static_cast<unsigned>(right[i] ^ wrong[i]));
  EXPECT_EQ(bits, 1);
}

TEST_F(SimFaults, AShortOutputLacksAByte) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  fault("function = 'C_Encrypt'\naction = 'short'");
  EXPECT_EQ(token.encrypt_block(key).length, 15U);
}

TEST_F(SimFaults, AnOverLongOutputStaysWithinTheBuffer) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  fault("function = 'C_Encrypt'\naction = 'overlong'");
  const RawToken::Answer answer = token.encrypt_block(key);
  EXPECT_EQ(answer.length, 17U);
  EXPECT_EQ(answer.buffer.back(), 0xEE); // behind the buffer
}

TEST_F(SimFaults, ADelayedCallTakesItsTime) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'delay'\ntime_us = 20_000");
  const auto start = steady_clock::now();
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_GE(steady_clock::now() - start, milliseconds(20));
}

TEST_F(SimFaults, AHangEndsByItselfOrByRelease) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'hang'\ntime_us = 1000");
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  fault("function = 'C_GenerateRandom'\naction = 'hang'");
  std::jthread caller([&] { EXPECT_EQ(random_byte(token.session()), CKR_OK); });
  EXPECT_TRUE(sim_.wait_hung(1));
  sim_.release();
}

TEST_F(SimFaults, ACrashIsOneOfTheProcess) {
  const RawToken token(functions_, tokens_);
  EXPECT_DEATH(
      {
        fault("function = 'C_GenerateRandom'\naction = 'crash'");
        random_byte(token.session());
      },
      "");
}

// --- faults of a slot ---

TEST_F(SimFaults, ARemovedTokenIsGoneUntilItComesBack) {
  const RawToken token(functions_, tokens_);
  const CK_ULONG before = slots_with_token();
  sim_.play("remove-token", slot_);
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  CK_TOKEN_INFO info{};
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(functions_.C_GetTokenInfo(slot_, &info), CKR_TOKEN_NOT_PRESENT);
  EXPECT_EQ(open(&session), CKR_TOKEN_NOT_PRESENT);
  EXPECT_EQ(slots_with_token(), before - 1);
  CK_SLOT_INFO slot{};
  EXPECT_EQ(functions_.C_GetSlotInfo(slot_, &slot), CKR_OK);
  EXPECT_EQ(slot.flags & CKF_TOKEN_PRESENT, 0U);

  sim_.play("insert-token", slot_);
  EXPECT_EQ(slots_with_token(), before);
  EXPECT_EQ(open(&session), CKR_OK);
  CK_STATE now = 0;
  EXPECT_EQ(state(session, &now), CKR_OK);
  EXPECT_EQ(now, CKS_RW_PUBLIC_SESSION); // logged out
  functions_.C_CloseSession(session);
}

TEST_F(SimFaults, ATokenPulledForATimeComesBackByItself) {
  sim_.play("remove-token", slot_, R"("time_us":1000)");
  CK_SESSION_HANDLE session = 0;
  CK_RV rv = CKR_TOKEN_NOT_PRESENT;
  for (const auto start = steady_clock::now();
       rv == CKR_TOKEN_NOT_PRESENT && steady_clock::now() - start < std::chrono::seconds(10);) {
    rv = open(&session);
  }
  EXPECT_EQ(rv, CKR_OK);
  functions_.C_CloseSession(session);
}

TEST_F(SimFaults, ACallThatIsInTheHsmWhenItsTokenIsPulledIsNotAnswered) {
  const RawToken token(functions_, tokens_);
  sim_.hang("C_GenerateRandom");
  CK_RV rv = CKR_OK;
  std::jthread caller([&] { rv = random_byte(token.session()); });
  EXPECT_TRUE(sim_.wait_hung(1));
  sim_.play("remove-token", slot_);
  sim_.release();
  caller.join();
  EXPECT_EQ(rv, CKR_DEVICE_REMOVED);
}

TEST_F(SimFaults, ATokenCanComeBackUnderAnotherSlotId) {
  sim_.play("remove-token", slot_);
  sim_.play("insert-token", slot_, R"("slot_id":4711)");
  CK_TOKEN_INFO info{};
  EXPECT_EQ(functions_.C_GetTokenInfo(slot_, &info), CKR_SLOT_ID_INVALID);
  EXPECT_EQ(functions_.C_GetTokenInfo(4711, &info), CKR_OK);
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(functions_.C_OpenSession(4711, CKF_SERIAL_SESSION, nullptr, nullptr, &session), CKR_OK);
  CK_SESSION_INFO session_info{};
  EXPECT_EQ(functions_.C_GetSessionInfo(session, &session_info), CKR_OK);
  EXPECT_EQ(session_info.slotID, 4711U);
  functions_.C_CloseSession(session);
  sim_.play("insert-token", 4711, R"("slot_id":)" + std::to_string(slot_));
}

TEST_F(SimFaults, SlotsThatHaveEachOthersIdGetTheirOwnBackByAReset) {
  const TokenFolder other(1, HSMUX_TEST_SIMHSM);
  const auto give = [&](CK_SLOT_ID from, CK_SLOT_ID to) {
    sim_.play("insert-token", from, R"("slot_id":)" + std::to_string(to));
  };
  const CK_SLOT_ID first = slot_, second = other.slot_id(0);
  const auto label = [&](CK_SLOT_ID id) {
    CK_TOKEN_INFO info{};
    EXPECT_EQ(functions_.C_GetTokenInfo(id, &info), CKR_OK);
    const std::string text(reinterpret_cast<const char*>(info.label), sizeof info.label);
    return text.substr(0, text.find_last_not_of(' ') + 1);
  };
  const std::string before = label(first);
  give(first, 4711);
  give(second, first);
  give(4711, second);
  EXPECT_EQ(label(second), before);
  sim_.reset();
  EXPECT_EQ(label(first), before);
}

TEST_F(SimFaults, LostSessionsAreInvalidAndTheLoginIsGone) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'lose-sessions'"); // by a call
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  const CK_SESSION_HANDLE again = token.open();
  CK_STATE now = 0;
  EXPECT_EQ(state(again, &now), CKR_OK);
  EXPECT_EQ(now, CKS_RW_PUBLIC_SESSION);
  functions_.C_CloseSession(again);
}

TEST_F(SimFaults, TheLoginIsLostWithTheSessionsThoughACallIsUnderWay) {
  const RawToken token(functions_, tokens_);
  sim_.hang("C_GenerateRandom");
  std::jthread caller([&] { EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID); });
  EXPECT_TRUE(sim_.wait_hung(1));
  sim_.play("lose-sessions", slot_);
  CK_SESSION_HANDLE again = 0;
  EXPECT_EQ(open(&again), CKR_OK);
  CK_STATE now = 0;
  EXPECT_EQ(state(again, &now), CKR_OK);
  EXPECT_EQ(now, CKS_RW_PUBLIC_SESSION);
  EXPECT_EQ(log_in(again, tokens_.pin(0)), CKR_OK);
  sim_.release();
  caller.join();
  EXPECT_EQ(state(again), CKR_OK); // what was lost took nothing with it
  functions_.C_CloseSession(again);
}

TEST_F(SimFaults, ACallThatOutlivesFinaliseClosesNobodysSession) {
  EXPECT_EXIT(
      {
        CK_SESSION_HANDLE old = 0;
        CK_SESSION_HANDLE fresh = 0;
        bool right = open(&old) == CKR_OK;
        sim_.hang("C_GetSessionInfo");
        std::jthread caller([&] { state(old); });
        right = right && sim_.wait_hung(1) && functions_.C_Finalize(nullptr) == CKR_OK;
        CK_C_INITIALIZE_ARGS args{};
        args.flags = CKF_OS_LOCKING_OK;
        right = right && functions_.C_Initialize(&args) == CKR_OK;
        find_slot_again();
        right = right && open(&fresh) == CKR_OK;
        sim_.release();
        caller.join();
        _exit(right && state(fresh) == CKR_OK ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(SimFaults, ATimedReturnIsForgottenWhenTheTokenIsPulledAgain) {
  sim_.play("remove-token", slot_, R"("time_us":1)");
  sim_.play("insert-token", slot_);
  sim_.play("remove-token", slot_);
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(open(&session), CKR_TOKEN_NOT_PRESENT);
  sim_.play("remove-token", slot_, R"("time_us":1)");
  EXPECT_THAT(sim_.request(R"({"command":"clear-faults"})"), HasSubstr(R"("ok":true)")); // a return is no fault
  EXPECT_EQ(open(&session), CKR_OK);
  functions_.C_CloseSession(session);
}

TEST_F(SimFaults, AnIdThatAnotherSlotHasIsRefused) {
  const std::string taken = R"("action":"insert-token","slot":)" + std::to_string(slot_) + R"(,"slot_id":)";
  const TokenFolder other(1, HSMUX_TEST_SIMHSM);
  EXPECT_THAT(sim_.request(R"({"command":"play",)" + taken + std::to_string(other.slot_id(0)) + "}"),
              HasSubstr("no other slot has"));
  EXPECT_THAT(sim_.request(R"({"command":"play",)" + taken + "-1}"), HasSubstr("no other slot has"));
}

TEST_F(SimFaults, ALostLoginLeavesTheSessions) {
  const RawToken token(functions_, tokens_);
  sim_.play("logout", slot_);
  CK_STATE now = 0;
  EXPECT_EQ(state(token.session(), &now), CKR_OK);
  EXPECT_EQ(now, CKS_RW_PUBLIC_SESSION);
}

TEST_F(SimFaults, TimesCountFromWhenTheRowIsAdded) {
  const RawToken token(functions_, tokens_);
  fault("at_us = 3_600_000_000\naction = 'lose-sessions'");
  fault("function = 'C_GenerateRandom'\nuntil_us = 3_600_000_000\naction = 'answer'\nrv = 'CKR_DEVICE_ERROR'");
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_ERROR);
  EXPECT_EQ(state(token.session()), CKR_OK);
}

TEST_F(SimFaults, SlotFaultsComeByTimeAlone) {
  const RawToken token(functions_, tokens_);
  fault("slot = '" + tokens_.label(0) + "'\nat_us = 0\naction = 'lose-sessions'");
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
}

TEST_F(SimFaults, ATokenPulledByTimeAloneTakesTheCallThatIsUnderWay) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'delay'\ntime_us = 300_000");
  fault("slot = '" + tokens_.label(0) + "'\nat_us = 200_000\naction = 'remove-token'");
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_REMOVED);
}

struct PinCase {
  const char* state;
  CK_FLAGS set, cleared;
  CK_RV login;
};
class SimPin : public SimFaults, public testing::WithParamInterface<PinCase> {};

TEST_P(SimPin, StateIsInTheFlagsAndInTheAnswerOfTheLogin) {
  const PinCase& pin = GetParam();
  sim_.play("pin-state", slot_, std::string(R"("pin":")") + pin.state + '"');
  EXPECT_EQ(token_info().flags & (pin.set | pin.cleared), pin.set);
  CK_SESSION_HANDLE session = 0;
  ASSERT_EQ(open(&session), CKR_OK);
  EXPECT_EQ(log_in(session, tokens_.pin(0)), pin.login);
  functions_.C_CloseSession(session);
}

INSTANTIATE_TEST_SUITE_P(All, SimPin,
                         testing::Values(PinCase{"true", CKF_USER_PIN_INITIALIZED, CKF_USER_PIN_LOCKED, CKR_OK},
                                         PinCase{"count-low", CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKR_OK},
                                         PinCase{"final-try", CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKR_OK},
                                         PinCase{"locked", CKF_USER_PIN_LOCKED, 0, CKR_PIN_LOCKED},
                                         PinCase{"expired", CKF_USER_PIN_TO_BE_CHANGED, 0, CKR_PIN_EXPIRED},
                                         PinCase{"not-initialised", 0, CKF_USER_PIN_INITIALIZED,
                                                 CKR_USER_PIN_NOT_INITIALIZED},
                                         PinCase{"to-be-changed", CKF_USER_PIN_TO_BE_CHANGED, 0, CKR_OK}),
                         [](const testing::TestParamInfo<PinCase>& test) {
                           std::string name = test.param.state;
                           std::erase(name, '-');
                           return name;
                         });

// --- the script's log ---

TEST_F(SimFaults, WhatIsDoneFromOutsideIsCountedToo) {
  sim_.reset_counts();
  sim_.play("remove-token", slot_);
  sim_.play("insert-token", slot_);
  sim_.kill_sessions(slot_);
  sim_.logout(slot_);
  EXPECT_THAT(sim_.request(R"({"command":"status"})"),
              HasSubstr(R"("faults_played":{"insert-token":1,"logout":1,"lose-sessions":1,"remove-token":1})"));
}

TEST_F(SimFaults, PlayedFaultsAreCounted) {
  const RawToken token(functions_, tokens_);
  fault("function = 'C_GenerateRandom'\naction = 'answer'\nrv = 'CKR_DEVICE_ERROR'\ntimes = 2");
  for (int i = 0; i < 3; ++i) random_byte(token.session());
  EXPECT_THAT(sim_.request(R"({"command":"status"})"), HasSubstr(R"("faults_played":{"answer":2)"));
}

TEST_F(SimFaults, TheLogOfWhatWasPlayedIsAScript) {
  const std::string config = tokens_.folder() + "/sim.toml", log = tokens_.folder() + "/played.toml";
  std::ofstream(config) << "mode = 'own'\nlog = '" << log << "'\n[[token]]\nlabel = 'sim-0'\n[[fault]]\n"
                        << "function = 'C_GetTokenInfo'\nevery = 3\naction = 'answer'\nrv = 'CKR_DEVICE_ERROR'\n";
  setenv("HSMUX_SIM_CONFIG", config.c_str(), 1);
  const std::string path = SimControl::copy_into(tokens_.folder(), HSMUX_TEST_SIMHSM);
  const CK_FUNCTION_LIST& copy = functions_of(path);
  unsetenv("HSMUX_SIM_CONFIG");
  ASSERT_EQ(copy.C_Initialize(nullptr), CKR_OK);
  CK_TOKEN_INFO info{};
  for (int i = 1; i <= 6; ++i) EXPECT_EQ(copy.C_GetTokenInfo(0, &info), i % 3 == 0 ? CKR_DEVICE_ERROR : CKR_OK);
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("action = 'answer'\nslot = 'sim-0'\nfunction = 'C_GetTokenInfo'\ncall = 3\n"
                                    "rv = 'CKR_DEVICE_ERROR'\n"));
  EXPECT_THAT(text.str(), HasSubstr("call = 6\n"));
  // As it was loaded: its faults, too.
  const SimControl control(path);
  control.reset();
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(copy.C_GetTokenInfo(0, &info), i % 3 == 0 ? CKR_DEVICE_ERROR : CKR_OK);
}

// A copy of the module with two tokens of its own, and all that one caller sees of it in so many rounds.
std::vector<CK_RV> seen_with(const std::string& folder, const std::string& settings, int rounds) {
  const std::string config = folder + "/sim.toml";
  std::ofstream(config) << "mode = 'own'\nspare_slot = false\n" << settings;
  setenv("HSMUX_SIM_CONFIG", config.c_str(), 1);
  const CK_FUNCTION_LIST& copy = functions_of(SimControl::copy_into(folder, HSMUX_TEST_SIMHSM));
  unsetenv("HSMUX_SIM_CONFIG");
  std::vector<CK_RV> seen{copy.C_Initialize(nullptr)};
  std::array<CK_BYTE, 4> pin{'1', '2', '3', '4'};
  for (int i = 0; i < rounds; ++i) {
    CK_SESSION_HANDLE session = 0;
    CK_SESSION_INFO info{};
    CK_TOKEN_INFO token{};
    CK_BYTE byte = 0;
    seen.push_back(copy.C_OpenSession(i % 2, CKF_SERIAL_SESSION, nullptr, nullptr, &session));
    seen.push_back(copy.C_Login(session, CKU_USER, pin.data(), pin.size()));
    for (int call = 0; call < 3; ++call) seen.push_back(copy.C_GenerateRandom(session, &byte, 1));
    seen.push_back(copy.C_GetSessionInfo(session, &info));
    seen.push_back(info.state);
    seen.push_back(copy.C_GetTokenInfo(i % 2, &token));
    seen.push_back(token.flags);
    seen.push_back(copy.C_CloseSession(session));
  }
  return seen;
}

TEST_F(SimFaults, ALogPlayedAgainShowsItsCallerTheSame) {
  const std::string tokens = "[[token]]\nlabel = 'sim-0'\n[[token]]\nlabel = 'sim-1'\n";
  std::string rows;
  for (const char* row :
       {"function = 'C_GenerateRandom'\nprobability = 0.2\naction = 'answer'\nrv = 'CKR_DEVICE_ERROR'",
        "function = 'C_GenerateRandom'\nprobability = 0.1\naction = 'lose-sessions'",
        "slot = 'sim-1'\nprobability = 0.05\naction = 'logout'",
        "slot = 'sim-0'\nevery = 17\naction = 'refuse'\nrv = 0x80000042",
        "slot = 1\nevery = 40\ntimes = 2\naction = 'remove-token'",
        "function = 'C_GetTokenInfo'\nevery = 25\naction = 'insert-token'",
        "function = 'C_GetTokenInfo'\nprobability = 0.1\naction = 'pin-state'\npin = 'locked'",
        "function = 'C_GetTokenInfo'\nprobability = 0.1\naction = 'pin-state'\npin = 'true'"}) {
    rows += std::string("[[fault]]\n") + row + '\n';
  }
  const std::string path = tokens_.folder() + "/replay.toml";
  const std::vector<CK_RV> first = seen_with(tokens_.folder(), "seed = 4\nlog = '" + path + "'\n" + tokens + rows, 200);
  std::stringstream log;
  log << std::ifstream(path).rdbuf();
  EXPECT_THAT(log.str(), HasSubstr("remove-token"));
  EXPECT_EQ(seen_with(tokens_.folder(), tokens + log.str(), 200), first);
  EXPECT_EQ(seen_with(tokens_.folder(), "seed = 4\n" + tokens + rows, 200), first); // and so does the seed
  EXPECT_NE(seen_with(tokens_.folder(), "seed = 5\n" + tokens + rows, 200), first);
}

} // namespace
} // namespace hsmux::sim
