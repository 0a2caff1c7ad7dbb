#include "tests/tools/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

extern char** environ; // NOLINT(readability-redundant-declaration): POSIX leaves it to the program

namespace hsmux {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "tests/tools/child: %s\n", what.c_str());
  std::exit(1);
}

std::vector<std::string> environment_of(const Surroundings& around) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const char* name : {"HSMUX_CONFIG", "SOFTHSM2_CONF", "HSMUX_SIM_CONFIG"}) variables.erase(name);
  for (const auto& [name, value] : around.environment) variables[name] = value;
  std::vector<std::string> lines;
  for (const auto& [name, value] : variables) lines.push_back(name + "=" + value);
  return lines;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> all;
  for (std::string& text : strings) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

} // namespace

TemporaryFolder::TemporaryFolder() : path_(std::filesystem::temp_directory_path() / "hsmux-tools-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) give_up("no temporary folder");
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& text) const {
  std::ofstream(file(name), std::ios::binary) << text;
  return file(name);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

unsigned mode_of(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0;
}

pid_t start(const TemporaryFolder& folder, const std::vector<std::string>& argv, const Surroundings& around) {
  const std::string in = folder.write("stdin", around.input);
  const std::string out = around.terminal.empty() ? folder.file("stdout") : around.terminal;
  const std::string err = around.terminal.empty() ? folder.file("stderr") : around.terminal;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, in.c_str(), O_RDONLY, 0);
  const int flags = O_WRONLY | O_NOCTTY | (around.terminal.empty() ? O_CREAT | O_TRUNC : 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.c_str(), flags, 0600);
  std::vector<std::string> arguments = argv;
  std::vector<std::string> environment = environment_of(around);
  pid_t child = -1;
  const int failed = posix_spawnp(&child, argv.front().c_str(), &files, nullptr, pointers(arguments).data(),
                                  pointers(environment).data());
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) give_up("cannot start " + argv.front());
  return child;
}

Ended wait_for(const TemporaryFolder& folder, pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) give_up("the child process is lost");
  Ended ended;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ended.out = read_file(folder.file("stdout"));
  ended.err = read_file(folder.file("stderr"));
  return ended;
}

Ended run(const TemporaryFolder& folder, const std::vector<std::string>& argv, const Surroundings& around) {
  return wait_for(folder, start(folder, argv, around));
}

} // namespace hsmux
