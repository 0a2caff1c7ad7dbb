// Running a program as a child process, without a shell, and what came of it; and a folder for its files. One thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace hsmux {

struct Ended {
  int code = -1; // 128 + the signal's number when a signal ended it
  std::string out, err;
};

struct Surroundings {
  std::string input;                              // standard input
  std::map<std::string, std::string> environment; // added to this process's own, less what configures hsmux and SoftHSM
  std::string terminal;                           // standard output and error go there instead of into Ended
};

// A folder of its own under the system's temporary folder; removed at the end.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file and returns its path.
  std::string write(const std::string& name, const std::string& text) const;

private:
  std::string path_;
};

std::string read_file(const std::string& path);
bool exists(const std::string& path);
unsigned mode_of(const std::string& path);

// argv[0] is looked up in PATH. Standard input, output and error are files in `folder`.
pid_t start(const TemporaryFolder& folder, const std::vector<std::string>& argv, const Surroundings& around = {});
Ended wait_for(const TemporaryFolder& folder, pid_t child);
Ended run(const TemporaryFolder& folder, const std::vector<std::string>& argv, const Surroundings& around = {});

} // namespace hsmux
