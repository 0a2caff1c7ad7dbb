// The audit log: what stands in it, and what never does.
#include "engine/audit.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class AuditLog : public testing::Test {
protected:
  AuditLog() {
    std::string name = (fs::temp_directory_path() / "hsmux-audit-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~AuditLog() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string path() const { return folder_ + "/audit.jsonl"; }
  std::unique_ptr<Audit> open() {
    Result<std::unique_ptr<Audit>> audit =
        Audit::open({.path = path()}, [this](const std::string& text) { complaints_.push_back(text); });
    EXPECT_TRUE(audit.has_value()) << audit.error().text();
    return std::move(*audit);
  }
  [[nodiscard]] static std::vector<nlohmann::json> lines_of(const std::string& path) {
    std::vector<nlohmann::json> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  std::string folder_;
  std::vector<std::string> complaints_;
};

TEST_F(AuditLog, ALineSaysWhenWhatWhereAndHowItEnded) {
  auto audit = open();
  audit->write({.event = "key-generate", .key = "orders", .key_id = "0a", .algorithm = "ed25519", .slots = {"a", "b"}});
  Error error = make_error(ErrorKind::kDevice, "the HSM \"said\" no\nthing");
  error.rv = CKR_DEVICE_ERROR;
  audit->write({.event = "key-delete", .key = "orders", .slot = "a", .error = error});
  audit.reset();
  const auto lines = lines_of(path());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["event"], "key-generate");
  EXPECT_EQ(lines[0]["result"], "ok");
  EXPECT_EQ(lines[0]["slots"], (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(lines[0]["pid"], getpid());
  EXPECT_THAT(lines[0]["time"].get<std::string>(), testing::MatchesRegex("[0-9]{4}-[0-9-]+T[0-9:.]+Z"));
  EXPECT_EQ(lines[1]["result"], "device");
  EXPECT_EQ(lines[1]["ck_rv"], "CKR_DEVICE_ERROR");
  EXPECT_EQ(lines[1]["message"], "the HSM \"said\" no\nthing");
}

TEST_F(AuditLog, TheFileIsForItsUserAloneAndIsAppendedTo) {
  open()->write({.event = "one"});
  struct stat status{};
  ASSERT_EQ(stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  open()->write({.event = "two"});
  EXPECT_EQ(lines_of(path()).size(), 2U);
}

TEST_F(AuditLog, AFileThatOthersMayWriteIsRefused) {
  std::ofstream(path()) << "";
  fs::permissions(path(), fs::perms::all);
  const auto audit = Audit::open({.path = path()}, {});
  ASSERT_FALSE(audit.has_value());
  EXPECT_EQ(audit.error().kind, ErrorKind::kIo);
  EXPECT_THAT(audit.error().message, HasSubstr("chmod 600"));
}

TEST_F(AuditLog, WhatIsNoRegularFileIsRefused) {
  fs::create_symlink("/dev/null", path());
  EXPECT_FALSE(Audit::open({.path = path()}, {}).has_value());
  EXPECT_FALSE(Audit::open({.path = folder_}, {}).has_value());
  EXPECT_FALSE(Audit::open({.path = folder_ + "/nowhere/audit"}, {}).has_value());
}

TEST_F(AuditLog, WithoutAPathNothingIsWritten) {
  auto audit = Audit::open({}, {});
  ASSERT_TRUE(audit.has_value());
  EXPECT_FALSE((*audit)->on());
  (*audit)->write({.event = "one"});
  (*audit)->refused("sign", "orders", "ed25519", make_error(ErrorKind::kKeyNotFound, ""));
}

TEST_F(AuditLog, AFileThatIsMovedAwayIsMadeAnew) {
  auto audit = open();
  audit->write({.event = "one"});
  while (lines_of(path()).empty()) std::this_thread::yield();
  fs::rename(path(), path() + ".1");
  audit->write({.event = "two"});
  audit.reset();
  EXPECT_EQ(lines_of(path() + ".1").at(0)["event"], "one");
  EXPECT_EQ(lines_of(path()).at(0)["event"], "two");
}

TEST_F(AuditLog, AFloodOfRefusedRequestsStandsInItAsANumber) {
  auto audit = open();
  const Error error = make_error(ErrorKind::kKeyNotFound, "no such key");
  for (int i = 0; i < 500; ++i) audit->refused("sign", "orders", "ed25519", error);
  audit->write({.event = "last"});
  audit.reset();
  std::uint64_t said = 0, counted = 0;
  for (const auto& line : lines_of(path())) {
    if (line["event"] == "request-refused") ++said;
    if (line["event"] == "requests-refused") counted += line["count"].get<std::uint64_t>();
  }
  EXPECT_EQ(said + counted, 500U);
  EXPECT_GE(said, Audit::kRefusedPerSecond);
  EXPECT_LE(said, 5 * Audit::kRefusedPerSecond); // more only where this took seconds
}

TEST_F(AuditLog, RequestsThatFailForTheMomentAreNoRefusals) {
  auto audit = open();
  for (const ErrorKind kind : {ErrorKind::kTimeout, ErrorKind::kOverloaded, ErrorKind::kUnavailable, ErrorKind::kDevice,
                               ErrorKind::kDecryptFailed}) {
    audit->refused("sign", "orders", "ed25519", make_error(kind, ""));
  }
  audit.reset();
  EXPECT_TRUE(lines_of(path()).empty());
}

TEST_F(AuditLog, NamesThatAreNotTextAreMadeText) {
  auto audit = open();
  audit->refused("sign", "\xff\xfe\"\n", "ed25519", make_error(ErrorKind::kKeyNotFound, std::string(5000, 'x')));
  audit.reset();
  const auto lines = lines_of(path()); // parses
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_LE(lines[0]["message"].get<std::string>().size(), 1024U);
}

TEST_F(AuditLog, SlotsTellLoginsLossesAndStatesAndNothingElse) {
  auto audit = open();
  audit->event({.kind = EventKind::kLogin, .slot = "a", .call = "C_Login", .rv = CKR_PIN_INCORRECT});
  audit->event({.kind = EventKind::kSlotHealth, .slot = "a", .detail = "ejected", .reason = "its canary fails"});
  for (const EventKind kind :
       {EventKind::kOperation, EventKind::kRetry, EventKind::kSessionOpened, EventKind::kKeyFind, EventKind::kCanary}) {
    audit->event({.kind = kind, .slot = "a"});
  }
  audit.reset();
  const auto lines = lines_of(path());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["event"], "login");
  EXPECT_EQ(lines[0]["result"], "credentials");
  EXPECT_EQ(lines[0]["ck_rv"], "CKR_PIN_INCORRECT");
  EXPECT_EQ(lines[1]["detail"], "ejected: its canary fails");
}

} // namespace
} // namespace hsmux
