// Slots, tokens, PINs, sessions and handles of the HSM in memory.
#include "tests/simhsm/own/own_fixture.h"

#include <gmock/gmock.h>

#include <set>

namespace hsmux::sim::own {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class OwnLibrary : public Own {};
class OwnToken : public Own {};
class OwnSession : public Own {};

TEST_F(OwnLibrary, EveryEntryIsThere) {
  const auto* entry = reinterpret_cast<const void* const*>(&f.C_Initialize);
  const auto* end = reinterpret_cast<const void* const*>(&f + 1);
  for (; entry != end; ++entry) EXPECT_NE(*entry, nullptr);
}

TEST_F(OwnLibrary, NothingAnswersBeforeInitialize) {
  ASSERT_EQ(f.C_Finalize(nullptr), CKR_OK);
  CK_ULONG count = 0;
  CK_INFO info{};
  CK_FUNCTION_LIST* list = nullptr;
  EXPECT_EQ(f.C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f.C_GetSlotList(CK_TRUE, nullptr, &count), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f.C_CloseSession(s), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f.C_SignRecover(s, nullptr, 0, nullptr, nullptr), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f.C_Finalize(nullptr), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f.C_GetFunctionList(&list), CKR_OK);
  EXPECT_EQ(list, &f);
  EXPECT_EQ(f.C_GetFunctionList(nullptr), CKR_ARGUMENTS_BAD);
}

TEST_F(OwnLibrary, InitializeKeepsTheRulesForItsArguments) {
  EXPECT_EQ(f.C_Initialize(nullptr), CKR_CRYPTOKI_ALREADY_INITIALIZED);
  ASSERT_EQ(f.C_Finalize(nullptr), CKR_OK);
  CK_C_INITIALIZE_ARGS arguments{};
  arguments.pReserved = &arguments;
  EXPECT_EQ(f.C_Initialize(&arguments), CKR_ARGUMENTS_BAD);
  arguments.pReserved = nullptr;
  arguments.CreateMutex = [](void**) -> CK_RV { return CKR_OK; };
  EXPECT_EQ(f.C_Initialize(&arguments), CKR_ARGUMENTS_BAD);
  arguments.DestroyMutex = arguments.LockMutex = arguments.UnlockMutex = [](void*) -> CK_RV { return CKR_OK; };
  EXPECT_EQ(f.C_Initialize(&arguments), CKR_OK);
}

TEST_F(OwnLibrary, TokenObjectsOutliveFinalizeAndSessionObjectsDoNot) {
  created(Template().number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).bytes(CKA_LABEL, text("kept")));
  created(Template().number(CKA_CLASS, CKO_DATA));
  EXPECT_EQ(objects(0), 2U);
  ASSERT_EQ(f.C_Finalize(nullptr), CKR_OK);
  ASSERT_EQ(f.C_Initialize(nullptr), CKR_OK);
  EXPECT_EQ(f.C_CloseSession(s), CKR_SESSION_HANDLE_INVALID);
  s = open();
  EXPECT_EQ(state(s), CKS_RW_PUBLIC_SESSION);
  EXPECT_THAT(find(), SizeIs(1));
  EXPECT_EQ(objects(0), 1U);
}

TEST_F(OwnLibrary, ASpareSlotAppearsAfterTheLastOneWasInitialised) {
  CK_ULONG before = 0, after = 0;
  ASSERT_EQ(f.C_GetSlotList(CK_TRUE, nullptr, &before), CKR_OK);
  const CK_SLOT_ID spare = before - 1;
  EXPECT_EQ(token_flags(spare) & CKF_TOKEN_INITIALIZED, 0U);
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(f.C_OpenSession(spare, CKF_SERIAL_SESSION, nullptr, nullptr, &session), CKR_TOKEN_NOT_RECOGNIZED);
  const std::string label = "gamma" + std::string(27, ' ');
  ASSERT_EQ(f.C_InitToken(spare, pointer("so-pin"), 6, pointer(label)), CKR_OK);
  EXPECT_NE(token_flags(spare) & CKF_TOKEN_INITIALIZED, 0U);
  EXPECT_EQ(token_flags(spare) & CKF_USER_PIN_INITIALIZED, 0U);
  std::vector<CK_SLOT_ID> slots(before + 1);
  CK_ULONG room = before - 1;
  EXPECT_EQ(f.C_GetSlotList(CK_TRUE, slots.data(), &room), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(room, before); // only the question for the number makes the new slot appear
  ASSERT_EQ(f.C_GetSlotList(CK_TRUE, nullptr, &after), CKR_OK);
  EXPECT_EQ(after, before + 1);
  EXPECT_EQ(f.C_GetSlotList(CK_TRUE, slots.data(), &after), CKR_OK);
  EXPECT_EQ(slots.back(), before);
  EXPECT_EQ(f.C_OpenSession(after, CKF_SERIAL_SESSION, nullptr, nullptr, &session), CKR_SLOT_ID_INVALID);
}

TEST_F(OwnLibrary, InformationIsPaddedWithBlanks) {
  CK_TOKEN_INFO token{};
  ASSERT_EQ(f.C_GetTokenInfo(0, &token), CKR_OK);
  EXPECT_EQ(text("alpha" + std::string(27, ' ')), Data(std::begin(token.label), std::end(token.label)));
  EXPECT_EQ(token.ulSessionCount, 1U);
  EXPECT_EQ(token.flags, CKF_RNG | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED);
  CK_INFO info{};
  ASSERT_EQ(f.C_GetInfo(&info), CKR_OK);
  EXPECT_EQ(info.cryptokiVersion.minor, 40);
  CK_SLOT_INFO slot{};
  ASSERT_EQ(f.C_GetSlotInfo(0, &slot), CKR_OK);
  EXPECT_EQ(slot.flags, CKF_TOKEN_PRESENT);
}

TEST_F(OwnLibrary, MechanismsComeFromOneTable) {
  CK_ULONG count = 0;
  ASSERT_EQ(f.C_GetMechanismList(0, nullptr, &count), CKR_OK);
  std::vector<CK_MECHANISM_TYPE> list(count);
  --count;
  EXPECT_EQ(f.C_GetMechanismList(0, list.data(), &count), CKR_BUFFER_TOO_SMALL);
  ASSERT_EQ(f.C_GetMechanismList(0, list.data(), &count), CKR_OK);
  EXPECT_THAT(std::set(list.begin(), list.end()), SizeIs(list.size()));
  for (const CK_MECHANISM_TYPE type : list) {
    CK_MECHANISM_INFO info{};
    EXPECT_EQ(f.C_GetMechanismInfo(0, type, &info), CKR_OK);
    EXPECT_NE(info.flags, 0U);
  }
  CK_MECHANISM_INFO info{};
  EXPECT_EQ(f.C_GetMechanismInfo(0, CKM_DES3_CBC, &info), CKR_MECHANISM_INVALID);
}

TEST_F(OwnLibrary, WhatIsNotSupportedSaysSo) {
  EXPECT_EQ(f.C_SignRecoverInit(s, nullptr, 0), CKR_FUNCTION_NOT_SUPPORTED);
  EXPECT_EQ(f.C_DigestKey(s, 0), CKR_FUNCTION_NOT_SUPPORTED);
  EXPECT_EQ(f.C_GetFunctionStatus(s), CKR_FUNCTION_NOT_PARALLEL);
  EXPECT_EQ(f.C_CancelFunction(s), CKR_FUNCTION_NOT_PARALLEL);
  CK_SLOT_ID slot = 0;
  EXPECT_EQ(f.C_WaitForSlotEvent(CKF_DONT_BLOCK, &slot, nullptr), CKR_NO_EVENT);
  EXPECT_EQ(f.C_WaitForSlotEvent(0, &slot, nullptr), CKR_FUNCTION_NOT_SUPPORTED);
  CK_BYTE seed = 1;
  EXPECT_EQ(f.C_SeedRandom(s, &seed, 1), CKR_RANDOM_SEED_NOT_SUPPORTED);
  Data random(32);
  EXPECT_EQ(f.C_GenerateRandom(s, random.data(), random.size()), CKR_OK);
  EXPECT_NE(random, Data(32));
}

TEST_F(OwnToken, AWrongPinCountsDownToLocked) {
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  EXPECT_EQ(login(s, CKU_USER, "wrong"), CKR_PIN_INCORRECT);
  EXPECT_NE(token_flags() & CKF_USER_PIN_COUNT_LOW, 0U);
  EXPECT_EQ(token_flags() & CKF_USER_PIN_FINAL_TRY, 0U);
  EXPECT_EQ(login(s, CKU_USER, "wrong"), CKR_PIN_INCORRECT);
  EXPECT_NE(token_flags() & CKF_USER_PIN_FINAL_TRY, 0U);
  EXPECT_EQ(login(s, CKU_USER, "wrong"), CKR_PIN_INCORRECT);
  EXPECT_NE(token_flags() & CKF_USER_PIN_LOCKED, 0U);
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_PIN_LOCKED);
  // The security officer sets it anew.
  EXPECT_EQ(login(s, CKU_SO, kSoPin), CKR_OK);
  EXPECT_EQ(f.C_InitPIN(s, pointer(kUserPin), 4), CKR_OK);
  EXPECT_EQ(f.C_Logout(s), CKR_OK);
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
}

TEST_F(OwnToken, ARightPinGivesAllTriesBack) {
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(login(s, CKU_USER, "wrong"), CKR_PIN_INCORRECT);
    EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
    EXPECT_EQ(token_flags() & CKF_USER_PIN_COUNT_LOW, 0U);
    EXPECT_EQ(f.C_Logout(s), CKR_OK);
  }
}

TEST_F(OwnToken, SetPinNeedsTheOldPinAndAReadWriteSession) {
  const CK_SESSION_HANDLE read_only = open(false);
  EXPECT_EQ(f.C_SetPIN(read_only, pointer(kUserPin), 4, pointer("5678"), 4), CKR_SESSION_READ_ONLY);
  EXPECT_EQ(f.C_SetPIN(s, pointer("0000"), 4, pointer("5678"), 4), CKR_PIN_INCORRECT);
  EXPECT_EQ(f.C_SetPIN(s, pointer(kUserPin), 4, pointer("5"), 1), CKR_PIN_LEN_RANGE);
  EXPECT_EQ(f.C_SetPIN(s, pointer(kUserPin), 4, pointer("5678"), 4), CKR_OK);
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_PIN_INCORRECT);
  EXPECT_EQ(login(s, CKU_USER, "5678"), CKR_OK);
}

TEST_F(OwnToken, InitTokenWipesAndNeedsTheSoPinAndNoSession) {
  aes(32, Template().flag(CKA_TOKEN, true));
  const std::string label(32, 'x');
  EXPECT_EQ(f.C_InitToken(0, pointer(kSoPin), kSoPin.size(), pointer(label)), CKR_SESSION_EXISTS);
  ASSERT_EQ(f.C_CloseAllSessions(0), CKR_OK);
  EXPECT_EQ(f.C_InitToken(0, pointer("nonsense"), 8, pointer(label)), CKR_PIN_INCORRECT);
  EXPECT_NE(token_flags() & CKF_SO_PIN_COUNT_LOW, 0U);
  EXPECT_EQ(objects(0), 1U);
  EXPECT_EQ(f.C_InitToken(0, pointer(kSoPin), kSoPin.size(), pointer(label)), CKR_OK);
  EXPECT_EQ(objects(0), 0U);
  s = open();
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_USER_PIN_NOT_INITIALIZED);
  EXPECT_EQ(f.C_InitPIN(s, pointer(kUserPin), 4), CKR_USER_NOT_LOGGED_IN);
}

TEST_F(OwnSession, LoginKeepsTheRules) {
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_USER_ALREADY_LOGGED_IN);
  EXPECT_EQ(login(s, CKU_SO, kSoPin), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
  EXPECT_EQ(login(s, 7, kSoPin), CKR_USER_TYPE_INVALID);
  EXPECT_EQ(login(s, CKU_CONTEXT_SPECIFIC, kUserPin), CKR_OPERATION_NOT_INITIALIZED);
  EXPECT_EQ(f.C_Login(s, CKU_USER, nullptr, 0), CKR_ARGUMENTS_BAD);
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  EXPECT_EQ(f.C_Logout(s), CKR_USER_NOT_LOGGED_IN);
  const CK_SESSION_HANDLE read_only = open(false);
  EXPECT_EQ(login(s, CKU_SO, kSoPin), CKR_SESSION_READ_ONLY_EXISTS);
  ASSERT_EQ(f.C_CloseSession(read_only), CKR_OK);
  ASSERT_EQ(login(s, CKU_SO, kSoPin), CKR_OK);
  EXPECT_EQ(state(s), CKS_RW_SO_FUNCTIONS);
  EXPECT_EQ(login(s, CKU_USER, kUserPin), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
  CK_SESSION_HANDLE other = 0;
  EXPECT_EQ(f.C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &other), CKR_SESSION_READ_WRITE_SO_EXISTS);
}

TEST_F(OwnSession, StatesFollowTheLoginOfTheToken) {
  const CK_SESSION_HANDLE read_only = open(false), elsewhere = open(true, 1);
  EXPECT_EQ(state(s), CKS_RW_USER_FUNCTIONS);
  EXPECT_EQ(state(read_only), CKS_RO_USER_FUNCTIONS);
  EXPECT_EQ(state(elsewhere), CKS_RW_PUBLIC_SESSION);
  ASSERT_EQ(f.C_Logout(read_only), CKR_OK);
  EXPECT_EQ(state(s), CKS_RW_PUBLIC_SESSION);
  EXPECT_EQ(state(read_only), CKS_RO_PUBLIC_SESSION);
}

TEST_F(OwnSession, ClosingTheLastOneLogsOut) {
  const CK_SESSION_HANDLE other = open();
  ASSERT_EQ(f.C_CloseSession(s), CKR_OK);
  EXPECT_EQ(state(other), CKS_RW_USER_FUNCTIONS);
  ASSERT_EQ(f.C_CloseAllSessions(0), CKR_OK);
  EXPECT_EQ(f.C_CloseSession(other), CKR_SESSION_HANDLE_INVALID);
  s = open();
  EXPECT_EQ(state(s), CKS_RW_PUBLIC_SESSION);
}

TEST_F(OwnSession, OnlySerialSessionsAreOpened) {
  CK_SESSION_HANDLE session = 0;
  EXPECT_EQ(f.C_OpenSession(0, CKF_RW_SESSION, nullptr, nullptr, &session), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
  EXPECT_EQ(f.C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(f.C_GetSessionInfo(4711, nullptr), CKR_SESSION_HANDLE_INVALID);
}

TEST_F(OwnSession, SessionObjectsAreForAllSessionsAndDieWithTheirs) {
  CK_SESSION_HANDLE other = open();
  std::swap(s, other);
  const Pair pair = ec(kP256);
  std::swap(s, other);
  EXPECT_EQ(probe(pair.private_key), CKR_OK);
  ASSERT_EQ(f.C_CloseSession(other), CKR_OK);
  EXPECT_EQ(probe(pair.private_key), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(objects(0), 0U);
}

TEST_F(OwnSession, AReadOnlySessionMakesNoTokenObjects) {
  const CK_OBJECT_HANDLE kept = created(Template().number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true));
  s = open(false);
  CK_OBJECT_HANDLE made = 0;
  EXPECT_EQ(create(Template().number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true), &made), CKR_SESSION_READ_ONLY);
  EXPECT_EQ(f.C_DestroyObject(s, kept), CKR_SESSION_READ_ONLY);
  EXPECT_EQ(set(kept, Template().bytes(CKA_LABEL, text("x"))), CKR_SESSION_READ_ONLY);
  EXPECT_EQ(create(Template().number(CKA_CLASS, CKO_DATA), &made), CKR_OK);
}

TEST_F(OwnSession, LogoutEndsHandlesOfPrivateObjectsForGood) {
  const Pair on_token = ec(kP256, Template().flag(CKA_TOKEN, true).bytes(CKA_LABEL, text("k")),
                           Template().flag(CKA_TOKEN, true).flag(CKA_VERIFY, true));
  const Pair in_session = ec(kP256);
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  EXPECT_EQ(probe(on_token.private_key), CKR_KEY_HANDLE_INVALID);
  EXPECT_THAT(find(Template().number(CKA_CLASS, CKO_PRIVATE_KEY)), IsEmpty());
  EXPECT_THAT(find(Template().number(CKA_CLASS, CKO_PUBLIC_KEY)), SizeIs(2));
  ASSERT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
  EXPECT_EQ(probe(on_token.private_key), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(probe(in_session.private_key), CKR_KEY_HANDLE_INVALID);
  const auto found = find(Template().number(CKA_CLASS, CKO_PRIVATE_KEY));
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_GT(found.front(), in_session.private_key);
  EXPECT_EQ(attribute(found.front(), CKA_LABEL), text("k"));
  EXPECT_EQ(probe(found.front()), CKR_OK);
}

TEST_F(OwnSession, AnOperationWithAPrivateKeyDoesNotOutliveTheLogin) {
  const Pair pair = ec(kP256, Template().flag(CKA_TOKEN, true));
  CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
  ASSERT_EQ(f.C_SignInit(s, &mechanism, pair.private_key), CKR_OK);
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  ASSERT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
  Data data(32), signature(64);
  CK_ULONG size = signature.size();
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_USER_NOT_LOGGED_IN);
  EXPECT_EQ(f.C_Sign(s, data.data(), data.size(), signature.data(), &size), CKR_OPERATION_NOT_INITIALIZED);
}

TEST_F(OwnSession, PrivateObjectsNeedTheUser) {
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  CK_OBJECT_HANDLE made = 0;
  EXPECT_EQ(create(Template().number(CKA_CLASS, CKO_DATA).flag(CKA_PRIVATE, true), &made), CKR_USER_NOT_LOGGED_IN);
  EXPECT_EQ(create(Template().number(CKA_CLASS, CKO_DATA), &made), CKR_OK);
}

TEST_F(OwnSession, RenumberedHandlesMeanOtherObjects) {
  std::vector<CK_OBJECT_HANDLE> old;
  for (const char* label : {"a", "b", "c"}) {
    old.push_back(created(Template().number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).bytes(CKA_LABEL, text(label))));
  }
  renumber_objects(0);
  EXPECT_EQ(find(), (std::vector<CK_OBJECT_HANDLE>{1, 2, 3}));
  renumber_objects(0);
  EXPECT_EQ(find(), (std::vector<CK_OBJECT_HANDLE>{1, 2, 3}));
  const Data before = attribute(1, CKA_LABEL);
  renumber_objects(0);
  EXPECT_NE(attribute(1, CKA_LABEL), before);
  EXPECT_EQ(created(Template().number(CKA_CLASS, CKO_DATA)), 4U);
  // A key that nobody sees at that time gets another value, too.
  const Pair pair = ec(kP256, Template().flag(CKA_TOKEN, true), Template().flag(CKA_TOKEN, true));
  ASSERT_EQ(f.C_Logout(s), CKR_OK);
  renumber_objects(0);
  ASSERT_EQ(login(s, CKU_USER, kUserPin), CKR_OK);
  EXPECT_NE(find(Template().number(CKA_CLASS, CKO_PRIVATE_KEY)).front(), pair.private_key);
}

} // namespace
} // namespace hsmux::sim::own
