// Many threads in the HSM in memory, each with its own session, while others make and destroy what they use.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "tests/simhsm/own/own_fixture.h"

namespace hsmux::sim::own {
namespace {

class OwnThreads : public Own {
protected:
  static constexpr int kSigners = 8, kRounds = 200;

  // Signs in its own session of `slot` until `rounds` are done; answers that a logout or a closed session explains are
  // fine. How many signatures it made.
  int sign_on(CK_SLOT_ID slot, CK_OBJECT_HANDLE key, int rounds) const {
    CK_SESSION_HANDLE session = 0;
    CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
    Data data(32, 1), signature(64);
    int made = 0;
    for (int i = 0; i < rounds; ++i) {
      CK_SESSION_INFO info{};
      if (f.C_GetSessionInfo(session, &info) != CKR_OK) session = open(false, slot);
      CK_RV rv = f.C_SignInit(session, &mechanism, key);
      CK_ULONG size = signature.size();
      if (rv == CKR_OK) rv = f.C_Sign(session, data.data(), data.size(), signature.data(), &size);
      made += rv == CKR_OK;
      EXPECT_THAT(rv,
                  ::testing::AnyOf(CKR_OK, CKR_KEY_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_SESSION_HANDLE_INVALID));
    }
    f.C_CloseSession(session);
    return made;
  }
};

TEST_F(OwnThreads, SignWhileObjectsComeAndGoAndOthersLogInAndOut) {
  const Pair pair = ec(kP256);
  std::atomic<int> made{0};
  std::atomic<bool> done{false};
  std::vector<std::jthread> threads;
  threads.emplace_back([&] { // objects of the same token
    CK_SESSION_HANDLE mine = open();
    while (!done) {
      Template given = Template().number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).bytes(CKA_LABEL, text("x"));
      Template change = Template().bytes(CKA_LABEL, text("y"));
      CK_OBJECT_HANDLE object = 0;
      EXPECT_EQ(f.C_CreateObject(mine, given.data(), given.size(), &object), CKR_OK);
      EXPECT_EQ(f.C_SetAttributeValue(mine, object, change.data(), change.size()), CKR_OK);
      EXPECT_EQ(f.C_SetAttributeValue(mine, pair.private_key, change.data(), change.size()), CKR_OK);
      EXPECT_EQ(f.C_DestroyObject(mine, object), CKR_OK);
    }
    EXPECT_EQ(f.C_CloseSession(mine), CKR_OK);
  });
  threads.emplace_back([&] { // the login of another token
    const CK_SESSION_HANDLE mine = open(true, 1);
    while (!done) {
      EXPECT_EQ(login(mine, CKU_USER, kUserPin), CKR_OK);
      EXPECT_EQ(f.C_Logout(mine), CKR_OK);
    }
  });
  {
    std::vector<std::jthread> signers;
    for (int i = 0; i < kSigners; ++i) signers.emplace_back([&] { made += sign_on(0, pair.private_key, kRounds); });
  }
  done = true;
  threads.clear();
  EXPECT_EQ(made, kSigners * kRounds);
  EXPECT_EQ(objects(0), 2U);
}

TEST_F(OwnThreads, LogoutsAndClosedSessionsComeAtAnyTime) {
  std::atomic<CK_OBJECT_HANDLE> key{ec(kP256, Template().flag(CKA_TOKEN, true)).private_key};
  std::atomic<bool> done{false};
  std::jthread disturber([&] {
    for (int i = 0; !done; ++i) {
      const CK_SESSION_HANDLE mine = open();
      if (i % 3 == 0) f.C_CloseAllSessions(0);
      if (i % 3 == 1) f.C_Logout(mine);
      const CK_SESSION_HANDLE next = open();
      login(next, CKU_USER, kUserPin);
      Template wanted = Template().number(CKA_CLASS, CKO_PRIVATE_KEY);
      CK_OBJECT_HANDLE found = 0;
      CK_ULONG count = 0;
      EXPECT_EQ(f.C_FindObjectsInit(next, wanted.data(), wanted.size()), CKR_OK);
      EXPECT_EQ(f.C_FindObjects(next, &found, 1, &count), CKR_OK);
      if (count == 1) key = found;
      if (i % 7 == 0) renumber_objects(0);
      f.C_CloseSession(mine);
      f.C_CloseSession(next);
    }
  });
  std::vector<std::jthread> signers;
  for (int i = 0; i < kSigners; ++i) {
    signers.emplace_back([&] {
      for (int round = 0; round < kRounds / 4; ++round) sign_on(0, key, 4);
    });
  }
  signers.clear();
  done = true;
  disturber.join();
}

TEST_F(OwnThreads, SessionObjectsOfClosedSessionsDoNotStay) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < kSigners; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const CK_SESSION_HANDLE mine = open(false);
        std::jthread closer([&] { f.C_CloseSession(mine); });
        Template given = Template().number(CKA_CLASS, CKO_DATA);
        CK_OBJECT_HANDLE object = 0;
        f.C_CreateObject(mine, given.data(), given.size(), &object);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(objects(0), 0U);
}

TEST_F(OwnThreads, CannedAnswersAreTheSameForAll) {
  Settings canned = settings();
  canned.canned = true;
  configure(canned);
  const Pair pair = ec(kP256);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kSigners; ++i)
    threads.emplace_back([&] { EXPECT_EQ(sign_on(0, pair.private_key, kRounds), kRounds); });
}

} // namespace
} // namespace hsmux::sim::own
