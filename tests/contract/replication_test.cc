// A key in several slots by wrapping: whole or not at all, the same everywhere, and nothing of it left that could
// leave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "mechanisms/software_key.h"
#include "mechanisms/unfinished_key.h"
#include "slots/key_handles.h"
#include "slots/pkcs11.h"
#include "tests/contract/contract.h"
#include "tests/simhsm/raw_token.h"

namespace hsmux {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Algorithm kReplicaEc = Algorithm::kEcdsaP256Sha256, kReplicaAes = Algorithm::kAes256Gcm;

GenerateRequest replicated(Algorithm algorithm, std::string_view label) {
  return {.label = label,
          .algorithm = algorithm,
          .bits = 0,
          .placement = PlacementConfig{},
          .software_key = false,
          .options = {}};
}

PlacementConfig in_slots(std::vector<std::string> slots) {
  return {.kind = Placement::kSlots, .quorum = 0, .slots = std::move(slots)};
}

class Replicas : public ThreeSlots {
protected:
  // Every object of a slot that a session of the test sees: of the token, and of all sessions.
  std::vector<ObjectHandle> objects(std::size_t slot) { return *session(slot).find(Template()); }
  std::size_t all_objects() {
    std::size_t count = 0;
    for (std::size_t slot = 0; slot < slots_; ++slot) count += objects(slot).size();
    return count;
  }
  std::size_t extractable_objects() {
    std::size_t count = 0;
    for (std::size_t slot = 0; slot < slots_; ++slot) {
      Template wanted;
      wanted.flag(CKA_EXTRACTABLE, true);
      count += session(slot).find(wanted)->size();
    }
    return count;
  }
  Result<KeyInfo> make(const GenerateRequest& request) {
    Result<KeyInfo> key = engine().generate(request);
    if (key) remember(*from_hex(key->id));
    return key;
  }
  KeyAudit audited(const std::string& name) {
    const Result<AuditReport> report = engine().audit_keys({.name = name, .options = {}});
    EXPECT_TRUE(report.has_value()) << why(report);
    EXPECT_TRUE(report && report->keys.size() == 1);
    return report && !report->keys.empty() ? report->keys.front() : KeyAudit{};
  }
};

const char* const kWithoutCopies = "session_copies = 'off'"; // which are objects, too

class EachAlgorithm : public Replicas, public testing::WithParamInterface<Algorithm> {};

TEST_P(EachAlgorithm, IsReplicatedByWrappingAndProvedToBeTheSameKeyEverywhere) {
  const AlgorithmSpec& spec = spec_of(GetParam());
  open("algorithms = ['" + std::string(spec.name) + "']", kWithoutCopies);
  const std::size_t before = all_objects();
  const Result<KeyInfo> key = make(replicated(GetParam(), "replica"));
  if (!key && spec.algorithm == Algorithm::kEd25519) {
    // SoftHSM 2.6.1 wraps no Edwards keys.
    EXPECT_EQ(key.error().kind, ErrorKind::kUnsupported);
    EXPECT_THAT(key.error().text(), AllOf(HasSubstr("does not wrap keys of this kind"), HasSubstr("--software-key")));
    EXPECT_EQ(all_objects(), before);
    return;
  }
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_FALSE(key->software_key);
  EXPECT_TRUE(key->sensitive && !key->extractable);
  EXPECT_THAT(key->slots, ElementsAre("slot-0", "slot-1", "slot-2"));
  const KeyAudit audit = audited("replica");
  EXPECT_THAT(audit.findings, IsEmpty());
  ASSERT_EQ(audit.replicas.size(), 3U);
  for (const ReplicaAudit& replica : audit.replicas) {
    EXPECT_TRUE(replica.same) << replica.slot << ": " << replica.problem;
    EXPECT_EQ(replica.attributes.extractable, false);
    EXPECT_NE(replica.attributes.always_sensitive, true) << "it has travelled";
  }
  const std::size_t halves = key_family(spec.key) == KeyFamily::kAes ? 1 : 2;
  EXPECT_EQ(all_objects(), before + 3 * halves) << "nothing but the replicas remains";
  EXPECT_EQ(extractable_objects(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Rows, EachAlgorithm,
                         testing::Values(Algorithm::kEcdsaP256Sha256, Algorithm::kEcdsaP384Sha384,
                                         Algorithm::kEcdsaSecp256k1Sha256, Algorithm::kEd25519,
                                         Algorithm::kRsaPkcs1Sha256, Algorithm::kRsaOaepSha256, Algorithm::kEciesP256,
                                         Algorithm::kAes128Gcm, Algorithm::kAes256Gcm),
                         [](const testing::TestParamInfo<Algorithm>& row) {
                           std::string name(spec_of(row.param).name);
                           std::erase(name, '-');
                           return name;
                         });

TEST_F(Replicas, NoKeyIsCreatedInClear) {
  open("", kWithoutCopies);
  sim_->reset_counts();
  ASSERT_TRUE(make(replicated(kReplicaAes, "box")).has_value());
  EXPECT_EQ(sim_->count("C_UnwrapKey"), 6U) << "a transport key and the key, in each of three slots";
  EXPECT_EQ(sim_->count("C_CreateObject"), 3U) << "the public halves of the transport keys";
}

// The calls that change something, and more of each than a run over two slots makes.
struct Change {
  const char* function;
  int calls;
};
constexpr std::array kChanges{Change{"C_GenerateKeyPair", 4}, Change{"C_GenerateKey", 2},
                              Change{"C_WrapKey", 6},         Change{"C_UnwrapKey", 5},
                              Change{"C_CreateObject", 5},    Change{"C_SetAttributeValue", 5}};

class ReplicasStepByStep : public Contract {
protected:
  std::vector<ObjectHandle> objects(std::size_t slot, const Template& wanted = {}) {
    return *session(slot).find(wanted);
  }
};

// Each of them fails in turn, after it was carried out.
TEST_F(ReplicasStepByStep, AFailureLeavesNothing) {
  open("algorithms = ['ecdsa-p256-sha256']", kWithoutCopies);
  const std::size_t before = objects(0).size() + objects(1).size();
  for (const Change& change : kChanges) {
    bool ended = false;
    for (int call = 1; call <= change.calls; ++call) {
      // As a code that says nothing of the session: what was made in it does not go with it.
      sim_->apply(std::string("[[fault]]\nfunction = '") + change.function + "'\ncall = " + std::to_string(call) +
                  "\naction = 'lose-reply'\nrv = 'CKR_FUNCTION_CANCELED'\n");
      const Result<KeyInfo> key = engine().generate(replicated(kReplicaEc, "orders"));
      ASSERT_THAT(sim_->request(R"({"command":"clear-faults"})"), HasSubstr("true"));
      ended = key.has_value();
      if (key) {
        ASSERT_TRUE(engine().delete_key("id:" + key->id).has_value());
      } else {
        EXPECT_THAT(key.error().text(), testing::Not(HasSubstr("REMAINS"))) << change.function << " " << call;
      }
      EXPECT_TRUE(eventually([&] { return objects(0).size() + objects(1).size() == before; }))
          << change.function << " " << call;
    }
    EXPECT_TRUE(ended) << change.function << " is called more often";
  }
}

TEST_F(Replicas, OneSessionPerSlotIsEnoughAlsoForUndoing) {
  open("", "sessions_max = 1\nsession_copies = 'off'");
  ASSERT_TRUE(make(replicated(kReplicaEc, "orders")).has_value());
  const std::size_t before = all_objects();
  sim_->answer_for_slot(slot_id(2), "C_UnwrapKey", CKR_FUNCTION_CANCELED, 1, 1);
  const Result<KeyInfo> key = engine().generate(replicated(kReplicaEc, "more"));
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().slot, "slot-2");
  EXPECT_TRUE(eventually([&] { return all_objects() == before; }));
}

TEST_F(Replicas, OneSessionPerSlotIsEnoughWhereTheSourcesOwnSlotFails) {
  open("", "sessions_max = 1\nsession_copies = 'off'");
  const std::size_t before = all_objects();
  sim_->answer_for_slot(slot_id(0), "C_UnwrapKey", CKR_FUNCTION_CANCELED, 1, 1);
  const Result<KeyInfo> key = engine().generate(replicated(kReplicaEc, "orders"));
  ASSERT_FALSE(key.has_value());
  EXPECT_THAT(key.error().text(), testing::Not(HasSubstr("REMAINS")));
  EXPECT_TRUE(eventually([&] { return all_objects() == before; }));
}

TEST_F(Replicas, AReplicaThatSomebodyElseHasPlacedMeanwhileIsNotTouched) {
  open("", kWithoutCopies);
  const Bytes id = random_data(16);
  const auto material = generate_ec(Curve::kP256);
  {
    Session own = session(0);
    const KeyRequest request{.spec = &spec_of(kReplicaEc), .bits = 256, .id = id, .label = "ours", .extractable = true};
    ASSERT_TRUE(import_into_token(own, request, *material).has_value());
  }
  remember(id);
  ASSERT_TRUE(engine().find_key("ours").has_value()); // remembered: in slot-0 alone
  import_key(1, spec_of(kReplicaEc), *material, id, "ours");
  const Result<KeyInfo> key = engine().replicate(
      {.key = "ours", .placement = in_slots({"slot-1", "slot-2"}), .trusted_key = {}, .options = {}});
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_EQ(key->slots.size(), 3U);
  EXPECT_EQ(session(1).find(key_template_by_id(ObjectClass::kPrivateKey, id))->size(), 1U);
}

TEST_F(Replicas, AQuorumPassesOverASlotThatTakesNoKeys) {
  open("", kWithoutCopies);
  sim_->answer_for_slot(slot_id(1), "C_UnwrapKey", CKR_FUNCTION_CANCELED, 0);
  GenerateRequest request = replicated(kReplicaEc, "orders");
  request.placement = PlacementConfig{.kind = Placement::kQuorum, .quorum = 2, .slots = {}};
  const Result<KeyInfo> key = make(request);
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_THAT(key->slots, ElementsAre("slot-0", "slot-2"));
}

TEST_F(Replicas, ACopyThatIsAnotherKeyIsNotReleased) {
  open("", kWithoutCopies);
  const std::size_t before = all_objects();
  sim_->corrupt("C_Sign", 1, slot_id(1));
  const Result<KeyInfo> key = engine().generate(replicated(kReplicaEc, "orders"));
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().kind, ErrorKind::kKeyUnusable);
  EXPECT_THAT(key.error().text(), AllOf(HasSubstr("slot-1"), HasSubstr("another key")));
  EXPECT_TRUE(eventually([&] { return all_objects() == before; }));
}

TEST_F(Replicas, AKeyOfThePolicyNoneStaysWhereItWasMade) {
  open();
  make_key_in(0, kReplicaEc, "orders");
  const Error error =
      error_of(engine().replicate({.key = "orders", .placement = PlacementConfig{}, .trusted_key = {}, .options = {}}));
  EXPECT_EQ(error.kind, ErrorKind::kKeyUnusable);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("policy none or vendor"), HasSubstr("trusted-wrap")));
}

TEST_F(Replicas, AKeyOfThePolicyVendorIsMadeInOneSlot) {
  open();
  GenerateRequest request = replicated(kReplicaEc, "orders");
  request.policy = KeyPolicy::kVendor;
  const Result<KeyInfo> key = make(request);
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_THAT(key->slots, ElementsAre("slot-0"));
  EXPECT_EQ(audited("orders").replicas.front().attributes.never_extractable, true);
}

TEST_F(Replicas, AKeyThatIsThereAlreadyIsNotReplicatedAgain) {
  open();
  ASSERT_TRUE(make(replicated(kReplicaEc, "orders")).has_value());
  const Error error =
      error_of(engine().replicate({.key = "orders", .placement = PlacementConfig{}, .trusted_key = {}, .options = {}}));
  EXPECT_EQ(error.kind, ErrorKind::kConflict);
}

TEST_F(Replicas, AForeignKeyThatMayBeWrappedIsReplicatedAndItsCopiesAreLocked) {
  open();
  const Bytes id = random_data(16);
  {
    Session own = session(0);
    const KeyRequest request{
        .spec = &spec_of(kReplicaEc), .bits = 256, .id = id, .label = "foreign", .extractable = true};
    ASSERT_TRUE(generate_in_token(own, request).has_value());
    remember(id);
  }
  const Result<KeyInfo> key =
      engine().replicate({.key = "foreign", .placement = PlacementConfig{}, .trusted_key = {}, .options = {}});
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_EQ(key->slots.size(), 3U);
  const KeyAudit audit = audited("foreign");
  EXPECT_THAT(audit.findings, ElementsAre(AllOf(HasSubstr("slot-0"), HasSubstr("EXTRACTABLE"))));
  EXPECT_EQ(audit.replicas.at(1).attributes.extractable, false);
}

// What a security officer does with a tool of the vendor: a wrapping key that he trusts, the same in every token.
void make_trusted_keys(const TokenFolder& tokens, const Bytes& value, const Bytes& id) {
  const CK_FUNCTION_LIST& functions = sim::functions_of(HSMUX_TEST_SIMHSM);
  for (std::size_t slot = 0; slot < tokens.size(); ++slot) {
    CK_SESSION_HANDLE session = 0;
    ASSERT_EQ(
        functions.C_OpenSession(tokens.slot_id(slot), CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session),
        CKR_OK);
    std::string pin = tokens.so_pin(slot);
    ASSERT_EQ(functions.C_Login(session, CKU_SO, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size()), CKR_OK);
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_OBJECT_CLASS secret = CKO_SECRET_KEY;
    CK_KEY_TYPE aes = CKK_AES;
    Bytes own_value = value, own_id = id;
    std::string label = "backbone";
    const auto flag = [](CK_ATTRIBUTE_TYPE type, CK_BBOOL& value_of) { return CK_ATTRIBUTE{type, &value_of, 1}; };
    std::vector<CK_ATTRIBUTE> list{{CKA_CLASS, &secret, sizeof secret},
                                   {CKA_KEY_TYPE, &aes, sizeof aes},
                                   {CKA_VALUE, own_value.data(), own_value.size()},
                                   {CKA_ID, own_id.data(), own_id.size()},
                                   {CKA_LABEL, label.data(), label.size()},
                                   flag(CKA_TOKEN, yes),
                                   flag(CKA_PRIVATE, no),
                                   flag(CKA_SENSITIVE, yes),
                                   flag(CKA_EXTRACTABLE, no),
                                   flag(CKA_TRUSTED, yes),
                                   flag(CKA_WRAP, yes),
                                   flag(CKA_UNWRAP, yes),
                                   flag(CKA_ENCRYPT, no),
                                   flag(CKA_DECRYPT, no)};
    CK_OBJECT_HANDLE key = 0;
    ASSERT_EQ(functions.C_CreateObject(session, list.data(), list.size(), &key), CKR_OK);
    ASSERT_EQ(functions.C_CloseSession(session), CKR_OK); // the last one: logs the officer out
  }
}

TEST_F(Replicas, AKeyOfThePolicyTrustedWrapIsReplicatedUnderATrustedKeyAlone) {
  if (TokenFolder::external()) GTEST_SKIP() << "needs the security officer's PIN";
  make_trusted_keys(*tokens_, random_data(32), random_data(16));
  sim_->reset();
  open("[keys]\npolicy = 'trusted-wrap'", kWithoutCopies);
  GenerateRequest request = replicated(kReplicaEc, "orders");
  request.placement = in_slots({"slot-0", "slot-1"});
  ASSERT_TRUE(make(request).has_value());
  const ReplicateRequest everywhere{.key = "orders", .placement = PlacementConfig{}, .trusted_key = {}, .options = {}};
  EXPECT_THAT(error_of(engine().replicate(everywhere)).text(), HasSubstr("--trusted-key"));
  ReplicateRequest named = everywhere;
  named.trusted_key = "no such key";
  EXPECT_EQ(error_of(engine().replicate(named)).kind, ErrorKind::kKeyNotFound);
  named.trusted_key = "backbone";
  const Result<KeyInfo> key = engine().replicate(named);
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_EQ(key->slots.size(), 3U);
  const KeyAudit audit = audited("orders");
  EXPECT_THAT(audit.findings, IsEmpty());
  for (const ReplicaAudit& replica : audit.replicas) {
    EXPECT_TRUE(replica.same);
    EXPECT_EQ(replica.attributes.wrap_with_trusted, true);
  }
}

TEST_F(Replicas, WhatCannotBeWrappedIsMadeInSoftwareWhereTheConfigurationAllowsIt) {
  open("algorithms = ['ed25519']\n[keys]\ndevelopment_software_keys = true");
  sim_->hide_mechanism(CKM_RSA_PKCS_OAEP);
  const Result<KeyInfo> key = make(replicated(Algorithm::kEd25519, "orders"));
  ASSERT_TRUE(key.has_value()) << why(key);
  EXPECT_TRUE(key->software_key);
  EXPECT_EQ(key->slots.size(), 3U);
}

TEST_F(Replicas, ATokenWithoutKeyWrapSaysSo) {
  open();
  sim_->hide_mechanism(CKM_RSA_PKCS_OAEP);
  const Error error = error_of(engine().generate(replicated(kReplicaEc, "orders")));
  EXPECT_EQ(error.kind, ErrorKind::kUnsupported);
  EXPECT_THAT(error.text(), AllOf(HasSubstr("CKM_RSA_PKCS_OAEP"), HasSubstr("vendor"), HasSubstr("development")));
}

// --- import ---

Bytes pkcs8_of_p256() {
  return *from_hex(
      "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"
      "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721a1440342000460fed4ba255a9d31c961eb74c6356d68"
      "c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
}

TEST_F(Replicas, AnImportedKeyIsTheSameEverywhereAndLocked) {
  open();
  const Bytes pkcs8 = pkcs8_of_p256(); // RFC 6979, A.2.5
  const Result<KeyInfo> key = engine().import_key(
      {.label = "moved", .algorithm = kReplicaEc, .pkcs8 = pkcs8, .placement = PlacementConfig{}, .options = {}});
  ASSERT_TRUE(key.has_value()) << why(key);
  remember(*from_hex(key->id));
  EXPECT_EQ(key->slots.size(), 3U);
  EXPECT_TRUE(key->sensitive && !key->extractable);
  EXPECT_THAT(audited("moved").findings, IsEmpty());
}

TEST_F(Replicas, AnImportOfTheWrongKindOrOfNoKeyChangesNothing) {
  open();
  const std::string before = picture();
  Bytes pkcs8 = pkcs8_of_p256();
  const ImportRequest request{.label = "moved",
                              .algorithm = Algorithm::kRsaOaepSha256,
                              .pkcs8 = pkcs8,
                              .placement = PlacementConfig{},
                              .options = {}};
  EXPECT_THAT(error_of(engine().import_key(request)).text(), HasSubstr("another kind"));
  ImportRequest broken = request;
  broken.algorithm = kReplicaEc;
  pkcs8.at(40) ^= 1; // the private value is another one's
  broken.pkcs8 = pkcs8;
  EXPECT_EQ(error_of(engine().import_key(broken)).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(picture(), before);
}

// --- audit ---

TEST_F(Replicas, AnAuditFindsReplicasThatDiffer) {
  open();
  const Bytes id = random_data(16);
  for (std::size_t slot = 0; slot < 2; ++slot) import_key(slot, spec_of(kReplicaAes), *generate_aes(32), id, "twins");
  const KeyAudit audit = audited("twins");
  ASSERT_EQ(audit.replicas.size(), 2U);
  EXPECT_TRUE(audit.replicas[0].same);
  EXPECT_FALSE(audit.replicas[1].same);
  EXPECT_THAT(audit.findings, ElementsAre(HasSubstr("another key")));
}

TEST_F(Replicas, AnAuditNamesTheSlotsThatItCouldNotAsk) {
  open();
  sim_->answer_for_slot(slot_id(1), "*", CKR_TOKEN_NOT_PRESENT, 0);
  Bytes byte(1);
  EXPECT_FALSE(engine().random(byte, {.deadline = Deadline::after(std::chrono::milliseconds(200)), .slot = "slot-1"}));
  ASSERT_TRUE(eventually([&] { return state(1) != SlotState::kReady; }));
  const Result<AuditReport> report = engine().audit_keys();
  ASSERT_TRUE(report.has_value()) << why(report);
  EXPECT_THAT(report->slots_not_asked, ElementsAre("slot-1"));
}

} // namespace
} // namespace hsmux
