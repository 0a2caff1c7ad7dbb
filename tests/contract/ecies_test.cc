// ECIES through the engine: what a ciphertext can and cannot do, and that nothing derived stays in a token.
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
constexpr auto kEcies = Algorithm::kEciesP256;

class EciesDecryption : public Contract {
protected:
  void open_with_key(const std::string& slot_extra = "session_copies = 'off'") {
    open("algorithms = ['ecies-p256']", slot_extra);
    make_key(kEcies, "inbox");
    sealed_ = encrypt("inbox", kEcies, plaintext_).value_or(Bytes{});
    const auto opened = decrypt("inbox", kEcies, sealed_);
    ASSERT_TRUE(opened.has_value()) << why(opened);
    ASSERT_EQ(*opened, plaintext_);
  }
  static void expect_plain_failure(const Result<Bytes>& result, const std::string& what) {
    ASSERT_FALSE(result.has_value()) << what;
    EXPECT_EQ(result.error().text(), "the ciphertext could not be decrypted with this key [decrypt-failed]") << what;
    EXPECT_EQ(result.error().call, Call::kNone) << what;
    EXPECT_EQ(result.error().slot, "") << what;
  }
  // Secret objects that a new session sees: those of other sessions of this process, too.
  std::size_t secrets() {
    std::size_t count = 0;
    for (std::size_t slot = 0; slot < slots_; ++slot) {
      Session own = session(slot);
      Template wanted;
      wanted.number(CKA_CLASS, CKO_SECRET_KEY);
      count += own.find(wanted).value().size();
    }
    return count;
  }

  const Bytes plaintext_ = bytes("the key of an envelope of Canton's");
  Bytes sealed_;
};

TEST_F(EciesDecryption, AWarmDecryptionCostsThreeCallsAndEncryptionNone) {
  open_with_key();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(decrypt("inbox", kEcies, sealed_).has_value());
  sim_->reset_counts();
  ASSERT_TRUE(decrypt("inbox", kEcies, sealed_).has_value());
  EXPECT_EQ(sim_->count("C_DeriveKey"), 1U);
  EXPECT_EQ(sim_->count("C_GetAttributeValue"), 1U);
  EXPECT_EQ(sim_->count("C_DestroyObject"), 1U);
  EXPECT_EQ(sim_->total(), 3U);
  sim_->reset_counts();
  ASSERT_TRUE(encrypt("inbox", kEcies, plaintext_).has_value());
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(EciesDecryption, ACopyOfTheKeyDecryptsToo) {
  open_with_key("session_copies = 'on'");
  EXPECT_TRUE(eventually([&] {
    EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_);
    return engine().slots().at(0).stats.session_copies + engine().slots().at(1).stats.session_copies == 2;
  }));
  EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_);
}

TEST_F(EciesDecryption, EveryTamperedByteFailsAlikeAndNoPointOffTheCurveReachesTheToken) {
  open_with_key();
  const std::string before = picture();
  for (std::size_t i = 16; i < sealed_.size(); ++i) { // the IV is not authenticated: docs/decisions/0011
    Bytes tampered = sealed_;
    tampered[i] ^= 0x80;
    sim_->reset_counts();
    expect_plain_failure(decrypt("inbox", kEcies, tampered), "byte " + std::to_string(i));
    EXPECT_EQ(sim_->count("C_DeriveKey"), i < 16 + 65 ? 0U : 1U) << i;
  }
  EXPECT_EQ(picture(), before);
  EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_);
}

TEST_F(EciesDecryption, ExtremeCiphertextsFailAlikeBeforeAnyCall) {
  open_with_key();
  sim_->reset_counts();
  for (const Bytes& bad : {Bytes(), Bytes(128), Bytes(129, 4), Bytes(130, 4), Bytes(100'000), Bytes(64UL << 20)}) {
    expect_plain_failure(decrypt("inbox", kEcies, bad), std::to_string(bad.size()) + " bytes");
  }
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(EciesDecryption, WhatWasSealedForAnotherKeyFailsAlike) {
  open_with_key();
  const std::string other = "id:" + make_key(kEcies, "other");
  expect_plain_failure(decrypt(other, kEcies, sealed_), "another key");
}

TEST_F(EciesDecryption, NothingDerivedStaysInTheTokenWhateverFails) {
  open_with_key();
  ASSERT_EQ(secrets(), 0U);
  Bytes tampered = sealed_;
  tampered.back() ^= 1;
  sim_->reset_counts();
  EXPECT_FALSE(decrypt("inbox", kEcies, tampered).has_value()); // after the derivation
  sim_->answer("C_GetAttributeValue", CKR_DEVICE_ERROR, 1);
  EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_); // again in the other slot
  sim_->answer("C_GetAttributeValue", CKR_ATTRIBUTE_SENSITIVE, 1);
  EXPECT_FALSE(decrypt("inbox", kEcies, sealed_).has_value());
  EXPECT_EQ(sim_->count("C_DeriveKey"), 4U);
  EXPECT_EQ(sim_->count("C_DestroyObject"), 4U);
  EXPECT_EQ(secrets(), 0U);
}

TEST_F(EciesDecryption, ASecretThatTheTokenDoesNotDestroyEndsWithItsSession) {
  open_with_key();
  const auto discarded = [&] {
    return engine().slots().at(0).stats.sessions.discarded + engine().slots().at(1).stats.sessions.discarded;
  };
  const auto before = discarded();
  sim_->answer("C_DestroyObject", CKR_ACTION_PROHIBITED, 1);
  EXPECT_EQ(error_of(decrypt("inbox", kEcies, sealed_)).call, Call::kDestroyObject);
  EXPECT_EQ(discarded(), before + 1);
  EXPECT_TRUE(eventually([&] { return secrets() == 0; }));
  EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_);
}

TEST_F(EciesDecryption, ADeviceErrorIsRetriedInTheOtherSlot) {
  open_with_key();
  sim_->answer_for_slot(slot_id(0), "C_DeriveKey", CKR_DEVICE_ERROR);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(decrypt("inbox", kEcies, sealed_).value_or(Bytes{}), plaintext_);
}

TEST_F(EciesDecryption, ATokenThatKeepsWhatItDerivesHasNoRecipeAndSaysWhy) {
  sim_->answer("C_DeriveKey", CKR_TEMPLATE_INCONSISTENT, 0);
  open("algorithms = ['ecies-p256']");
  EXPECT_EQ(recipe(0, kEcies), "");
  EXPECT_THAT(recipe_reason(0, kEcies), HasSubstr("CKM_ECDH1_DERIVE+host-ECIES: offered, but refused"));
  EXPECT_THAT(recipe_reason(0, kEcies), HasSubstr("C_DeriveKey"));
}

TEST_F(EciesDecryption, TheCallersBufferMustHoldTheLongestPlaintext) {
  open_with_key();
  const DecryptRequest request{
      .key = "inbox", .algorithm = kEcies, .ciphertext = sealed_, .aad = {}, .bound_to = {}, .options = {}};
  Bytes out(47); // three blocks less one byte of padding
  EXPECT_EQ(engine().decrypt(request, out).value_or(0), plaintext_.size());
  out.resize(46);
  sim_->reset_counts();
  EXPECT_EQ(error_of(engine().decrypt(request, out)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(EciesDecryption, APlaintextOfTheLargestSizeComesBackAndALargerOneIsRefused) {
  open_with_key();
  const Bytes largest = random_data(spec_of(kEcies).input_bytes_max);
  const auto sealed = encrypt("inbox", kEcies, largest);
  ASSERT_TRUE(sealed.has_value()) << why(sealed);
  EXPECT_EQ(sealed->size(), Engine::output_bytes_max(kEcies, Operation::kEncrypt, largest.size()));
  EXPECT_EQ(decrypt("inbox", kEcies, *sealed).value_or(Bytes{}), largest);
  EXPECT_EQ(error_of(encrypt("inbox", kEcies, Bytes(largest.size() + 1))).kind, ErrorKind::kInvalidArgument);
}

} // namespace
} // namespace hsmux
