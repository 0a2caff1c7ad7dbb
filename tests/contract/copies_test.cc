// Session copies of keys: what nobody may notice of them, except that the token is faster.
#include <algorithm>

#include "mechanisms/key_template.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

class Copies : public Contract {
protected:
  void open_with_copies() { open("", "session_copies = 'on'"); }
  // Of all slots together.
  std::uint32_t copies() {
    std::uint32_t sum = 0;
    for (const SlotReport& slot : engine().slots()) sum += slot.stats.session_copies;
    return sum;
  }
  void sign_until(std::uint32_t wanted) {
    EXPECT_TRUE(eventually([&] {
      EXPECT_TRUE(sign("orders", bytes("x")).has_value());
      return copies() == wanted;
    }));
  }
  std::vector<ObjectHandle> copies_in(Session& session) {
    Template wanted;
    wanted.text(CKA_LABEL, "hsmux session copy");
    return session.find(wanted).value();
  }
};

TEST_F(Copies, OfAKeyInUseAreMadeOncePerSlotAndSign) {
  open_with_copies();
  make_key(kEcdsa, "orders");
  sim_->reset_counts();
  sign_until(2);
  for (int i = 0; i < 20; ++i) {
    const auto signature = sign("orders", bytes("message"));
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(verifies("orders", bytes("message"), *signature));
  }
  EXPECT_EQ(sim_->count("C_CopyObject"), 2U);
  sim_->reset_counts();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(sign("orders", bytes("message")).has_value());
  EXPECT_EQ(sim_->total(), 2000U);
}

TEST_F(Copies, DecryptWhatTheKeyEncryptedAndTheOtherWayRound) {
  open_with_copies();
  make_key(kGcm, "box");
  const auto by_key = encrypt("box", kGcm, bytes("plaintext"));
  ASSERT_TRUE(by_key.has_value()) << why(by_key);
  EXPECT_TRUE(eventually([&] { return encrypt("box", kGcm, bytes("x")).has_value() && copies() == 2; }));
  EXPECT_EQ(decrypt("box", kGcm, *by_key).value_or(Bytes{}), bytes("plaintext"));
  const auto by_copy = encrypt("box", kGcm, bytes("plaintext"));
  ASSERT_TRUE(by_copy.has_value()) << why(by_copy);
  EXPECT_EQ(decrypt("box", kGcm, *by_copy).value_or(Bytes{}), bytes("plaintext"));
}

TEST_F(Copies, AreSensitiveNotExtractableOfTheSessionAndNoKeysOfTheirOwn) {
  open_with_copies();
  const std::string id = make_key(kEcdsa, "orders");
  sign_until(2);
  Session own = session(0);
  const auto found = copies_in(own);
  ASSERT_EQ(found.size(), 1U);
  constexpr std::array<unsigned long, 4> kAsked{CKA_TOKEN, CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_ID};
  const auto values = own.attributes(found.front(), kAsked);
  ASSERT_TRUE(values.has_value()) << why(values);
  EXPECT_EQ((*values)[0], Bytes{0});
  EXPECT_EQ((*values)[1], Bytes{1});
  EXPECT_EQ((*values)[2], Bytes{0});
  EXPECT_NE((*values)[3], from_hex(id).value());

  const auto keys = engine().list_keys();
  ASSERT_TRUE(keys.has_value()) << why(keys);
  EXPECT_EQ(std::ranges::count(*keys, "hsmux session copy", &KeyInfo::label), 0);
  EXPECT_EQ(std::ranges::count(*keys, "orders", &KeyInfo::label), 1);
}

TEST_F(Copies, GoWithADeletedKey) {
  open_with_copies();
  make_key(kEcdsa, "orders");
  sign_until(2);
  ASSERT_TRUE(engine().delete_key("orders").has_value());
  EXPECT_EQ(error_of(sign("orders", bytes("x"))).kind, ErrorKind::kKeyNotFound);
  EXPECT_TRUE(eventually([&] {
    Session one = session(0), other = session(1);
    return copies() == 0 && copies_in(one).empty() && copies_in(other).empty();
  }));
}

TEST_F(Copies, AreMadeAnewInEachEpoch) {
  open_with_copies();
  make_key(kEcdsa, "orders");
  sign_until(2);
  sim_->kill_sessions();
  sim_->reset_counts();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(sign("orders", bytes("x")).has_value());
    return sim_->count("C_CopyObject") == 2 && copies() == 2;
  }));
}

TEST_F(Copies, ThatATokenRefusesAreNoLoss) {
  open_with_copies();
  make_key(kEcdsa, "orders");
  sim_->answer("C_CopyObject", CKR_ACTION_PROHIBITED, 0);
  sim_->reset_counts();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(sign("orders", bytes("x")).has_value());
    return sim_->count("C_CopyObject") == 2;
  }));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(sign("orders", bytes("x")).has_value());
  EXPECT_EQ(sim_->count("C_CopyObject"), 2U); // not tried for ever
  EXPECT_EQ(copies(), 0U);
}

TEST_F(Copies, AreNotMadeWhereTheyAreSwitchedOff) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  sim_->reset_counts();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(sign("orders", bytes("x")).has_value());
  EXPECT_EQ(sim_->count("C_CopyObject"), 0U);
}

} // namespace
} // namespace hsmux
