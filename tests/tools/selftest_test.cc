// hsmux selftest and hsmux demo over real tokens.
#include <gmock/gmock.h>
#include <signal.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST_F(Tokens, PassTheSelfTestWithEveryAlgorithmOnEverySlot) {
  const Ended ended = run({"selftest", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.out << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_EQ(result.at("failed"), 0);
  EXPECT_EQ(result.at("skipped"), 0);
  std::map<std::pair<std::string, std::string>, int> checks;
  for (const json& row : result.at("checks")) ++checks[{row.at("algorithm"), row.at("slot")}];
  EXPECT_EQ((checks[{"host", "-"}]), 1);
  for (const char* algorithm : {kSign, kOaep, kGcm}) {
    for (const char* slot : {"hsmux-0", "hsmux-1"}) {
      EXPECT_GE((checks[{algorithm, slot}]), 4) << algorithm << slot;
    }
  }
}

TEST_F(Tokens, HoldTheSameKeysAfterTheSelfTestAsBefore) {
  generate("orders", kSign);
  const std::string before = run({"keys", "list", "--json"}).out;
  ASSERT_EQ(run({"selftest"}).code, 0);
  EXPECT_EQ(run({"keys", "list", "--json"}).out, before);
}

TEST_F(Tokens, AreTestedOneByOneWhenASlotIsNamed) {
  const Ended ended = run({"selftest", "--slot", "hsmux-1", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json result = json::parse(ended.out);
  for (const json& row : result.at("checks")) EXPECT_NE(row.at("slot"), "hsmux-0");
}

TEST_F(Tokens, FailTheSelfTestBehindAModuleThatMakesNoKeys) {
  std::string text = read_file(config());
  const std::string module = json::parse(run({"slots", "--json"}).out).at("slots").at(0).at("module").at("path");
  text.replace(text.find(module), module.size(), HSMUX_TEST_SIMHSM);
  const std::string through_shim = folder.write("tokens/simhsm.toml", text);
  Surroundings around;
  around.environment = {{"HSMUX_SIM_MODULE", module}, {"HSMUX_SIM_NULL", "C_GenerateKeyPair"}};
  const Ended ended = hsmux::run(folder, {HSMUX_PROGRAM, "--config", through_shim, "selftest", "--json"}, around);
  EXPECT_EQ(ended.code, 6) << ended.err;
  const json result = json::parse(ended.out);
  EXPECT_GE(result.at("failed"), 4); // two algorithms on two slots
  for (const json& row : result.at("checks")) {
    if (row.at("outcome") != "passed") {
      EXPECT_THAT(row.at("detail").get<std::string>(), HasSubstr("C_GenerateKeyPair"));
    }
  }
}

TEST_F(Tokens, AreDrivenByTheDemonstrationAllAtOnceAndChecked) {
  const Ended ended = run({"demo", "--seconds", "1", "--callers", "1", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.out << ended.err;
  const json result = json::parse(ended.out);
  ASSERT_EQ(result.at("algorithms").size(), 3);
  for (const json& row : result.at("algorithms")) {
    EXPECT_GT(row.at("operations"), 0) << row;
    EXPECT_GT(row.at("checked"), 0) << row;
    EXPECT_EQ(row.at("errors"), 0) << row;
    EXPECT_GE(row.at("p99_us"), row.at("p50_us")) << row;
    for (const json& operations : row.at("slots")) EXPECT_GT(operations, 0) << row;
  }
  EXPECT_EQ(json::parse(run({"keys", "list", "--json"}).out).at("keys").size(), 0); // its own keys are gone
}

TEST_F(Tokens, EndTheDemonstrationCleanlyOnCtrlC) {
  const pid_t child = start(folder, {HSMUX_PROGRAM, "--config", config(), "demo", "--seconds", "600"});
  // It shows progress once it drives the tokens.
  while (read_file(folder.file("stderr")).find("s left") == std::string::npos) {
    ASSERT_EQ(kill(child, 0), 0);
    sched_yield();
  }
  kill(child, SIGINT);
  const Ended ended = wait_for(folder, child);
  EXPECT_EQ(ended.code, 130);
  EXPECT_THAT(ended.out, HasSubstr("OPERATIONS"));
  EXPECT_EQ(json::parse(run({"keys", "list", "--json"}).out).at("keys").size(), 0);
}

} // namespace
} // namespace hsmux
