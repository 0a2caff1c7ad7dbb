// Signing and verifying through the engine, and how many calls that costs.
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <atomic>
#include <thread>

#include "mechanisms/openssl_handles.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
using Signing = Contract;

// Independent of the engine's own verification: message, DER signature and SPKI are all that others get.
bool openssl_verifies(const Bytes& spki, const Bytes& message, const Bytes& signature) {
  const unsigned char* position = spki.data();
  const openssl::Key key(d2i_PUBKEY(nullptr, &position, static_cast<long>(spki.size())));
  const openssl::DigestContext context(EVP_MD_CTX_new());
  return key && EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(), message.size()) == 1;
}

TEST_F(Signing, ASignatureOfAMessageIsAcceptedByOpenssl) {
  open();
  make_key(kEcdsa, "orders");
  const auto spki = engine().public_key("orders");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  for (const std::size_t size : {0, 1, 31, 32, 33, 5000}) {
    const Bytes message = random_data(size);
    const auto signature = sign("orders", message);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(openssl_verifies(*spki, message, *signature)) << size;
    EXPECT_TRUE(verifies("orders", message, *signature));
  }
}

TEST_F(Signing, ASignatureOfADigestIsOneOfItsMessage) {
  open();
  make_key(kEcdsa, "orders");
  const Bytes message = bytes("the message");
  Bytes hashed(32);
  ASSERT_TRUE(digest(Hash::kSha256, message, hashed).has_value());
  const auto signature =
      engine().sign({.key = "orders", .algorithm = kEcdsa, .message = hashed, .prehashed = true, .options = {}});
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_TRUE(verifies("orders", message, *signature));
  EXPECT_TRUE(engine()
                  .verify({.key = "orders",
                           .algorithm = kEcdsa,
                           .message = hashed,
                           .prehashed = true,
                           .signature = *signature,
                           .options = {}})
                  .has_value());
}

// Values of r and s with leading zeros or a high bit come up in a few hundred signatures.
TEST_F(Signing, EveryOneOfManySignaturesIsValidDer) {
  open();
  make_key(kEcdsa, "orders");
  const auto spki = engine().public_key("orders");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  const Bytes message = bytes("same message each time");
  std::set<std::size_t> sizes;
  for (int i = 0; i < 600; ++i) {
    const auto signature = sign("orders", message);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    ASSERT_TRUE(openssl_verifies(*spki, message, *signature)) << i;
    sizes.insert(signature->size());
  }
  EXPECT_GE(sizes.size(), 3U);
}

TEST_F(Signing, AnotherMessageKeyOrSignatureDoesNotVerify) {
  open();
  make_key(kEcdsa, "orders");
  make_key(kEcdsa, "others");
  const Bytes message = bytes("the message");
  const auto signature = sign("orders", message);
  ASSERT_TRUE(signature.has_value()) << why(signature);
  EXPECT_FALSE(verifies("orders", bytes("the messagf"), *signature));
  EXPECT_FALSE(verifies("others", message, *signature));
  Bytes truncated(signature->begin(), signature->end() - 1);
  EXPECT_FALSE(verifies("orders", message, truncated));
  EXPECT_FALSE(verifies("orders", message, {}));
  for (std::size_t i = 0; i < signature->size(); ++i) {
    Bytes changed = *signature;
    changed[i] ^= 1;
    EXPECT_EQ(error_of(engine().verify({.key = "orders",
                                        .algorithm = kEcdsa,
                                        .message = message,
                                        .prehashed = false,
                                        .signature = changed,
                                        .options = {}}))
                  .kind,
              ErrorKind::kSignatureInvalid)
        << "byte " << i;
  }
}

TEST_F(Signing, AWarmSignatureCostsOneInitAndOneCall) {
  open("", "session_copies = 'off'"); // which are made beside (copies_test.cc)
  make_key(kEcdsa, "orders");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", bytes("warm up")).has_value());
  sim_->reset_counts();
  ASSERT_TRUE(sign("orders", bytes("the message")).has_value());
  EXPECT_EQ(sim_->count("C_SignInit"), 1U);
  EXPECT_EQ(sim_->count("C_Sign"), 1U);
  EXPECT_EQ(sim_->total(), 2U);
}

TEST_F(Signing, AThousandWarmSignaturesCostTwoThousandCalls) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", bytes("warm up")).has_value());
  sim_->reset_counts();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(sign("orders", bytes("the message")).has_value());
  EXPECT_EQ(sim_->total(), 2000U);
}

TEST_F(Signing, VerifyingCostsTheTokenNothing) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  const auto signature = sign("orders", bytes("the message"));
  ASSERT_TRUE(signature.has_value()) << why(signature);
  sim_->reset_counts();
  EXPECT_TRUE(verifies("orders", bytes("the message"), *signature));
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(Signing, TheLoadIsSpreadOverTheSlots) {
  open();
  make_key(kEcdsa, "orders");
  sim_->reset_counts();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(sign("orders", bytes("the message")).has_value());
  EXPECT_GT(sim_->count("C_Sign", slot_id(0)), 0U);
  EXPECT_GT(sim_->count("C_Sign", slot_id(1)), 0U);
  EXPECT_EQ(sim_->count("C_Sign"), 200U);
}

TEST_F(FourSlots, ConcurrentLoadUsesEverySlot) {
  open();
  make_key(kEcdsa, "orders");
  sim_->reset_counts();
  sim_->delay("C_Sign", std::chrono::milliseconds(2));
  std::atomic<int> failed{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 25; ++i) failed += !sign("orders", bytes("the message"));
      });
    }
  }
  EXPECT_EQ(failed, 0);
  for (std::size_t slot = 0; slot < 4; ++slot) EXPECT_GT(sim_->count("C_Sign", slot_id(slot)), 0U) << slot;
}

TEST_F(Signing, ASlotThatWasSlowForAWhileIsUsedAgain) {
  open();
  make_key(kEcdsa, "orders");
  sim_->delay("C_Sign", std::chrono::milliseconds(50), slot_id(0));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", bytes("the message"), {.deadline = {}, .slot = "slot-0"}));
  sim_->delay("C_Sign", std::chrono::milliseconds(0), slot_id(0));
  sim_->reset_counts();
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(sign("orders", bytes("the message")).has_value());
    return sim_->count("C_Sign", slot_id(0)) >= 20;
  }));
}

TEST_F(Signing, ARequestMayBindItselfToOneSlot) {
  open();
  make_key(kEcdsa, "orders");
  sim_->reset_counts();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", bytes("x"), {.deadline = {}, .slot = "slot-1"}).has_value());
  EXPECT_EQ(sim_->count("C_Sign", slot_id(0)), 0U);
  EXPECT_EQ(sim_->count("C_Sign", slot_id(1)), 20U);
}

TEST_F(Signing, TheCallersBufferMustHoldTheLongestSignature) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  const Bytes message = bytes("x");
  const SignRequest request{
      .key = "orders", .algorithm = kEcdsa, .message = message, .prehashed = false, .options = {}};
  Bytes out(Engine::output_bytes_max(kEcdsa, Operation::kSign, 1));
  EXPECT_TRUE(engine().sign(request, out).has_value());
  sim_->reset_counts();
  EXPECT_EQ(error_of(engine().sign(request, std::span(out).first(out.size() - 1))).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(Signing, TheModuleItselfServesWithoutTheSimulator) {
  const TokenFolder plain(1);
  Result<Config> parsed = parse_config(plain.toml(), "test.toml", plain.folder());
  ASSERT_TRUE(parsed.has_value()) << why(parsed);
  auto opened = try_open(*parsed);
  ASSERT_TRUE(opened.has_value()) << why(opened);
  const auto key = (*opened)->generate(
      {.label = "direct", .algorithm = kEcdsa, .bits = 0, .placement = {}, .software_key = false, .options = {}});
  ASSERT_TRUE(key.has_value()) << why(key);
  const Bytes message = bytes("x");
  const std::string name = "id:" + key->id;
  EXPECT_TRUE((*opened)
                  ->sign({.key = name, .algorithm = kEcdsa, .message = message, .prehashed = false, .options = {}})
                  .has_value());
  EXPECT_TRUE((*opened)->delete_key(name).has_value());
}

// --- recipes ---

TEST_F(Signing, ATokenThatOnlySignsMessagesGetsTheHashedRecipe) {
  if (!offered(CKM_ECDSA_SHA256)) GTEST_SKIP() << "the token has no CKM_ECDSA_SHA256";
  sim_->hide_mechanism(CKM_ECDSA);
  open();
  EXPECT_EQ(recipe(0, kEcdsa), "CKM_ECDSA_SHA256");
  make_key(kEcdsa, "orders");
  const auto spki = engine().public_key("orders");
  ASSERT_TRUE(spki.has_value()) << why(spki);
  for (const std::size_t size : {0, 1, 32, 5000}) {
    const Bytes message = random_data(size);
    const auto signature = sign("orders", message);
    ASSERT_TRUE(signature.has_value()) << why(signature);
    EXPECT_TRUE(openssl_verifies(*spki, message, *signature));
  }
}

TEST_F(Signing, ADigestForATokenThatOnlySignsMessagesIsAClearError) {
  if (!offered(CKM_ECDSA_SHA256)) GTEST_SKIP() << "the token has no CKM_ECDSA_SHA256";
  sim_->hide_mechanism(CKM_ECDSA);
  open();
  make_key(kEcdsa, "orders");
  const std::string before = picture();
  const Bytes hashed(32, 1);
  const Error error = error_of(
      engine().sign({.key = "orders", .algorithm = kEcdsa, .message = hashed, .prehashed = true, .options = {}}));
  EXPECT_EQ(error.kind, ErrorKind::kUnsupported);
  EXPECT_THAT(error.text(), HasSubstr("give the message instead of its digest"));
  EXPECT_EQ(picture(), before);
}

TEST_F(Signing, TheHostsDigestIsPreferredWhereBothAreOffered) {
  sim_->add_mechanism(CKM_ECDSA_SHA256);
  open();
  EXPECT_EQ(recipe(0, kEcdsa), "host-digest+CKM_ECDSA");
}

TEST_F(Signing, AMechanismThatIsListedButNotCarriedOutIsPassedOver) {
  if (!offered(CKM_ECDSA_SHA256)) GTEST_SKIP() << "the token has no CKM_ECDSA_SHA256";
  for (std::size_t i = 0; i < 2; ++i) sim_->answer_for_slot(slot_id(i), "C_SignInit", CKR_MECHANISM_INVALID, 1);
  open();
  EXPECT_EQ(recipe(0, kEcdsa), "CKM_ECDSA_SHA256");
  EXPECT_THAT(recipe_reason(0, kEcdsa), HasSubstr("offered, but refused"));
}

TEST_F(Signing, AFailureOfTheMomentDoesNotDecideARecipeForGood) {
  for (std::size_t i = 0; i < 2; ++i) sim_->answer_for_slot(slot_id(i), "C_SignInit", CKR_DEVICE_ERROR, 1);
  open();
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(recipe(i, kEcdsa), "host-digest+CKM_ECDSA");
  make_key(kEcdsa, "orders");
  const auto signature = sign("orders", bytes("x"));
  EXPECT_TRUE(signature.has_value()) << why(signature);
}

TEST_F(Signing, ASlotWithoutARecipeLeavesTheWorkToTheOther) {
  open("algorithms = ['aes-256-gcm']");
  const Bytes id = random_data(16);
  const auto key = generate_ec(Curve::kP256);
  for (std::size_t slot = 0; slot < 2; ++slot) import_key(slot, spec_of(kEcdsa), *key, id, "orders");
  // The first use of either slot tries its recipes: slot-0 refuses them all.
  sim_->answer_for_slot(slot_id(0), "C_SignInit", CKR_MECHANISM_INVALID, 0);
  for (int i = 0; i < 20; ++i) {
    const auto signature = sign("orders", bytes("x"));
    ASSERT_TRUE(signature.has_value()) << why(signature);
  }
  EXPECT_GE(sim_->count("C_Sign", slot_id(1)), 20U);
}

// --- the check against OpenSSL with a key that both know ---

class CrossCheck : public Contract {
protected:
  Status check(Algorithm algorithm) { return engine().cross_check(algorithm, {.deadline = {}, .slot = "slot-0"}); }
};

TEST_F(CrossCheck, PassesForEveryAlgorithmAndLeavesNothingBehind) {
  open();
  const std::string before = picture();
  for (const AlgorithmSpec& spec : spec_table()) {
    const Status status = check(spec.algorithm);
    EXPECT_TRUE(status.has_value()) << spec.name << ": " << why(status);
  }
  EXPECT_EQ(picture(), before);
}

TEST_F(CrossCheck, NoticesWrongResults) {
  open();
  sim_->corrupt("C_Sign", 0, slot_id(0));
  EXPECT_FALSE(check(kEcdsa).has_value());
  sim_->corrupt("C_Encrypt", 0, slot_id(0));
  EXPECT_FALSE(check(Algorithm::kAes256Gcm).has_value());
  sim_->corrupt("C_Decrypt", 0, slot_id(0));
  EXPECT_FALSE(check(Algorithm::kRsaOaepSha256).has_value());
}

TEST_F(CrossCheck, TellsThatTheTokenTakesNoKeysInClear) {
  open();
  sim_->answer("C_CreateObject", CKR_ACTION_PROHIBITED, 0);
  EXPECT_EQ(error_of(check(kEcdsa)).call, Call::kCreateObject);
}

} // namespace
} // namespace hsmux
