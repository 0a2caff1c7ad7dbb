// hsmux bench: that it compares what it says, not how fast anything is.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kShort{"--pairs", "1", "--milliseconds", "20"};

std::vector<std::string> with(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), kShort.begin(), kShort.end());
  return arguments;
}

void expect_clean(const json& row) {
  EXPECT_EQ(row.at("errors"), 0) << row;
  EXPECT_GT(row.at("per_second"), 0) << row;
  EXPECT_GT(row.at("raw_per_second"), 0) << row;
  EXPECT_GT(row.at("ratio"), 0) << row;
  EXPECT_LE(row.at("p50_us"), row.at("p99_us")) << row;
}

TEST_F(Tokens, AreComparedWithAndWithoutTheEngine) {
  for (const std::string algorithm : {kSign, kOaep, kGcm, "ed25519"}) {
    const std::string key = "bench-" + algorithm;
    generate(key, algorithm);
    const Ended ended =
        run(with({"bench", "--slot", "hsmux-1", "--key", key, "--algorithm", algorithm, "--callers", "1,3", "--json"}));
    ASSERT_EQ(ended.code, 0) << ended.err;
    const json rows = json::parse(ended.out).at("comparisons");
    ASSERT_EQ(rows.size(), 2);
    EXPECT_EQ(rows[1].at("name"), algorithm + ", 3 callers");
    for (const json& row : rows) expect_clean(row);
  }
}

TEST(Bench, ComparesOnTokensOfItsOwnWithoutAConfiguration) {
  const TemporaryFolder folder;
  const Ended ended = run(folder, with({HSMUX_PROGRAM, "bench", "--only", "locks+copies, 2 callers"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("p256 locks+copies, 2 callers"));
  EXPECT_THAT(ended.out, HasSubstr("gcm locks+copies, 2 callers"));
  EXPECT_THAT(ended.err, HasSubstr("--simhsm"));
}

TEST(Bench, ComparesOnSimulatedHsms) {
  const TemporaryFolder folder;
  const Ended ended =
      run(folder, with({HSMUX_PROGRAM, "bench", "--simhsm", HSMUX_TEST_SIMHSM, "--only", "sim one of four", "--json"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_clean(json::parse(ended.out).at("comparisons").at(0));
}

TEST(Bench, NamesWhatItDoesNotKnow) {
  const TemporaryFolder folder;
  const Ended nothing = run(folder, with({HSMUX_PROGRAM, "bench", "--only", "no such comparison"}));
  EXPECT_EQ(nothing.code, 2) << nothing.err;
  EXPECT_THAT(nothing.err, HasSubstr("no such comparison"));
}

TEST_F(Tokens, AreNotComparedByAKeyThatIsNotThere) {
  const Ended ended = run(with({"bench", "--key", "absent"}));
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.err, HasSubstr("hsmux keys generate absent --algorithm ecdsa-p256-sha256"));
  EXPECT_THAT(run({"keys", "list"}).out, testing::Not(HasSubstr("absent")));
}

TEST_F(Tokens, SayWhyTheyCannotBeCompared) {
  const Ended ended = run(with({"bench", "--key", "absent", "--algorithm", "rsa-oaep"}));
  EXPECT_EQ(ended.code, 2) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("rsa-oaep"));
}

} // namespace
} // namespace hsmux
