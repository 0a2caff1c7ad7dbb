// A process that dies while it places a key in two slots, at each of its steps: nothing extractable remains, nothing
// half made is taken for a key, and the next run clears up.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

struct Step {
  const char* function;
  int calls;      // of a run over two slots
  int before = 0; // calls that the engine makes when it opens
};
constexpr Step kSteps[]{{"C_GenerateKeyPair", 3, 2}, {"C_GenerateKey", 1},  {"C_WrapKey", 4},
                        {"C_UnwrapKey", 4},          {"C_CreateObject", 4}, {"C_Sign", 2, 2},
                        {"C_SetAttributeValue", 4}};

class ReplicationCrash : public Tokens {
protected:
  void SetUp() override {
    Tokens::SetUp();
    // The same tokens behind the simulator, which does nothing by itself.
    std::string text = read_file(config());
    const std::size_t begin = text.find("path = ");
    ASSERT_NE(begin, std::string::npos);
    const std::size_t end = text.find('\n', begin);
    module_ = text.substr(begin + 8, end - begin - 9);
    text.replace(begin, end - begin, std::string("path = '") + HSMUX_TEST_SIMHSM + "'");
    simulated_ = folder.write("simulated.toml", text);
    // Relative paths in it start from its folder.
    simulated_ = folder.file("tokens/simulated.toml");
    std::rename(folder.file("simulated.toml").c_str(), simulated_.c_str());
  }

  Ended generate_and_die(const std::string& label, const Step& step, int call) {
    const std::string script =
        folder.write("fault.toml", std::string("[[fault]]\nfunction = '") + step.function +
                                       "'\ncall = " + std::to_string(call) + "\naction = 'crash'\n");
    Surroundings around;
    around.environment = {
        {"HSMUX_SIM_CONFIG", script}, {"ASAN_OPTIONS", "handle_segv=0"}, {"HSMUX_SIM_MODULE", module_}};
    return hsmux::run(
        folder,
        {HSMUX_PROGRAM, "--config", simulated_, "keys", "generate", label, "--algorithm", kSign, "--slots", "all"},
        around);
  }

  nlohmann::json audit() {
    const Ended ended = run({"keys", "audit", "--json"});
    EXPECT_THAT(ended.code, testing::AnyOf(0, 1)) << ended.err;
    return nlohmann::json::parse(ended.out);
  }

  std::string objects(int slot) {
    Surroundings around;
    around.environment = {{"SOFTHSM2_CONF", folder.file("tokens/softhsm2.conf")}, {"TEST_PIN", pin(slot)}};
    const Ended ended =
        hsmux::run(folder,
                   {"pkcs11-tool", "--module", module_, "--token-label", "hsmux-" + std::to_string(slot), "--login",
                    "--pin", "env:TEST_PIN", "--list-objects"},
                   around);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.out;
  }

  std::string module_, simulated_;
};

TEST_F(ReplicationCrash, AtAnyStepLeavesNothingExtractableAndIsClearedByTheNextRun) {
  std::vector<std::string> left; // ids that crashes left behind so far
  for (const Step& step : kSteps) {
    for (int call = step.before + 1; call <= step.before + step.calls; ++call) {
      const std::string where = std::string(step.function) + " " + std::to_string(call);
      const Ended died = generate_and_die(where, step, call);
      ASSERT_THAT(died.code, testing::AnyOf(128 + 11, 1)) << where << died.out << died.err;

      const nlohmann::json report = audit();
      for (const nlohmann::json& key : report.at("keys")) {
        EXPECT_THAT(key.at("findings"), IsEmpty()) << where << key;
      }
      std::vector<std::string> now;
      for (const nlohmann::json& each : report.at("unfinished")) now.push_back(each.at("id"));
      for (const std::string& id : left) EXPECT_THAT(now, Not(testing::Contains(id))) << where;
      left = now;
    }
  }
  for (const int slot : {0, 1}) {
    EXPECT_THAT(objects(slot), Not(HasSubstr("sensitive, extractable")));
    EXPECT_THAT(objects(slot), Not(HasSubstr("transport")));
  }

  generate("afterwards", kSign);
  const nlohmann::json report = audit();
  EXPECT_THAT(report.at("unfinished"), IsEmpty());
  for (const nlohmann::json& key : report.at("keys")) {
    EXPECT_THAT(key.at("findings"), IsEmpty()) << key;
    EXPECT_EQ(key.at("slots").size(), 2U) << "a key that got its name in one slot got it in both: " << key;
  }
}

} // namespace
} // namespace hsmux
