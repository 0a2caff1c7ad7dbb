// The audit log and the admin socket of an engine: what they say of real keys, logins and slots.
#include <fstream>
#include <sstream>

#include "engine/admin_commands.h"
#include "tests/contract/contract.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
using testing::Not;

class Audited : public Contract {
protected:
  [[nodiscard]] std::string log() const {
    std::ifstream file(tokens_->folder() + "/audit.jsonl");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  bool logged(const std::string& text) {
    return eventually([&] { return log().find(text) != std::string::npos; });
  }
};

TEST_F(Audited, KeysLoginsStatesAndRefusalsStandInTheLogAndNoSecretDoes) {
  open("[audit]\npath = 'audit.jsonl'");
  const std::string id = make_key(kEcdsa, "orders");
  EXPECT_TRUE(logged(R"("event":"key-generate","key":"orders","key_id":")" + id));
  EXPECT_TRUE(logged(R"("event":"login")"));
  EXPECT_TRUE(logged(R"("event":"slot-ready","slot":"slot-1")"));
  (void)encrypt("orders", kGcm, bytes("the plaintext that stands nowhere"));
  EXPECT_TRUE(logged(R"("event":"request-refused","operation":"encrypt","key":"orders")"));
  (void)sign("nobody's", bytes("x"));
  EXPECT_TRUE(logged(R"("key":"nobody's")"));
  ASSERT_TRUE(engine().drain("slot-0").has_value());
  EXPECT_TRUE(logged(R"("event":"slot-drain","slot":"slot-0")"));
  EXPECT_TRUE(logged(R"("event":"slot-health","slot":"slot-0","detail":"draining)"));
  ASSERT_TRUE(engine().drain("slot-0", false).has_value());
  ASSERT_TRUE(engine().delete_key("orders").has_value());
  EXPECT_TRUE(logged(R"("event":"key-delete")"));
  EXPECT_TRUE(engine().close(Deadline::after(std::chrono::seconds(10))));
  EXPECT_TRUE(logged(R"("event":"engine-closed")"));
  EXPECT_THAT(log(), Not(HasSubstr("the plaintext")));
  for (std::size_t slot = 0; slot < 2; ++slot) EXPECT_THAT(log(), Not(HasSubstr(tokens_->pin(slot) + "\"")));
}

TEST_F(Audited, EveryWayToKeysStandsInTheLog) {
  open("[audit]\npath = 'audit.jsonl'", "session_copies = 'off'");
  make_key(kEcdsa, "orders");
  EXPECT_FALSE(engine().replicate({.key = "orders", .placement = {}, .trusted_key = {}, .options = {}}).has_value());
  EXPECT_TRUE(logged(R"("event":"key-replicate","key":"orders")"));
  EXPECT_FALSE(engine()
                   .import_key({.label = "moved", .algorithm = kEcdsa, .pkcs8 = {}, .placement = {}, .options = {}})
                   .has_value());
  EXPECT_TRUE(logged(R"("event":"key-import","key":"moved")"));
  ASSERT_TRUE(engine().audit_keys({.name = "orders", .options = {}}).has_value());
  EXPECT_TRUE(logged(R"("event":"key-audit","key":"orders")"));
  EXPECT_TRUE(logged("1 keys, 0 findings"));
  // A run that could not undo leaves an unfinished key, which the next run finds.
  sim_->answer_for_slot(slot_id(1), "C_UnwrapKey", CKR_FUNCTION_CANCELED, 1, 1);
  sim_->answer_for_slot(slot_id(0), "C_DestroyObject", CKR_ACTION_PROHIBITED, 0, 4);
  const GenerateRequest more{.label = "more",
                             .algorithm = kEcdsa,
                             .bits = 0,
                             .placement = PlacementConfig{},
                             .software_key = false,
                             .options = {}};
  ASSERT_FALSE(engine().generate(more).has_value());
  sim_->clear_answers();
  make_key(kEcdsa, "later");
  EXPECT_TRUE(logged(R"("event":"key-leftover")"));
}

TEST_F(Audited, AnAuditLogThatCannotBeWrittenRefusesTheEngine) {
  const auto opened = try_open(config("[audit]\npath = '/nowhere/audit.jsonl'"));
  EXPECT_EQ(error_of(opened).kind, ErrorKind::kIo);
}

TEST_F(Audited, OperatorsAreAnsweredFromMemory) {
  open();
  make_key(kEcdsa, "orders");
  EXPECT_THAT(answer_admin(engine(), R"({"command":"status"})"), HasSubstr(R"("health":"ok")"));
  EXPECT_EQ(answer_admin(engine(), R"({"command":"drain","slot":"slot-1"})"), R"({"ok":true})");
  EXPECT_THAT(answer_admin(engine(), R"({"command":"stats"})"), HasSubstr(R"("health":"draining")"));
  EXPECT_EQ(answer_admin(engine(), R"({"command":"undrain","slot":"slot-1"})"), R"({"ok":true})");
  EXPECT_EQ(answer_admin(engine(), R"({"command":"unlatch","slot":"slot-1"})"), R"({"ok":true})");
  EXPECT_EQ(answer_admin(engine(), R"({"command":"reload"})"), R"({"ok":true})");
  EXPECT_TRUE(sign("orders", bytes("x")).has_value());
  for (const std::string_view bad : {"", "{", "[]", R"({"command":7})", R"({"command":"format"})", "\xff",
                                     R"({"command":"drain","slot":"nowhere"})", R"({"command":"drain"})"}) {
    EXPECT_THAT(answer_admin(engine(), bad), HasSubstr(R"({"ok":false)")) << bad;
  }
}

} // namespace
} // namespace hsmux
