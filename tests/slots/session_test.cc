#include "slots/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "slots/key_handles.h"
#include "slots/pkcs11.h"
#include "tests/slots/sim_token.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

constexpr std::array<std::uint8_t, 10> kP256{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
const Mechanism kEcdsa{.type = CKM_ECDSA};

class Sessions : public SimToken {
protected:
  static Template public_half() {
    Template list;
    list.bytes(CKA_EC_PARAMS, kP256).flag(CKA_TOKEN, false);
    return list;
  }
  static Template private_half(const Bytes& id = {1}) {
    Template list;
    list.flag(CKA_TOKEN, false).flag(CKA_SIGN, true).flag(CKA_SENSITIVE, true).bytes(CKA_ID, id);
    return list;
  }
  // A P-256 key that ends with the session.
  ObjectHandle make_key(const Bytes& id = {1}) {
    const auto pair = session_.generate_key_pair({.type = CKM_EC_KEY_PAIR_GEN}, public_half(), private_half(id));
    if (!pair) {
      ADD_FAILURE() << pair.error().text();
      return 0;
    }
    return pair->private_key;
  }

  Session session_ = open_logged_in();
  Bytes digest_ = Bytes(32, 0x5a);
  Bytes out_ = Bytes(64);
};

TEST_F(Sessions, AnOperationIsOneInitAndOneCall) {
  const ObjectHandle key = make_key();
  sim_.reset_counts();
  const auto size = session_.sign(kEcdsa, key, digest_, out_);
  ASSERT_TRUE(size.has_value()) << size.error().text();
  EXPECT_EQ(*size, 64U);
  EXPECT_EQ(sim_.count("C_SignInit"), 1U);
  EXPECT_EQ(sim_.count("C_Sign"), 1U);
  EXPECT_EQ(sim_.total(), 2U);
}

TEST_F(Sessions, AnErrorNamesCallCodeAndSlot) {
  const ObjectHandle key = make_key();
  sim_.answer("C_Sign", CKR_DEVICE_ERROR);
  const auto signature = session_.sign(kEcdsa, key, digest_, out_);
  ASSERT_FALSE(signature.has_value());
  EXPECT_EQ(signature.error().call, Call::kSign);
  EXPECT_EQ(signature.error().rv, CKR_DEVICE_ERROR);
  EXPECT_EQ(signature.error().slot, "hsm-a");
}

TEST_F(Sessions, AFailedInitIsNotFollowedByTheOperation) {
  sim_.reset_counts();
  const auto signature = session_.sign(kEcdsa, 0xdead, digest_, out_);
  ASSERT_FALSE(signature.has_value());
  EXPECT_EQ(signature.error().call, Call::kSignInit);
  EXPECT_EQ(sim_.count("C_Sign"), 0U);
}

TEST_F(Sessions, AModuleThatLiesAboutALengthIsNamedAndTheSessionSuspect) {
  const ObjectHandle key = make_key();
  sim_.overlong("C_Sign");
  const auto signature = session_.sign(kEcdsa, key, digest_, out_);
  ASSERT_FALSE(signature.has_value());
  EXPECT_EQ(signature.error().kind, ErrorKind::kDevice);
  EXPECT_THAT(signature.error().text(), HasSubstr(module_->name()));
  EXPECT_THAT(signature.error().text(), HasSubstr("65 bytes into a buffer of 64"));
  EXPECT_TRUE(session_.suspect());
}

TEST_F(Sessions, TheSuspicionMovesWithTheSession) {
  const ObjectHandle key = make_key();
  sim_.overlong("C_Sign");
  EXPECT_FALSE(session_.sign(kEcdsa, key, digest_, out_).has_value());
  const Session moved = std::move(session_);
  EXPECT_TRUE(moved.suspect());
}

TEST_F(Sessions, ASearchWhoseSessionIsGoneIsNotEnded) {
  sim_.reset_counts();
  sim_.answer("C_FindObjects", CKR_SESSION_HANDLE_INVALID);
  EXPECT_FALSE(session_.find(Template()).has_value());
  EXPECT_EQ(sim_.count("C_FindObjectsFinal"), 0U);
  EXPECT_TRUE(session_.suspect());
  session_.abandon(); // as whoever is told that it is gone does
}

TEST_F(Sessions, ASearchFindsExactlyWhatFits) {
  make_key({1, 1});
  const ObjectHandle wanted = make_key({1, 2});
  Template fits, fits_not;
  fits.number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, Bytes{1, 2});
  fits_not.number(CKA_CLASS, CKO_SECRET_KEY).bytes(CKA_ID, Bytes{1, 2});
  const auto found = session_.find(fits);
  ASSERT_TRUE(found.has_value()) << found.error().text();
  EXPECT_EQ(*found, std::vector{wanted});
  const auto none = session_.find(fits_not);
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->empty());
}

TEST_F(Sessions, ASearchOfMoreThanOneBatchFindsAll) {
  for (int i = 0; i < 70; ++i) {
    Template data;
    data.number(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).text(CKA_LABEL, "many");
    ASSERT_TRUE(session_.create(data).has_value());
  }
  Template wanted;
  wanted.text(CKA_LABEL, "many");
  const auto found = session_.find(wanted);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->size(), 70U);
}

TEST_F(Sessions, ASearchThatFailsIsEnded) {
  sim_.answer("C_FindObjects", CKR_DEVICE_ERROR);
  sim_.reset_counts();
  const auto found = session_.find(Template());
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().call, Call::kFindObjects);
  EXPECT_EQ(sim_.count("C_FindObjectsFinal"), 1U);
  EXPECT_FALSE(session_.suspect());
  EXPECT_TRUE(session_.find(Template()).has_value());
}

TEST_F(Sessions, AttributesThatAreMissingOrSensitiveAreAbsentAndTheOthersRead) {
  const ObjectHandle key = make_key({7});
  const std::array<unsigned long, 4> types{CKA_ID, CKA_MODULUS, CKA_VALUE, CKA_EC_PARAMS};
  const auto values = session_.attributes(key, types);
  ASSERT_TRUE(values.has_value()) << values.error().text();
  ASSERT_EQ(values->size(), 4U);
  EXPECT_EQ((*values)[0], Bytes{7});
  EXPECT_EQ((*values)[1], std::nullopt);
  EXPECT_EQ((*values)[2], std::nullopt);
  EXPECT_EQ((*values)[3], Bytes(kP256.begin(), kP256.end()));
}

TEST_F(Sessions, AttributesOfAnObjectThatIsGoneAreAnError) {
  const ObjectHandle key = make_key();
  ASSERT_TRUE(session_.destroy(key).has_value());
  const auto values = session_.attributes(key, std::array<unsigned long, 1>{CKA_ID});
  ASSERT_FALSE(values.has_value());
  EXPECT_EQ(values.error().call, Call::kGetAttributeValue);
  EXPECT_EQ(values.error().kind, ErrorKind::kKeyNotFound);
}

TEST_F(Sessions, ASessionIsClosedExactlyOnce) {
  sim_.reset_counts();
  {
    Session first = open();
    const Session second = std::move(first);
    EXPECT_EQ(sim_.count("C_CloseSession"), 0U);
  }
  EXPECT_EQ(sim_.count("C_CloseSession"), 1U);
}

TEST_F(Sessions, AnAssignedSessionIsClosedExactlyOnce) {
  sim_.reset_counts();
  {
    Session first = open(), second = open();
    first = std::move(second);
  }
  EXPECT_EQ(sim_.count("C_CloseSession"), 2U);
}

TEST_F(Sessions, AnAbandonedSessionIsNotClosed) {
  sim_.reset_counts();
  {
    Session session = open();
    sim_.kill_sessions(slot_id());
    session.abandon();
  }
  EXPECT_EQ(sim_.count("C_CloseSession"), 0U);
}

TEST_F(Sessions, AnInvalidHandleFromOpenSessionIsAnError) {
  sim_.answer("C_OpenSession", CKR_OK); // CKR_OK without doing anything
  const auto session = Session::open(module_, slot_id(), slot_name_, true);
  ASSERT_FALSE(session.has_value());
  EXPECT_EQ(session.error().kind, ErrorKind::kDevice);
  EXPECT_EQ(session.error().call, Call::kOpenSession);
}

TEST_F(Sessions, LoginOfATokenThatIsLoggedInIsSuccess) {
  Session other = open();
  EXPECT_TRUE(other.login(tokens_.pin(0)).has_value());
  EXPECT_EQ(sim_.logins(slot_id()), 2U);
}

TEST_F(Sessions, StateTellsLoginAndAccess) {
  EXPECT_EQ(session_.state(), static_cast<unsigned long>(CKS_RW_USER_FUNCTIONS));
  EXPECT_EQ(open(false).state(), static_cast<unsigned long>(CKS_RO_USER_FUNCTIONS));
}

TEST_F(Sessions, RandomBytesComeFromTheToken) {
  Bytes first(32), second(32);
  ASSERT_TRUE(session_.random(first).has_value());
  ASSERT_TRUE(session_.random(second).has_value());
  EXPECT_NE(first, second);
  EXPECT_EQ(sim_.count("C_GenerateRandom"), 2U);
}

} // namespace
} // namespace hsmux
