// Runs the C program over two fresh tokens, and looks at what the library exports.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/token_folder.h"

extern char** environ;

namespace hsmux {
namespace {

struct Finished {
  int exit_code = -1;
  std::string output;
};

Finished run(std::vector<std::string> arguments) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  const int spawned = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Finished result;
  if (spawned != 0) {
    close(ends[0]);
    return result;
  }
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = read(ends[0], buffer.data(), buffer.size())) > 0;) {
    result.output.append(buffer.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return result;
}

TEST(CApi, AProgramInCDoesEverythingThatTheHeaderPromises) {
  TokenFolder tokens(2);
  const std::string config = tokens.write_toml("keys = { development_software_keys = true }\n");
  const Finished result = run({HSMUX_C_PROGRAM, config});
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

// The first group of every match, in order.
std::set<std::string> names_in(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  std::set<std::string> names;
  for (std::sregex_iterator match(text.begin(), text.end(), expression); match != std::sregex_iterator(); ++match) {
    names.insert((*match)[1]);
  }
  return names;
}

std::string source(const std::string& path) {
  std::ifstream in(std::filesystem::path(HSMUX_SOURCE_DIR) / path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(CApi, TheLibraryExportsWhatTheHeaderDeclaresAndNothingElse) {
  const Finished symbols = run({"nm", "-D", "--defined-only", "--format=posix", HSMUX_LIBRARY});
  ASSERT_EQ(symbols.exit_code, 0) << symbols.output;
  const std::set<std::string> exported = names_in(symbols.output, "([^\\s]+) [^\n]*\n");
  const std::set<std::string> declared = names_in(source("engine/hsmux.h"), "HSMUX_API [^;(]*\\b(hsmux_\\w+)\\(");
  EXPECT_EQ(exported, declared) << "engine/libhsmux.map names every function of engine/hsmux.h, and no other";
  EXPECT_EQ(names_in(source("engine/libhsmux.map"), "\\s([\\w*]+);"), [&] {
    std::set<std::string> all = declared;
    all.insert("*"); // local
    return all;
  }());
  EXPECT_GE(declared.size(), 33U);
}

} // namespace
} // namespace hsmux
