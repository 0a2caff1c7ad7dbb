// How the hsmux program says no: exit codes, errors as text and JSON, files left alone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json error_of(const Ended& ended) {
  const json line = json::parse(ended.err, nullptr, false);
  return line.is_object() && line.contains("error") ? line["error"] : json::object();
}

TEST(Program, AsksForAConfiguration) {
  const TemporaryFolder folder;
  const Ended ended = run(folder, {HSMUX_PROGRAM, "slots"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.err, HasSubstr("--config FILE"));
  EXPECT_THAT(ended.err, HasSubstr("HSMUX_CONFIG"));
}

TEST(Program, NamesFileAndLineOfABadConfiguration) {
  const TemporaryFolder folder;
  const std::string config = folder.write("bad.toml", "[module.x]\npath = 7\n");
  const Ended ended = run(folder, {HSMUX_PROGRAM, "--config", config, "slots", "--json"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_EQ(error_of(ended).at("kind"), "invalid-config");
  EXPECT_THAT(error_of(ended).at("message"), HasSubstr("bad.toml:2"));
}

TEST(Program, SaysThatTheModuleIsMissing) {
  const TemporaryFolder folder;
  const std::string config = folder.write("hsmux.toml", "[module.x]\npath = \"/nowhere/lib.so\"\n"
                                                        "[[slot]]\nname = \"a\"\ntoken_label = \"a\"\n");
  const Ended ended = run(folder, {HSMUX_PROGRAM, "--config", config, "slots"});
  EXPECT_EQ(ended.code, 6);
  EXPECT_THAT(ended.err, HasSubstr("/nowhere/lib.so"));
}

TEST(Program, RefusesWrongUsageAsJsonToo) {
  const TemporaryFolder folder;
  const Ended ended = run(folder, {HSMUX_PROGRAM, "sign", "--json"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(error_of(ended).at("kind"), "invalid-argument");
  EXPECT_EQ(ended.out, "");
}

TEST(Program, TellsItsVersion) {
  const TemporaryFolder folder;
  const Ended ended = run(folder, {HSMUX_PROGRAM, "--version"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.out, testing::MatchesRegex("hsmux [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Program, ListsEveryExitCode) {
  const TemporaryFolder folder;
  const std::string help = run(folder, {HSMUX_PROGRAM, "--help"}).out;
  for (const char* code :
       {"  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  ", "  6  ", "  7  ", "  8  ", "  9  ", " 10  ", "130  "}) {
    EXPECT_THAT(help, HasSubstr(code));
  }
}

class Help : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(Help, HasExamples) {
  const TemporaryFolder folder;
  std::vector<std::string> argv{HSMUX_PROGRAM};
  argv.insert(argv.end(), GetParam().begin(), GetParam().end());
  argv.emplace_back("--help");
  const Ended ended = run(folder, argv);
  EXPECT_EQ(ended.code, 0) << ended.err;
  std::string usage = "Usage: hsmux";
  for (const std::string& word : GetParam()) usage += " " + word;
  EXPECT_THAT(ended.out, HasSubstr(usage));
  EXPECT_THAT(ended.out, HasSubstr("Examples:\n  "));
}

INSTANTIATE_TEST_SUITE_P(OfEverySubcommand, Help,
                         testing::Values(std::vector<std::string>{}, std::vector<std::string>{"init-softhsm"},
                                         std::vector<std::string>{"slots"}, std::vector<std::string>{"keys"},
                                         std::vector<std::string>{"keys", "list"},
                                         std::vector<std::string>{"keys", "show"},
                                         std::vector<std::string>{"keys", "exists"},
                                         std::vector<std::string>{"keys", "public-key"},
                                         std::vector<std::string>{"keys", "generate"},
                                         std::vector<std::string>{"keys", "delete"}, std::vector<std::string>{"sign"},
                                         std::vector<std::string>{"verify"}, std::vector<std::string>{"encrypt"},
                                         std::vector<std::string>{"decrypt"}, std::vector<std::string>{"random"},
                                         std::vector<std::string>{"selftest"}, std::vector<std::string>{"demo"}));

TEST_F(Tokens, DoNotHoldAnUnknownKey) {
  const Ended ended = run({"sign", "--key", "nobody", "--algorithm", kSign, "--out", folder.file("out"), "--json"});
  EXPECT_EQ(ended.code, 4);
  EXPECT_EQ(error_of(ended).at("kind"), "key-not-found");
  EXPECT_EQ(error_of(ended).at("retryable"), false);
  EXPECT_FALSE(exists(folder.file("out")));
}

TEST_F(Tokens, KnowWhichAlgorithmsThereAre) {
  const Ended ended = run({"sign", "--key", "orders", "--algorithm", "rot13"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr(kSign));
}

TEST_F(Tokens, AreNotUsedForWhatTheirKeyIsNotFor) {
  generate("orders", kSign);
  EXPECT_EQ(run({"decrypt", "--key", "orders", "--algorithm", kOaep}).code, 4);
}

// The first wrong PIN is tried and counted by the token; from then on its warning keeps every later run from trying.
TEST_F(Tokens, GetAWrongPinOnlyOnce) {
  const std::string right = pin(0);
  folder.write("tokens/pins/hsmux-0.pin", "wrong-pin");
  const Ended first = run({"keys", "list", "--json"});
  EXPECT_EQ(first.code, 5);
  EXPECT_EQ(error_of(first).at("rv_name"), "CKR_PIN_INCORRECT");
  EXPECT_EQ(error_of(first).at("slot"), "hsmux-0");
  folder.write("tokens/pins/hsmux-0.pin", right);
  const Ended second = run({"keys", "list", "--json"});
  EXPECT_EQ(second.code, 5);
  EXPECT_FALSE(error_of(second).contains("rv")); // C_Login was not called
  EXPECT_THAT(error_of(second).at("message"), HasSubstr("allow"));
  EXPECT_EQ(run({"keys", "list", "--allow-pin-count-low"}).code, 0);
}

TEST_F(Tokens, RefuseAPinFileThatOthersCanRead) {
  std::filesystem::permissions(folder.file("tokens/pins/hsmux-0.pin"), std::filesystem::perms(0644));
  EXPECT_EQ(run({"keys", "list"}).code, 5);
}

TEST_F(Tokens, NeverShowAPin) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"slots", "--json", "--log-level", "debug"},
                                                    {"keys", "show", "nobody", "--log-level", "debug"}}) {
    const Ended ended = run(arguments);
    EXPECT_THAT(ended.out + ended.err, Not(HasSubstr(pin(0))));
  }
}

TEST_F(Tokens, ShowWhatIsWrongWithOneSlotByTheHelpOfTheOther) {
  folder.write("tokens/pins/hsmux-0.pin", "");
  const Ended ended = run({"slots", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json slots = json::parse(ended.out).at("slots");
  EXPECT_EQ(slots[0].at("state"), "latched");
  EXPECT_EQ(slots[0].at("last_error").at("kind"), "credentials");
  EXPECT_EQ(slots[1].at("state"), "ready");
}

TEST_F(Tokens, AreUsedAloneWithTheOptionSlot) {
  folder.write("tokens/pins/hsmux-0.pin", "");
  EXPECT_EQ(run({"keys", "list"}).code, 5);
  EXPECT_EQ(run({"keys", "list", "--slot", "hsmux-1"}).code, 0);
  EXPECT_EQ(run({"keys", "list", "--slots-at-start", "1"}).code, 0);
  EXPECT_EQ(run({"keys", "list", "--slot", "hsmux-9"}).code, 2);
}

TEST_F(Tokens, OverwriteNothingWithoutForce) {
  const std::string out = folder.write("out", "precious");
  const Ended ended = run({"random", "--out", out});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(read_file(out), "precious");
  EXPECT_EQ(run({"random", "--bytes", "9", "--out", out, "--force"}).code, 0);
  EXPECT_EQ(read_file(out).size(), 9);
}

TEST_F(Tokens, WriteIntoADeviceInsteadOfReplacingIt) {
  const std::string link = folder.file("null");
  std::filesystem::create_symlink("/dev/null", link);
  EXPECT_EQ(run({"random", "--out", link}).code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST_F(Tokens, SayWhichFileCannotBeReadOrWritten) {
  const Ended in = run({"sign", "--key", "orders", "--algorithm", kSign, "--in", folder.file("absent")});
  EXPECT_EQ(in.code, 10);
  EXPECT_THAT(in.err, HasSubstr("absent"));
  const Ended out = run({"random", "--out", folder.file("absent/out")});
  EXPECT_EQ(out.code, 10);
  EXPECT_THAT(out.err, HasSubstr("absent/out"));
}

TEST_F(Tokens, LeaveNoTemporaryFileBehind) {
  std::filesystem::create_directory(folder.file("results"));
  ASSERT_EQ(run({"random", "--out", folder.file("results/out")}).code, 0);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.file("results"))) files += entry.exists() ? 1 : 0;
  EXPECT_EQ(files, 1);
}

TEST_F(Tokens, TakeNoEndlessInput) {
  const Ended ended = run({"sign", "--key", "orders", "--algorithm", kSign, "--in", "/dev/zero"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("67108864"));
}

TEST_F(Tokens, SayThatStandardOutputIsFull) {
  Surroundings around;
  around.terminal = "/dev/full";
  EXPECT_EQ(run({"slots"}, around).code, 10);
}

TEST_F(Tokens, SendNoBinaryDataToATerminal) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  ASSERT_EQ(grantpt(terminal), 0);
  ASSERT_EQ(unlockpt(terminal), 0);
  Surroundings around;
  around.terminal = ptsname(terminal);
  EXPECT_EQ(run({"random", "--bytes", "64"}, around).code, 2);
  EXPECT_EQ(run({"random", "--bytes", "64", "--force"}, around).code, 0);
  EXPECT_EQ(run({"random", "--bytes", "64", "--hex"}, around).code, 0);
  close(terminal);
}

TEST_F(Tokens, LetCtrlCEndTheWaitForInput) {
  const std::string fifo = folder.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const pid_t child = start(folder, {HSMUX_PROGRAM, "--config", config(), "sign", "--key", "orders", "--algorithm",
                                     kSign, "--in", fifo, "--out", folder.file("out")});
  const int writer = open(fifo.c_str(), O_WRONLY); // returns when the program has opened its end
  ASSERT_GE(writer, 0);
  kill(child, SIGINT);
  const Ended ended = wait_for(folder, child);
  close(writer);
  EXPECT_EQ(ended.code, 130);
  EXPECT_THAT(ended.err, HasSubstr("interrupted"));
  EXPECT_FALSE(exists(folder.file("out")));
}

TEST(Program, NamesASubcommandThatItDoesNotHave) {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& argv :
       {std::vector<std::string>{HSMUX_PROGRAM, "sing"}, {HSMUX_PROGRAM, "keys", "sing"}}) {
    const Ended ended = run(folder, argv);
    EXPECT_EQ(ended.code, 2);
    EXPECT_THAT(ended.err, HasSubstr("no subcommand 'sing'"));
  }
}

} // namespace
} // namespace hsmux
