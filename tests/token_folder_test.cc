// What other tests take from a TokenFolder is there and works.
#include "tests/token_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/simhsm/raw_token.h"

namespace hsmux {
namespace {

using testing::HasSubstr;

mode_t mode_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777;
}

TEST(TokenFolder, TokensHaveLabelsOfTheirOwn) {
  if (TokenFolder::external()) GTEST_SKIP() << "tokens are given";
  const TokenFolder first(2), second(1);
  EXPECT_NE(first.label(0), first.label(1));
  EXPECT_NE(first.label(1), second.label(0));
  EXPECT_NE(first.slot_id(1), second.slot_id(0));
  EXPECT_THAT(first.label(0), HasSubstr("hsmux-test-"));
}

TEST(TokenFolder, UserCanLogInToEveryToken) {
  const TokenFolder tokens(TokenFolder::external() ? 1 : 3);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const sim::RawToken token(sim::functions_of(tokens.module_path()), tokens, i);
    EXPECT_NE(token.session(), CK_SESSION_HANDLE{0});
  }
}

TEST(TokenFolder, PinFileIsPrivateAndHoldsThePin) {
  const TokenFolder tokens(1);
  EXPECT_EQ(mode_of(tokens.folder()), 0700U);
  EXPECT_EQ(mode_of(tokens.pin_file(0)), 0600U);
  std::string pin;
  std::getline(std::ifstream(tokens.pin_file(0)) >> std::ws, pin);
  EXPECT_EQ(pin, tokens.pin(0));
}

TEST(TokenFolder, FolderIsRemovedWithIt) {
  std::string folder;
  {
    const TokenFolder tokens(1);
    folder = tokens.folder();
    ASSERT_TRUE(std::filesystem::exists(folder));
  }
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(TokenFolder, ConfigurationNamesEveryTokenAndKeepsTheExtras) {
  const TokenFolder tokens(1);
  std::stringstream text;
  text << std::ifstream(tokens.write_toml("algorithms = []", "sessions_max = 3")).rdbuf();
  EXPECT_THAT(text.str(), testing::StartsWith("algorithms = []\n"));
  EXPECT_THAT(text.str(), HasSubstr("token_label = '" + tokens.label(0) + "'"));
  EXPECT_THAT(text.str(), HasSubstr("sessions_max = 3"));
  EXPECT_THAT(text.str(), HasSubstr("name = \"slot-0\""));
}

} // namespace
} // namespace hsmux
