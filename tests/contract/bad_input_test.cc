// Every bad input has an error of its own that says what to do, and changes nothing.
#include <filesystem>
#include <fstream>

#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class BadInput : public Contract {
protected:
  // The request is refused with this kind, the same way twice, and leaves everything as it was.
  template <class Request> Error refused(ErrorKind kind, Request request) {
    const std::string before = picture();
    const Error first = error_of(request());
    EXPECT_EQ(first.kind, kind) << first.text();
    const Error second = error_of(request());
    EXPECT_EQ(second.kind, first.kind) << second.text();
    EXPECT_EQ(second.message, first.message); // the slot may be another one
    EXPECT_EQ(picture(), before);
    return first;
  }
  Error open_error(Config given, EngineOptions options = {}) { return error_of(try_open(std::move(given), options)); }
};

// --- opening ---

TEST_F(BadInput, AWrongPinIsTriedOnceOverSeveralEngines) {
  if (TokenFolder::external()) GTEST_SKIP() << "a wrong PIN would use up a try of a token that is not the test's";
  std::ofstream(tokens_->pin_file(1)) << "wrong pin\n";
  for (int i = 0; i < 3; ++i) {
    const Error error = open_error(config());
    EXPECT_EQ(error.kind, ErrorKind::kCredentials) << error.text();
    EXPECT_EQ(error.slot, "slot-1");
    EXPECT_THAT(error.text(), AllOf(HasSubstr("CKR_PIN_INCORRECT"), Not(HasSubstr("wrong pin"))));
  }
  EXPECT_EQ(sim_->logins(slot_id(1)), 1U);
}

TEST_F(BadInput, AWrongPinOfOneSlotLeavesTheOthersInUseUntilItIsPutRight) {
  if (TokenFolder::external()) GTEST_SKIP() << "a wrong PIN would use up a try of a token that is not the test's";
  std::ofstream(tokens_->pin_file(1)) << "wrong pin\n";
  EngineOptions options;
  options.slots_at_start_min = 1;
  open("", "", options);
  EXPECT_EQ(state(1), SlotState::kLatched);
  make_key_in(0, kEcdsa, "orders");
  EXPECT_TRUE(sign("orders", bytes("x")).has_value());
  Bytes byte(1);
  EXPECT_EQ(error_of(engine().random(byte, {.deadline = {}, .slot = "slot-1"})).kind, ErrorKind::kCredentials);
  EXPECT_EQ(sim_->logins(slot_id(1)), 1U);

  std::ofstream(tokens_->pin_file(1)) << tokens_->pin(1) << '\n';
  EXPECT_TRUE(engine().unlatch("slot-1").has_value());
  EXPECT_TRUE(eventually([&] { return state(1) == SlotState::kReady; }));
}

TEST_F(BadInput, ALockedTokenIsNamedAndNeverTried) {
  sim_->set_token_flags(slot_id(1), CKF_USER_PIN_LOCKED);
  const Error error = open_error(config());
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("slot-1"), HasSubstr("locked")));
  EXPECT_EQ(sim_->logins(slot_id(1)), 0U);
}

TEST_F(BadInput, TheLastTryOfATokenIsNeverUsed) {
  sim_->set_token_flags(slot_id(1), CKF_USER_PIN_FINAL_TRY);
  const Error error = open_error(config("", "allow_pin_count_low = true"));
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_EQ(sim_->logins(slot_id(1)), 0U);
}

TEST_F(BadInput, AMissingPinFileIsNamed) {
  std::filesystem::remove(tokens_->pin_file(0));
  const Error error = open_error(config());
  EXPECT_EQ(error.kind, ErrorKind::kCredentials);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("slot-0"), HasSubstr(tokens_->pin_file(0))));
}

TEST_F(BadInput, AMissingModuleIsNamed) {
  Config given = config();
  given.modules.front().path = "/nonexistent/libvendor.so";
  const Error error = open_error(given);
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("/nonexistent/libvendor.so"), HasSubstr("module test")));
}

TEST_F(BadInput, AFileThatIsNoModuleIsNamed) {
  Config given = config();
  given.modules.front().path = tokens_->pin_file(0);
  EXPECT_EQ(open_error(given).kind, ErrorKind::kModule);
  given.modules.front().path = "libm.so.6";
  const Error error = open_error(given);
  EXPECT_EQ(error.kind, ErrorKind::kModule);
  EXPECT_THAT(error.text(), HasSubstr("not a PKCS#11 module"));
}

TEST_F(BadInput, ATokenThatIsNotThereIsNamed) {
  Config given = config();
  given.slots.front().selector.token_label = "no such token";
  const Error error = open_error(given, {.events = {},
                                         .log = {},
                                         .set_module_environment = false,
                                         .slots_at_start_min = 0,
                                         .connect_timeout = milliseconds(2000)});
  EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("slot-0"), HasSubstr("no such token")));
}

TEST_F(BadInput, AnUnknownAlgorithmInTheConfigurationIsNamedWithThoseThatAre) {
  const Error error = open_error(config("algorithms = ['rot13']"));
  EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("rot13"), HasSubstr("ecdsa-p256-sha256")));
}

TEST_F(BadInput, MalformedTomlIsNamedByFileAndLine) {
  const auto parsed = parse_config(tokens_->toml() + "\n[[slot]\n", "hsmux.toml", tokens_->folder());
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(parsed.error().text(), testing::ContainsRegex("hsmux.toml:[0-9]+"));
}

TEST_F(BadInput, AnOpenThatFailedLeavesNoSession) {
  sim_->set_token_flags(slot_id(1), CKF_USER_PIN_LOCKED);
  open_error(config());
  for (std::size_t slot = 0; slot < 2; ++slot) EXPECT_EQ(sim_->open_sessions(slot_id(slot)), 0U);
}

// --- keys ---

TEST_F(BadInput, AnAbsentKeyIsNamedWithTheSlotsThatWereSearched) {
  open();
  const Error error = refused(ErrorKind::kKeyNotFound, [&] { return sign("no such key", bytes("x")); });
  EXPECT_THAT(error.text(), AllOf(HasSubstr("no such key"), HasSubstr("slot-0"), HasSubstr("slot-1")));
  refused(ErrorKind::kKeyNotFound, [&] { return engine().delete_key("no such key"); });
  refused(ErrorKind::kKeyNotFound, [&] { return engine().public_key("id:00"); });
}

TEST_F(BadInput, ANameThatIsNoneIsRefused) {
  open();
  const std::string nul("a\0b", 3);
  for (const std::string& name :
       {std::string(), std::string(301, 'a'), nul, std::string("id:"), std::string("id:0"), std::string("id:xyz"),
        "id:" + std::string(130, '0'), std::string("pkcs11:"), std::string("pkcs11:object=a?pin-value=1234"),
        std::string("pkcs11:no-such-attribute=1")}) {
    refused(ErrorKind::kInvalidArgument, [&] { return sign(name, bytes("x")); });
  }
}

TEST_F(BadInput, AnAmbiguousLabelListsItsKeysAndEitherIsReachedById) {
  open();
  const std::string first = make_key(kEcdsa, "orders"), second = make_key(kEcdsa, "orders");
  const Error error = refused(ErrorKind::kKeyAmbiguous, [&] { return sign("orders", bytes("x")); });
  EXPECT_THAT(error.text(), AllOf(HasSubstr("id:" + first), HasSubstr("id:" + second)));
  const Error kept = refused(ErrorKind::kKeyAmbiguous, [&] { return engine().delete_key("orders"); });
  EXPECT_THAT(kept.text(), AllOf(HasSubstr("nothing was deleted"), HasSubstr(first)));
  EXPECT_TRUE(sign("id:" + first, bytes("x")).has_value());
  EXPECT_TRUE(sign("id:" + second, bytes("x")).has_value());
}

TEST_F(BadInput, TwoObjectsOfOneSlotUnderOneIdAreAmbiguous) {
  open();
  const Bytes id = random_data(16);
  for (int i = 0; i < 2; ++i) import_key(0, spec_of(kEcdsa), *generate_ec(Curve::kP256), id, "twins");
  const Error error = refused(ErrorKind::kKeyAmbiguous, [&] { return sign("twins", bytes("x")); });
  EXPECT_THAT(error.text(), HasSubstr(to_hex(id)));
}

TEST_F(BadInput, AKeyOfTheWrongTypeIsNamedWithTheRightOne) {
  open();
  make_key(kGcm, "box");
  make_key(kEcdsa, "orders");
  const Error error = refused(ErrorKind::kKeyUnusable, [&] { return sign("box", bytes("x")); });
  EXPECT_THAT(error.text(), AllOf(HasSubstr("aes-256"), HasSubstr("ec-p256")));
  refused(ErrorKind::kKeyUnusable, [&] { return encrypt("orders", kGcm, bytes("x")); });
  refused(ErrorKind::kKeyUnusable, [&] { return encrypt("orders", kOaep, bytes("x")); });
  refused(ErrorKind::kKeyUnusable, [&] { return decrypt("box", kOaep, Bytes(256)); });
}

TEST_F(BadInput, AKeyOfAnotherSizeIsNotTakenForOneThatFits) {
  open();
  const Bytes id = random_data(16);
  import_key(0, spec_of(kGcm), *generate_aes(16), id, "small box");
  const Error error = refused(ErrorKind::kKeyUnusable, [&] { return encrypt("small box", kGcm, bytes("x")); });
  EXPECT_THAT(error.text(), HasSubstr("aes-128"));
}

TEST_F(BadInput, AKeyOfAnotherCurveIsNotTakenForOneThatFits) {
  open();
  const Bytes id = random_data(16);
  import_key(0, spec_of(kEcdsa), *generate_ec(Curve::kP384), id, "big curve");
  refused(ErrorKind::kKeyUnusable, [&] { return sign("big curve", bytes("x")); });
}

TEST_F(BadInput, AKeyThatIsNotPermittedToIsNamed) {
  open();
  AlgorithmSpec no_purpose = spec_of(kEcdsa);
  no_purpose.signs = false;
  const Bytes id = random_data(16);
  import_key(0, no_purpose, *generate_ec(Curve::kP256), id, "idle");
  const Error error = refused(ErrorKind::kKeyUnusable, [&] { return sign("idle", bytes("x")); });
  EXPECT_THAT(error.text(), HasSubstr("does not permit to sign"));
}

TEST_F(BadInput, AnAlgorithmIsNotUsedForWhatItIsNot) {
  open();
  make_key(kEcdsa, "orders");
  make_key(kGcm, "box");
  const Bytes data = bytes("x");
  refused(ErrorKind::kInvalidArgument, [&] { return encrypt("orders", kEcdsa, data); });
  refused(ErrorKind::kInvalidArgument, [&] { return decrypt("orders", kEcdsa, data); });
  refused(ErrorKind::kInvalidArgument, [&] {
    return engine().sign({.key = "box", .algorithm = kGcm, .message = data, .prehashed = false, .options = {}});
  });
  refused(ErrorKind::kInvalidArgument, [&] {
    return engine().verify(
        {.key = "box", .algorithm = kGcm, .message = data, .prehashed = false, .signature = data, .options = {}});
  });
}

TEST_F(BadInput, AnAlgorithmThatNoRecipeFitsSaysWhatWasTried) {
  sim_->hide_mechanism(CKM_RSA_X_509);
  sim_->hide_mechanism(CKM_RSA_PKCS_OAEP);
  open();
  EXPECT_EQ(recipe(0, kOaep), "");
  const Bytes id = random_data(16);
  const auto key = generate_rsa(2048);
  for (std::size_t slot = 0; slot < 2; ++slot) import_key(slot, spec_of(kOaep), *key, id, "inbox");
  const Error error = refused(ErrorKind::kUnsupported, [&] { return decrypt("inbox", kOaep, Bytes(256, 1)); });
  EXPECT_THAT(error.text(),
              AllOf(HasSubstr("CKM_RSA_PKCS_OAEP"), HasSubstr("CKM_RSA_X_509"), HasSubstr("not offered")));
}

// --- sizes ---

TEST_F(BadInput, OversizedDataIsRefusedBeforeAnyCall) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  make_key(kGcm, "box");
  make_key(kOaep, "inbox");
  ASSERT_TRUE(sign("orders", bytes("x")).has_value());
  ASSERT_TRUE(encrypt("box", kGcm, bytes("x")).has_value());
  ASSERT_TRUE(encrypt("inbox", kOaep, bytes("x")).has_value());
  const Bytes huge((64UL << 20) + 1);
  sim_->reset_counts();
  EXPECT_EQ(error_of(sign("orders", huge)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(encrypt("box", kGcm, huge)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(encrypt("box", kGcm, Bytes(16'369))).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(encrypt("inbox", kOaep, Bytes(191))).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(decrypt("box", kGcm, huge)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error_of(decrypt("inbox", kOaep, huge)).kind, ErrorKind::kDecryptFailed);
  Bytes much(65'537);
  EXPECT_EQ(error_of(engine().random(much)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(BadInput, ADigestOfTheWrongSizeIsRefused) {
  open();
  make_key(kEcdsa, "orders");
  for (const std::size_t size : {0, 31, 33, 64}) {
    const Bytes digest(size);
    refused(ErrorKind::kInvalidArgument, [&] {
      return engine().sign({.key = "orders", .algorithm = kEcdsa, .message = digest, .prehashed = true, .options = {}});
    });
  }
}

TEST_F(BadInput, LabelsAndSizesOfNewKeysAreChecked) {
  open();
  const auto generate = [&](std::string_view label, Algorithm algorithm, std::uint32_t bits) {
    return engine().generate(
        {.label = label, .algorithm = algorithm, .bits = bits, .placement = {}, .software_key = true, .options = {}});
  };
  const std::string longest(301, 'a');
  for (const std::string_view label : {std::string_view(), std::string_view(longest), std::string_view("a\nb"),
                                       std::string_view("id:00"), std::string_view("pkcs11:object=a")}) {
    refused(ErrorKind::kInvalidArgument, [&] { return generate(label, kEcdsa, 0); });
  }
  refused(ErrorKind::kInvalidArgument, [&] { return generate("a", kEcdsa, 384); });
  refused(ErrorKind::kInvalidArgument, [&] { return generate("a", kOaep, 1024); });
  refused(ErrorKind::kInvalidArgument, [&] { return generate("a", kOaep, 2049); });
  refused(ErrorKind::kInvalidArgument, [&] { return generate("a", kGcm, 128); });
}

// --- slots and deadlines ---

TEST_F(BadInput, AnUnknownSlotIsNamedWithThoseThatAre) {
  open();
  make_key(kEcdsa, "orders");
  const RequestOptions nowhere{.deadline = {}, .slot = "slot-9"};
  const Error error = refused(ErrorKind::kInvalidArgument, [&] { return sign("orders", bytes("x"), nowhere); });
  EXPECT_THAT(error.text(), AllOf(HasSubstr("slot-9"), HasSubstr("slot-0, slot-1")));
  Bytes byte(1);
  refused(ErrorKind::kInvalidArgument, [&] { return engine().random(byte, nowhere); });
  refused(ErrorKind::kInvalidArgument, [&] { return engine().list_keys({}, nowhere); });
  refused(ErrorKind::kInvalidArgument, [&] { return engine().unlatch("slot-9"); });
  refused(ErrorKind::kInvalidArgument, [&] {
    const PlacementConfig placement{.kind = Placement::kSlots, .quorum = 0, .slots = {"slot-9"}};
    return engine().generate(
        {.label = "a", .algorithm = kEcdsa, .bits = 0, .placement = placement, .software_key = false, .options = {}});
  });
}

TEST_F(BadInput, ASlotWithoutTheKeyIsNamedWithThoseThatHaveIt) {
  open();
  make_key_in(1, kEcdsa, "orders");
  const Error error =
      refused(ErrorKind::kKeyNotFound, [&] { return sign("orders", bytes("x"), {.deadline = {}, .slot = "slot-0"}); });
  EXPECT_THAT(error.text(), HasSubstr("it is in slot-1"));
}

TEST_F(BadInput, ADeadlineInThePastEndsARequestBeforeAnyCall) {
  open("", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  make_key(kGcm, "box");
  const auto sealed = encrypt("box", kGcm, bytes("x"));
  ASSERT_TRUE(sign("orders", bytes("x")).has_value());
  const RequestOptions late{.deadline = Deadline(MonotonicClock::now() - milliseconds(1)), .slot = {}};
  const std::string before = picture();
  const Bytes data = bytes("x");
  Bytes byte(1);
  sim_->reset_counts();
  const Error errors[] = {
      error_of(sign("orders", data, late)),
      error_of(engine().encrypt({.key = "box", .algorithm = kGcm, .plaintext = data, .aad = {}, .options = late})),
      error_of(engine().decrypt(
          {.key = "box", .algorithm = kGcm, .ciphertext = *sealed, .aad = {}, .bound_to = {}, .options = late})),
      error_of(engine().random(byte, late)),
      error_of(engine().list_keys({}, late)),
      error_of(engine().find_key("not looked up yet", late)),
      error_of(engine().delete_key("orders", late)),
      error_of(engine().generate(
          {.label = "late", .algorithm = kEcdsa, .bits = 0, .placement = {}, .software_key = true, .options = late})),
  };
  for (const Error& error : errors) {
    EXPECT_EQ(error.kind, ErrorKind::kTimeout) << error.text();
    EXPECT_TRUE(error.retryable());
  }
  EXPECT_EQ(sim_->total(), 0U);
  EXPECT_EQ(picture(), before);
}

} // namespace
} // namespace hsmux
