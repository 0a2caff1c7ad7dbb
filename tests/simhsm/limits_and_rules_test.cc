// Limits, times and rules of the simulator are seen by a caller of PKCS#11, and so are the functions of 3.0. On the
// module that it wraps, and on its own HSM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "tests/simhsm/sim_faults.h"

namespace hsmux::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::Not;

class SimLimits : public SimFaults {};

// --- limits ---

TEST_F(SimLimits, SessionsAboveTheLimitOfASlotAreRefused) {
  sim_.apply("[limits]\nsessions_max = 2");
  CK_SESSION_HANDLE first = 0, second = 0, third = 0;
  EXPECT_EQ(open(&first), CKR_OK);
  EXPECT_EQ(open(&second), CKR_OK);
  EXPECT_EQ(open(&third), CKR_SESSION_COUNT);
  EXPECT_EQ(functions_.C_CloseSession(first), CKR_OK);
  EXPECT_EQ(open(&third), CKR_OK);
  functions_.C_CloseSession(second);
  functions_.C_CloseSession(third);
}

TEST_F(SimLimits, ALimitOfTheLibraryIsSharedByItsSlots) {
  if (TokenFolder::tokens_max() < 2) GTEST_SKIP() << "needs two tokens";
  const TokenFolder two(2, HSMUX_TEST_SIMHSM);
  const RawToken first(functions_, two, 0);
  sim_.apply("[limits]\nsessions_max = 1\nsessions_per = 'library'");
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(functions_.C_OpenSession(two.slot_id(1), CKF_SERIAL_SESSION, nullptr, nullptr, &session),
            CKR_SESSION_COUNT);
  sim_.apply("[limits]\nsessions_per = 'slot'");
  EXPECT_EQ(functions_.C_OpenSession(two.slot_id(1), CKF_SERIAL_SESSION, nullptr, nullptr, &session), CKR_OK);
  functions_.C_CloseSession(session);
}

TEST_F(SimLimits, TheReportedLimitLiesInEachKnownWay) {
  sim_.apply("[limits]\nsessions_max = 5\nsessions_reported = 'true'");
  EXPECT_EQ(token_info().ulMaxSessionCount, 5U);
  sim_.apply("[limits]\nsessions_reported = 'infinite'");
  EXPECT_EQ(token_info().ulMaxSessionCount, 0U);
  sim_.apply("[limits]\nsessions_reported = 'unknown'");
  EXPECT_EQ(token_info().ulMaxSessionCount, ~0UL);
  sim_.apply("[limits]\nsessions_reported = 1000");
  EXPECT_EQ(token_info().ulMaxSessionCount, 1000U);
}

TEST_F(SimLimits, TheLastSessionThatTimesOutEndsTheEpoch) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.apply("[limits]\nsession_idle_us = 1");
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  sim_.apply("[limits]\nsession_idle_us = 0");
  const RawToken again(functions_, tokens_);
  EXPECT_NE(again.encrypt_block(key).rv, CKR_OK);
  EXPECT_EQ(sim_.violations("stale-handle"), 1U);
}

TEST_F(SimLimits, ASessionThatNobodyUsesIsClosed) {
  const RawToken token(functions_, tokens_);
  sim_.apply("[limits]\nsession_idle_us = 1");
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(sim_.open_sessions(slot_), 0U);
}

TEST_F(SimLimits, IdleSessionsMakeRoomForNewOnes) {
  CK_SESSION_HANDLE first = 0, second = 0;
  EXPECT_EQ(open(&first), CKR_OK);
  sim_.apply("[limits]\nsessions_max = 1\nsession_idle_us = 1");
  EXPECT_EQ(open(&second), CKR_OK);
  sim_.apply("[limits]\nsession_idle_us = 0");
  EXPECT_EQ(functions_.C_CloseSession(second), CKR_OK);
}

TEST_F(SimLimits, HandlesOfLostSessionsComeBackOnDemand) {
  sim_.apply("reuse_handles = true");
  CK_SESSION_HANDLE first = 0, again = 0;
  EXPECT_EQ(open(&first), CKR_OK);
  sim_.play("lose-sessions", slot_);
  EXPECT_EQ(open(&again), CKR_OK);
  EXPECT_EQ(again, first);
  EXPECT_EQ(functions_.C_CloseSession(again), CKR_OK);
  sim_.apply("reuse_handles = false");
  EXPECT_EQ(open(&first), CKR_OK);
  EXPECT_EQ(functions_.C_CloseSession(first), CKR_OK);
  EXPECT_EQ(open(&again), CKR_OK);
  EXPECT_NE(again, first);
  EXPECT_EQ(functions_.C_CloseSession(again), CKR_OK);
}

// --- what only the simulator's own HSM can do ---

class SimOwn : public SimLimits {
protected:
  void SetUp() override {
    const CK_TOKEN_INFO info = token_info();
    if (std::string_view(reinterpret_cast<const char*>(info.manufacturerID), 6) != "hsmux ") {
      GTEST_SKIP() << "mode = 'own'";
    }
  }
};

TEST_F(SimOwn, ObjectHandlesMeanOtherObjectsOnceTheyAreDealtOutAnew) {
  const RawToken token(functions_, tokens_);
  const auto make = [&](const char* label) {
    CK_BBOOL yes = CK_TRUE;
    std::array list{CK_ATTRIBUTE{CKA_TOKEN, &yes, sizeof yes},
                    CK_ATTRIBUTE{CKA_LABEL, const_cast<char*>(label), std::strlen(label)}};
    CK_OBJECT_CLASS data = CKO_DATA;
    std::array all{CK_ATTRIBUTE{CKA_CLASS, &data, sizeof data}, list[0], list[1]};
    CK_OBJECT_HANDLE object = 0;
    EXPECT_EQ(functions_.C_CreateObject(token.session(), all.data(), all.size(), &object), CKR_OK);
    return object;
  };
  const CK_OBJECT_HANDLE first = make("first");
  make("second");
  sim_.apply("reuse_handles = true");
  sim_.play("lose-sessions", slot_);
  const RawToken again(functions_, tokens_);
  EXPECT_NE(again.attribute(first, CKA_LABEL), (Bytes{'f', 'i', 'r', 's', 't'}));
}

TEST_F(SimOwn, ObjectsAboveTheLimitAreRefused) {
  const RawToken token(functions_, tokens_);
  sim_.apply("[limits]\nobjects_max = 1");
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_ULONG bytes = 32;
  CK_ATTRIBUTE length{CKA_VALUE_LEN, &bytes, sizeof bytes};
  CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
  CK_OBJECT_HANDLE second = 0;
  EXPECT_EQ(functions_.C_GenerateKey(token.session(), &mechanism, &length, 1, &second), CKR_DEVICE_MEMORY);
  EXPECT_EQ(functions_.C_DestroyObject(token.session(), key), CKR_OK);
  EXPECT_EQ(functions_.C_GenerateKey(token.session(), &mechanism, &length, 1, &second), CKR_OK);
}

TEST_F(SimOwn, CannedAnswersAreRightForTheFirstInputAndLikeItForOthers) {
  const RawToken token(functions_, tokens_);
  sim_.apply("answers = 'canned'");
  const CK_OBJECT_HANDLE key = token.generate_aes(), other = token.generate_aes();
  const Bytes first = token.encrypt_block(key).buffer;
  EXPECT_EQ(token.encrypt_block(key, 16, 8).buffer, first);
  EXPECT_NE(token.encrypt_block(other).buffer, first); // of another key
  sim_.apply("answers = 'computed'");
  EXPECT_EQ(token.encrypt_block(key).buffer, first);
  EXPECT_NE(token.encrypt_block(key, 16, 8).buffer, first);
}

TEST_F(SimOwn, ALoginAtATokensOwnLastTryIsNoticed) {
  CK_SESSION_HANDLE session = 0;
  ASSERT_EQ(open(&session), CKR_OK);
  unsigned long tries = 0;
  for (; (token_info().flags & CKF_USER_PIN_FINAL_TRY) == 0; ++tries) {
    ASSERT_EQ(log_in(session, "no such PIN"), CKR_PIN_INCORRECT);
  }
  EXPECT_EQ(sim_.violations("pin-try"), tries);
  EXPECT_EQ(log_in(session, tokens_.pin(0)), CKR_OK);
  EXPECT_EQ(sim_.violations("pin-try"), tries + 1);
  functions_.C_CloseSession(session);
}

TEST_F(SimOwn, APinThatIsLockedConfirmsNoOperation) {
  const RawToken token(functions_, tokens_);
  std::string pin = tokens_.pin(0);
  sim_.play("pin-state", slot_, R"("pin":"locked")");
  EXPECT_EQ(
      functions_.C_Login(token.session(), CKU_CONTEXT_SPECIFIC, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size()),
      CKR_PIN_LOCKED);
}

// --- time ---

TEST_F(SimLimits, AnEngineServesOneCallAfterTheOther) {
  const RawToken token(functions_, tokens_);
  const CK_SESSION_HANDLE other = token.open();
  sim_.apply("[[hsm]]\nengines = 1\n[[time]]\nfunction = 'C_GenerateRandom'\nus = 10_000");
  const auto start = steady_clock::now();
  {
    const std::jthread caller([&] { EXPECT_EQ(random_byte(other), CKR_OK); });
    EXPECT_EQ(random_byte(token.session()), CKR_OK);
  }
  EXPECT_GE(steady_clock::now() - start, milliseconds(20));
  functions_.C_CloseSession(other);
}

TEST_F(SimLimits, EveryCallTakesARoundTripButLocalOnes) {
  const RawToken token(functions_, tokens_);
  sim_.apply("[[hsm]]\nround_trip_us = 10_000\nlocal = ['C_GetSessionInfo']");
  auto start = steady_clock::now();
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_GE(steady_clock::now() - start, milliseconds(10));
  start = steady_clock::now();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(state(token.session()), CKR_OK);
  EXPECT_LT(steady_clock::now() - start, milliseconds(1000)); // a hundred round trips
}

TEST_F(SimLimits, TimesAreThoseOfTheOperationsMechanism) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.apply("[[time]]\nfunction = 'C_Encrypt'\nmechanism = 0x1081\nus = 10_000"); // CKM_AES_ECB
  const auto start = steady_clock::now();
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK);
  EXPECT_GE(steady_clock::now() - start, milliseconds(10));
  const std::string before = sim_.request(R"({"command":"status"})");
  EXPECT_THAT(before, HasSubstr(R"("operations":1)"));
  sim_.apply("[[time]]\nfunction = 'C_Encrypt'\nmechanism = 'CKM_AES_GCM'\nus = 10_000");
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK);
  EXPECT_THAT(sim_.request(R"({"command":"status"})"), HasSubstr(R"("operations":1)"));
}

TEST_F(SimLimits, AThrottleAnswersWhatIsAboveIt) {
  const RawToken token(functions_, tokens_);
  sim_.apply("[[hsm]]\nthrottle = { per_second = 0.001, burst = 3, answer = 'CKR_DEVICE_MEMORY' }\n"
             "[[time]]\nfunction = 'C_GenerateRandom'\nus = 1");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_MEMORY);
  EXPECT_EQ(state(token.session()), CKR_OK); // it is on what takes an engine
}

TEST_F(SimLimits, AThrottledOperationIsEnded) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.apply("[[hsm]]\nthrottle = { per_second = 0.001, burst = 1, answer = 'CKR_DEVICE_MEMORY' }\n"
             "[[time]]\nfunction = 'C_Encrypt'\nus = 1");
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_OK);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_DEVICE_MEMORY);
  EXPECT_EQ(token.encrypt_block(key).rv, CKR_DEVICE_MEMORY); // Init would answer CKR_OPERATION_ACTIVE
  EXPECT_EQ(sim_.violations("operation-active"), 0U);
}

TEST_F(SimLimits, DriftCountsFromWhenTheRowIsAdded) {
  const RawToken token(functions_, tokens_);
  // Were it counted from when the module was loaded, the call would take an hour.
  sim_.apply("[[time]]\nfunction = 'C_GenerateRandom'\nkind = 'drifting'\nus = 0\nslow_us = 3_600_000_000\n"
             "over_us = 3_600_000_000_000");
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
}

TEST_F(SimLimits, TheSameSeedGivesTheSameTimesOnceMore) {
  const RawToken token(functions_, tokens_);
  const auto busy = [&] {
    sim_.reset();
    sim_.apply("seed = 7\n[[hsm]]\nengines = 8\n[[time]]\nfunction = 'C_GenerateRandom'\nkind = 'jitter'\nus = 100\n"
               "share = 0.9");
    for (int i = 0; i < 10; ++i) EXPECT_EQ(random_byte(token.session()), CKR_OK);
    const std::string status = sim_.request(R"({"command":"status"})");
    const std::size_t at = status.find(R"("busy_seconds":0.00)"); // that of the slot that was asked, others have 0.0
    return at == std::string::npos ? "none" : status.substr(at, 30);
  };
  const std::string first = busy();
  EXPECT_NE(first, "none");
  EXPECT_EQ(busy(), first);
}

// --- rules ---

TEST_F(SimLimits, ObjectHandlesOfAnEarlierEpochAreNoticed) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  sim_.play("lose-sessions", slot_);
  const RawToken again(functions_, tokens_);
  EXPECT_EQ(sim_.violations("stale-handle"), 0U);
  EXPECT_NE(again.encrypt_block(key).rv, CKR_OK);
  EXPECT_EQ(sim_.violations("stale-handle"), 1U);
}

TEST_F(SimLimits, ADeadSessionUsedAgainIsNoticed) {
  const RawToken token(functions_, tokens_);
  sim_.play("lose-sessions", slot_);
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(sim_.violations(), 0U); // now the caller knows
  EXPECT_EQ(random_byte(token.session()), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(sim_.violations("stale-handle"), 1U);
}

TEST_F(SimLimits, WrongPinsAreCountedApart) {
  CK_SESSION_HANDLE session = 0;
  ASSERT_EQ(open(&session), CKR_OK);
  EXPECT_EQ(log_in(session, "no such PIN"), CKR_PIN_INCORRECT);
  EXPECT_EQ(sim_.violations("pin-try"), 1U);
  EXPECT_EQ(sim_.violations(), 0U);
  sim_.play("pin-state", slot_, R"("pin":"final-try")");
  EXPECT_EQ(log_in(session, tokens_.pin(0)), CKR_OK);
  EXPECT_EQ(sim_.violations("pin-try"), 2U); // the token had warned
  functions_.C_CloseSession(session);
}

TEST_F(SimLimits, ASessionClosedInTheMiddleOfAnOperationIsNoticed) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  const CK_SESSION_HANDLE session = token.open();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  EXPECT_EQ(functions_.C_EncryptInit(session, &mechanism, key), CKR_OK);
  EXPECT_EQ(functions_.C_CloseSession(session), CKR_OK);
  EXPECT_EQ(sim_.violations("operation-active"), 1U);
}

TEST_F(SimLimits, AnOperationBegunAnewIsNoticed) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, key), CKR_OK);
  EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, key), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(sim_.violations("operation-active"), 1U);
}

TEST_F(SimLimits, CallsAfterFinaliseAreNoticed) {
  EXPECT_EXIT(
      {
        functions_.C_Finalize(nullptr);
        CK_INFO info{};
        const bool right = functions_.C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED &&
                           sim_.violations("finalised") == 1 && functions_.C_Initialize(nullptr) == CKR_OK;
        _exit(right ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(SimLimits, StrictRulesEndTheProcess) {
  const RawToken token(functions_, tokens_);
  EXPECT_DEATH(
      {
        sim_.apply("strict = ['others-login']");
        functions_.C_Logout(token.session());
      },
      "strict: others-login: C_Logout was called");
  const CK_SESSION_HANDLE session = token.open();
  EXPECT_DEATH(
      {
        sim_.apply("strict = true");
        sim_.play("pin-state", slot_, R"("pin":"locked")");
        log_in(session, tokens_.pin(0));
      },
      "strict: pin-try: C_Login though the token warned of it");
  EXPECT_EQ(functions_.C_CloseSession(session), CKR_OK);
}

// --- requests, 3.0 ---

TEST_F(SimLimits, MistakesInRequestsAreToldAndChangeNothing) {
  EXPECT_THAT(sim_.request("nonsense"), HasSubstr(R"("ok":false)"));
  EXPECT_THAT(sim_.request("[1]"), HasSubstr("a JSON object is wanted"));
  EXPECT_THAT(sim_.request(R"({"command":3})"), HasSubstr(R"("ok":false)"));
  EXPECT_THAT(sim_.request(R"({"command":"dance"})"), HasSubstr("there are: status, apply"));
  EXPECT_THAT(sim_.request(R"({"command":"apply","settings":"mode = 'own'"})"), HasSubstr("is fixed"));
  EXPECT_THAT(sim_.request(R"({"command":"play","action":"corrupt"})"), HasSubstr("action"));
  EXPECT_THAT(sim_.request(R"({"command":"play","action":"logout","slot":"nobody"})"), HasSubstr("no slot"));
  EXPECT_THAT(sim_.request(R"({"command":"play","action":"remove-token","time_us":-1})"), HasSubstr("time_us"));
  EXPECT_THAT(sim_.request(R"({"command":"play","action":"remove-token","slot":"nobody"})"),
              Not(HasSubstr(R"("ok":true)")));
  EXPECT_EQ(token_info().flags & CKF_TOKEN_INITIALIZED, CKF_TOKEN_INITIALIZED);
}

TEST_F(SimLimits, InterfacesOf30And240AreListed) {
  void* library = dlopen(HSMUX_TEST_SIMHSM, RTLD_NOW);
  auto* get_list = reinterpret_cast<CK_RV (*)(v3::Interface*, CK_ULONG*)>(dlsym(library, "C_GetInterfaceList"));
  ASSERT_NE(get_list, nullptr);
  CK_ULONG count = 0;
  EXPECT_EQ(get_list(nullptr, &count), CKR_OK);
  ASSERT_EQ(count, 2U);
  std::array<v3::Interface, 2> all{};
  count = 1;
  EXPECT_EQ(get_list(all.data(), &count), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(get_list(all.data(), &count), CKR_OK);
  EXPECT_EQ(static_cast<const CK_VERSION*>(all[0].function_list)->major, 3);
  EXPECT_EQ(static_cast<const CK_VERSION*>(all[1].function_list)->major, 2);
}

TEST_F(SimLimits, AnInterfaceIsFoundByItsVersion) {
  auto* get = reinterpret_cast<v3::GetInterface>(dlsym(dlopen(HSMUX_TEST_SIMHSM, RTLD_NOW), "C_GetInterface"));
  for (const CK_VERSION& wanted : {CK_VERSION{2, 40}, CK_VERSION{3, 0}}) {
    CK_VERSION version = wanted;
    v3::Interface* found = nullptr;
    ASSERT_EQ(get(nullptr, &version, &found, 0), CKR_OK);
    const auto& has = *static_cast<const CK_VERSION*>(found->function_list);
    EXPECT_EQ(std::pair(has.major, has.minor), std::pair(wanted.major, wanted.minor));
  }
  CK_VERSION version{3, 2};
  v3::Interface* found = nullptr;
  EXPECT_NE(get(nullptr, &version, &found, 0), CKR_OK);
}

TEST_F(SimLimits, SessionCancelEndsAnOperation) {
  v3::Interface* found = nullptr;
  ASSERT_EQ(reinterpret_cast<v3::GetInterface>(dlsym(dlopen(HSMUX_TEST_SIMHSM, RTLD_NOW), "C_GetInterface"))(
                nullptr, nullptr, &found, 0),
            CKR_OK);
  void* const* functions_of_3 =
      reinterpret_cast<void* const*>(static_cast<const CK_FUNCTION_LIST*>(found->function_list) + 1);
  auto* cancel = reinterpret_cast<CK_RV (*)(CK_SESSION_HANDLE, CK_FLAGS)>(functions_of_3[3]);
  auto* login_user =
      reinterpret_cast<CK_RV (*)(CK_SESSION_HANDLE, CK_USER_TYPE, CK_BYTE*, CK_ULONG, CK_BYTE*, CK_ULONG)>(
          functions_of_3[2]);
  CK_SESSION_HANDLE session = 0;
  ASSERT_EQ(open(&session), CKR_OK);
  std::string pin = tokens_.pin(0);
  EXPECT_EQ(login_user(session, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size(), nullptr, 0), CKR_OK);
  EXPECT_EQ(functions_.C_FindObjectsInit(session, nullptr, 0), CKR_OK);
  EXPECT_EQ(cancel(session, 0x40), CKR_OK); // CKF_FIND_OBJECTS
  EXPECT_EQ(functions_.C_FindObjectsInit(session, nullptr, 0), CKR_OK);
  EXPECT_EQ(functions_.C_FindObjectsFinal(session), CKR_OK);
  EXPECT_EQ(sim_.violations(), 0U);
  functions_.C_CloseSession(session);
}

} // namespace
} // namespace hsmux::sim
