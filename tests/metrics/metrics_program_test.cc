// The C entry of the metrics, used by a program in C, and what its library exports.
#include <gmock/gmock.h>

#include "tests/token_folder.h"
#include "tests/tools/child.h"

namespace hsmux {
namespace {

TEST(MetricsLibrary, ServesACProgram) {
  const TokenFolder tokens(2);
  const TemporaryFolder folder;
  const Ended ended = run(folder, {HSMUX_METRICS_PROGRAM, tokens.write_toml("[metrics]\naddress = \"127.0.0.1:0\"\n")},
                          {.input = {}, .environment = {{"SOFTHSM2_CONF", TokenFolder::conf_path()}}, .terminal = {}});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, "all well\n");
}

TEST(MetricsLibrary, ExportsItsOwnFunctionsAndNothingElse) {
  const TemporaryFolder folder;
  const Ended ended = run(folder, {"nm", "--dynamic", "--defined-only", "--format=posix", HSMUX_METRICS_LIBRARY});
  ASSERT_EQ(ended.code, 0) << ended.err;
  std::istringstream lines(ended.out);
  int functions = 0;
  for (std::string name, rest; lines >> name && std::getline(lines, rest);) {
    EXPECT_THAT(name, testing::StartsWith("hsmux_metrics_"));
    ++functions;
  }
  EXPECT_EQ(functions, 6);
}

} // namespace
} // namespace hsmux
