// The simhsm does to a real token what its controls say, and nothing else.
#include "tests/simhsm/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <sstream>
#include <thread>

#include "slots/pkcs11.h"
#include "tests/simhsm/raw_token.h"
#include "tests/token_folder.h"

namespace hsmux::sim {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr const char* kSimHsm = HSMUX_TEST_SIMHSM;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

class SimHsm : public testing::Test {
protected:
  SimHsm() { control_.reset(); }
  ~SimHsm() override { control_.reset(); }

  CK_RV session_info(CK_SESSION_HANDLE session) const {
    CK_SESSION_INFO info{};
    return functions_.C_GetSessionInfo(session, &info);
  }
  CK_RV random_byte(CK_SESSION_HANDLE session) const {
    CK_BYTE byte = 0;
    return functions_.C_GenerateRandom(session, &byte, 1);
  }

  TokenFolder tokens_{1, kSimHsm};
  SimControl control_{kSimHsm};
  const CK_FUNCTION_LIST& functions_ = functions_of(kSimHsm);
};

// A variable of the environment for the time of one test.
class Variable {
public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

private:
  const char* name_;
};

TEST_F(SimHsm, CallsAreCountedByFunctionAndSlot) {
  if (TokenFolder::tokens_max() < 2) GTEST_SKIP() << "needs two tokens";
  const TokenFolder two(2, kSimHsm);
  control_.reset();
  const RawToken first(functions_, two, 0), second(functions_, two, 1);
  random_byte(first.session());
  random_byte(first.session());
  random_byte(second.session());

  EXPECT_EQ(control_.count("C_GenerateRandom"), 3U);
  EXPECT_EQ(control_.count("C_GenerateRandom", first.slot()), 2U);
  EXPECT_EQ(control_.logins(second.slot()), 1U);
  EXPECT_EQ(control_.total(), 3U + 2 * 2); // each token: C_OpenSession, C_Login
  control_.reset_counts();
  EXPECT_EQ(control_.total(), 0U);
}

TEST_F(SimHsm, RuleAnswersAfterItsSkipAndOnlySoOften) {
  const RawToken token(functions_, tokens_);
  control_.answer("C_GenerateRandom", CKR_DEVICE_ERROR, 2, 1);
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_ERROR);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_ERROR);
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
}

TEST_F(SimHsm, RulesOfOneFunctionApplyOneAfterTheOther) {
  const RawToken token(functions_, tokens_);
  control_.answer("C_GenerateRandom", CKR_DEVICE_ERROR);
  control_.answer("C_GenerateRandom", CKR_DEVICE_MEMORY, 0, 1);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_ERROR);
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_MEMORY);
  EXPECT_EQ(random_byte(token.session()), CKR_DEVICE_MEMORY);
  control_.clear_answers();
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
}

TEST_F(SimHsm, RuleForOneSlotLeavesTheOtherAlone) {
  if (TokenFolder::tokens_max() < 2) GTEST_SKIP() << "needs two tokens";
  const TokenFolder two(2, kSimHsm);
  const RawToken first(functions_, two, 0), second(functions_, two, 1);
  control_.answer_for_slot(first.slot(), "*", CKR_DEVICE_REMOVED, 0);
  EXPECT_EQ(random_byte(first.session()), CKR_DEVICE_REMOVED);
  EXPECT_EQ(random_byte(second.session()), CKR_OK);
  CK_TOKEN_INFO info{};
  EXPECT_EQ(functions_.C_GetTokenInfo(first.slot(), &info), CKR_DEVICE_REMOVED);
  control_.clear_answers();
}

TEST_F(SimHsm, KilledSessionsAreInvalidAndLoggedOut) {
  const RawToken token(functions_, tokens_);
  const CK_SESSION_HANDLE other = token.open();
  EXPECT_EQ(control_.open_sessions(token.slot()), 2U);
  EXPECT_EQ(control_.kill_sessions(token.slot()), 2U);
  EXPECT_EQ(session_info(token.session()), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(session_info(other), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(control_.open_sessions(), 0U);

  const CK_SESSION_HANDLE again = token.open();
  CK_SESSION_INFO info{};
  EXPECT_EQ(functions_.C_GetSessionInfo(again, &info), CKR_OK);
  EXPECT_EQ(info.state, CKS_RW_PUBLIC_SESSION);
  functions_.C_CloseSession(again);
}

TEST_F(SimHsm, SessionKilledWhileACallHangsAnswersInvalid) {
  const RawToken token(functions_, tokens_);
  control_.hang("C_GenerateRandom");
  CK_RV rv = CKR_OK;
  std::thread caller([&] { rv = random_byte(token.session()); });
  EXPECT_TRUE(control_.wait_hung(1));
  EXPECT_EQ(control_.kill_sessions(), 1U);
  control_.release();
  caller.join();
  EXPECT_EQ(rv, CKR_SESSION_HANDLE_INVALID);
}

TEST_F(SimHsm, LogoutByOthersIsSeenInEverySession) {
  const RawToken token(functions_, tokens_);
  EXPECT_EQ(control_.logout(token.slot()), CKR_OK);
  CK_SESSION_INFO info{};
  EXPECT_EQ(functions_.C_GetSessionInfo(token.session(), &info), CKR_OK);
  EXPECT_EQ(info.state, CKS_RW_PUBLIC_SESSION);
  EXPECT_EQ(control_.violations(), 0U);
}

TEST_F(SimHsm, TokenFlagsAreSetAndCleared) {
  const CK_SLOT_ID slot = tokens_.slot_id(0);
  control_.set_token_flags(slot, CKF_USER_PIN_FINAL_TRY, CKF_RNG);
  CK_TOKEN_INFO info{};
  EXPECT_EQ(functions_.C_GetTokenInfo(slot, &info), CKR_OK);
  EXPECT_TRUE(info.flags & CKF_USER_PIN_FINAL_TRY);
  EXPECT_FALSE(info.flags & CKF_RNG);
  EXPECT_TRUE(info.flags & CKF_TOKEN_INITIALIZED);
}

TEST_F(SimHsm, SessionsAboveTheLimitAreRefusedUntilOneCloses) {
  const RawToken token(functions_, tokens_);
  control_.set_sessions_max(2);
  const CK_SESSION_HANDLE second = token.open();
  CK_SESSION_HANDLE third = 0;
  EXPECT_EQ(functions_.C_OpenSession(token.slot(), CKF_SERIAL_SESSION, nullptr, nullptr, &third), CKR_SESSION_COUNT);
  EXPECT_EQ(functions_.C_CloseSession(second), CKR_OK);
  EXPECT_EQ(functions_.C_CloseSession(token.open()), CKR_OK);
}

TEST_F(SimHsm, SessionLimitIsReportedOnlyOnRequest) {
  CK_TOKEN_INFO info{};
  control_.set_sessions_max(3);
  EXPECT_EQ(functions_.C_GetTokenInfo(tokens_.slot_id(0), &info), CKR_OK);
  EXPECT_NE(info.ulMaxSessionCount, 3U);
  control_.set_sessions_max(3, true);
  EXPECT_EQ(functions_.C_GetTokenInfo(tokens_.slot_id(0), &info), CKR_OK);
  EXPECT_EQ(info.ulMaxSessionCount, 3U);
}

TEST_F(SimHsm, DelayedCallTakesAtLeastTheDelay) {
  const RawToken token(functions_, tokens_);
  control_.delay("C_GenerateRandom", milliseconds(30), token.slot());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(30));
}

TEST_F(SimHsm, HungCallEndsOnlyWhenReleased) {
  const RawToken token(functions_, tokens_);
  control_.hang("C_GenerateRandom", token.slot());
  std::atomic<bool> ended = false;
  std::thread caller([&] {
    EXPECT_EQ(random_byte(token.session()), CKR_OK);
    ended = true;
  });
  EXPECT_TRUE(control_.wait_hung(1));
  EXPECT_FALSE(ended);
  control_.release();
  caller.join();
  EXPECT_EQ(random_byte(token.session()), CKR_OK);
}

TEST_F(SimHsm, CorruptedOutputDiffersInOneBit) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  const Bytes good = token.encrypt_block(key).buffer;
  control_.corrupt("C_Encrypt");
  const Bytes bad = token.encrypt_block(key).buffer;
  int bits = 0;
  for (std::size_t i = 0; i < good.size(); ++i) bits += std::popcount(static_cast<unsigned>(good[i] ^ bad[i]));
  EXPECT_EQ(bits, 1);
  EXPECT_EQ(token.encrypt_block(key).buffer, good);
}

TEST_F(SimHsm, OverlongAnswerWritesNothingOutsideTheBuffer) {
  const RawToken token(functions_, tokens_);
  const CK_OBJECT_HANDLE key = token.generate_aes();
  control_.overlong("C_Encrypt");
  const RawToken::Answer answer = token.encrypt_block(key, 20);
  EXPECT_EQ(answer.rv, CKR_OK);
  EXPECT_EQ(answer.length, 21U);
  EXPECT_EQ(answer.buffer[20], 0xEE);
}

TEST_F(SimHsm, TwoThreadsInOneSessionAreAViolation) {
  const RawToken token(functions_, tokens_);
  control_.hang("C_GenerateRandom");
  std::thread caller([&] { random_byte(token.session()); });
  EXPECT_TRUE(control_.wait_hung(1));
  EXPECT_EQ(session_info(token.session()), CKR_OPERATION_ACTIVE);
  control_.release();
  caller.join();
  EXPECT_EQ(control_.violations(), 1U);
  EXPECT_THAT(control_.last_violation(), HasSubstr("while C_GenerateRandom runs"));
}

TEST_F(SimHsm, SizeQueryIsAViolation) {
  const RawToken token(functions_, tokens_);
  CK_MECHANISM mechanism{CKM_AES_ECB, nullptr, 0};
  Bytes block(16);
  CK_ULONG bytes = 0;
  EXPECT_EQ(functions_.C_EncryptInit(token.session(), &mechanism, token.generate_aes()), CKR_OK);
  EXPECT_EQ(functions_.C_Encrypt(token.session(), block.data(), block.size(), nullptr, &bytes), CKR_OK);
  EXPECT_EQ(bytes, 16U);
  EXPECT_THAT(control_.last_violation(), HasSubstr("C_Encrypt"));
}

TEST_F(SimHsm, LogoutAndCloseAllSessionsByTheCallerAreViolations) {
  const RawToken token(functions_, tokens_);
  EXPECT_EQ(functions_.C_Logout(token.session()), CKR_OK);
  EXPECT_EQ(functions_.C_CloseAllSessions(token.slot()), CKR_OK);
  EXPECT_EQ(control_.violations(), 2U);
  EXPECT_EQ(control_.open_sessions(), 0U);
}

TEST_F(SimHsm, StatisticsAreJson) {
  const RawToken token(functions_, tokens_);
  control_.reset_counts();
  random_byte(token.session());
  const std::string answer = control_.request(R"({"command":"status"})");
  EXPECT_THAT(answer, HasSubstr(R"("counts":{"C_GenerateRandom":1})"));
  EXPECT_THAT(answer, HasSubstr(R"("label":")" + tokens_.label(0) + '"'));
  EXPECT_THAT(answer, HasSubstr(R"("violations":0)"));
}

TEST_F(SimHsm, CountsAreWrittenWhenTheProgramEnds) {
  const std::string path = tokens_.folder() + "/at-end.json";
  EXPECT_EXIT(
      {
        setenv("HSMUX_SIM_STATISTICS", path.c_str(), 1);
        const CK_FUNCTION_LIST& functions = functions_of(SimControl::copy_into(tokens_.folder(), kSimHsm));
        CK_INFO info{};
        functions.C_GetInfo(&info);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("\"C_GetInfo\":1"));
}

TEST_F(SimHsm, CopiesShareNothing) {
  const std::string copy = SimControl::copy_into(tokens_.folder(), kSimHsm);
  const SimControl other(copy);
  const CK_FUNCTION_LIST& functions = functions_of(copy);
  EXPECT_EQ(functions.C_Initialize(nullptr), CKR_CRYPTOKI_ALREADY_INITIALIZED); // of the wrapped module
  other.reset();
  other.answer("C_GetInfo", CKR_DEVICE_ERROR, 0);
  CK_INFO info{};
  EXPECT_EQ(functions_.C_GetInfo(&info), CKR_OK);
  EXPECT_EQ(functions.C_GetInfo(&info), CKR_DEVICE_ERROR);
  EXPECT_EQ(control_.count("C_GetInfo"), 1U);
  EXPECT_EQ(other.total(), 1U);
}

TEST_F(SimHsm, NamedEntriesOfTheListAreNull) {
  const Variable variable("HSMUX_SIM_NULL", "C_Sign,C_EncryptInit");
  const CK_FUNCTION_LIST& functions = functions_of(SimControl::copy_into(tokens_.folder(), kSimHsm));
  EXPECT_EQ(functions.C_Sign, nullptr);
  EXPECT_EQ(functions.C_EncryptInit, nullptr);
  EXPECT_NE(functions.C_SignInit, nullptr);
  EXPECT_NE(functions_.C_Sign, nullptr);
}

class Interface3 : public SimHsm {
protected:
  static CK_RV ask(v3::Interface*& found) {
    auto* get = reinterpret_cast<v3::GetInterface>(dlsym(dlopen(kSimHsm, RTLD_NOW), "C_GetInterface"));
    std::array<unsigned char, 8> name{'P', 'K', 'C', 'S', ' ', '1', '1', 0};
    return get(name.data(), nullptr, &found, 0);
  }
};

TEST_F(Interface3, ListOf3HasTheFunctionsOf240AndNoNullsBehind) {
  v3::Interface* found = nullptr;
  ASSERT_EQ(ask(found), CKR_OK);
  const auto* list = static_cast<const CK_FUNCTION_LIST*>(found->function_list);
  EXPECT_EQ(list->version.major, 3);
  EXPECT_EQ(list->version.minor, 0);
  EXPECT_EQ(list->C_Sign, functions_.C_Sign);
  EXPECT_EQ(list->C_WaitForSlotEvent, functions_.C_WaitForSlotEvent);
  const auto* behind = reinterpret_cast<void* const*>(list + 1);
  for (int i = 0; i < 24; ++i) EXPECT_NE(behind[i], nullptr) << i;
}

TEST_F(Interface3, ListCanBeNull) {
  const Variable variable("HSMUX_SIM_INTERFACE", "null");
  v3::Interface* found = nullptr;
  ASSERT_EQ(ask(found), CKR_OK);
  EXPECT_EQ(found->function_list, nullptr);
}

TEST_F(Interface3, InterfaceCanBeRefused) {
  const Variable variable("HSMUX_SIM_INTERFACE", "none");
  v3::Interface* found = nullptr;
  EXPECT_EQ(ask(found), CKR_FUNCTION_NOT_SUPPORTED);
}

TEST_F(SimHsm, InitializeCanRefuseLocks) {
  const Variable variable("HSMUX_SIM_INIT", "cant_lock");
  EXPECT_EQ(functions_.C_Initialize(nullptr), CKR_CANT_LOCK);
}

TEST_F(SimHsm, InitializeCanHang) {
  const Variable variable("HSMUX_SIM_INIT", "hang");
  std::thread caller([&] { EXPECT_EQ(functions_.C_Initialize(nullptr), CKR_CRYPTOKI_ALREADY_INITIALIZED); });
  EXPECT_TRUE(control_.wait_hung(1));
  control_.release();
  caller.join();
}

// In processes of their own: when these run alone, nobody has initialised the wrapped module there before.
TEST(SimInitialize, ForwardsAndThenCallsItselfInitialised) {
  EXPECT_EXIT(
      {
        (void)TokenFolder::conf_path(); // sets SOFTHSM2_CONF
        setenv("HSMUX_SIM_INIT", "already", 1);
        const CK_FUNCTION_LIST& functions = functions_of(kSimHsm);
        CK_INFO info{};
        const bool right =
            functions.C_Initialize(nullptr) == CKR_CRYPTOKI_ALREADY_INITIALIZED && functions.C_GetInfo(&info) == CKR_OK;
        std::exit(right ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

// `reserved` as pReserved, where HSMUX_SIM_RESERVED is "wanted".
CK_RV initialize_with(std::string reserved) {
  (void)TokenFolder::conf_path();
  setenv("HSMUX_SIM_RESERVED", "wanted", 1);
  CK_C_INITIALIZE_ARGS args{};
  args.flags = CKF_OS_LOCKING_OK;
  args.pReserved = reserved.data();
  return functions_of(kSimHsm).C_Initialize(&args);
}

TEST(SimInitialize, RefusesAnotherReservedArgument) {
  EXPECT_EXIT(std::exit(initialize_with("other") == CKR_ARGUMENTS_BAD ? 0 : 1), testing::ExitedWithCode(0), "");
}

// SoftHSM refuses any pReserved, so it must not see this one.
TEST(SimInitialize, TakesTheReservedArgumentAndKeepsItToItself) {
  const auto good = [](CK_RV rv) { return rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED; };
  EXPECT_EXIT(std::exit(good(initialize_with("wanted")) ? 0 : 1), testing::ExitedWithCode(0), "");
}

TEST_F(SimHsm, OpenScsToolWorksOverIt) {
  if (kSanitized) GTEST_SKIP() << "a program without the sanitizer cannot load a sanitized library";
  const std::string out = tokens_.folder() + "/slots.txt";
  const std::string command = std::string("pkcs11-tool --module ") + kSimHsm + " --list-token-slots >" + out;
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::stringstream text;
  text << std::ifstream(out).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr(tokens_.label(0)));
}

TEST_F(SimHsm, ThreadsInDifferentSessionsDoNotDisturbEachOther) {
  const RawToken token(functions_, tokens_);
  constexpr unsigned kCalls = 500;
  control_.reset_counts();
  std::vector<std::jthread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      const CK_SESSION_HANDLE session = token.open();
      for (unsigned call = 0; call < kCalls; ++call) EXPECT_EQ(random_byte(session), CKR_OK);
      functions_.C_CloseSession(session);
    });
  }
  callers.clear();
  EXPECT_EQ(control_.count("C_GenerateRandom"), 2 * kCalls);
  EXPECT_EQ(control_.violations(), 0U);
}

} // namespace
} // namespace hsmux::sim
