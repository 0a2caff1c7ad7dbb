#include "tools/bench_side.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tools/bench_loop.h"

namespace hsmux {
namespace {

Error io_error(std::string_view what) {
  return make_error(ErrorKind::kIo, fmt::format("a side of the comparison {}: {}", what, std::strerror(errno)));
}

Status write_line(int to, const std::string& line) {
  const std::string text = line + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = write(to, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(io_error("cannot be told what to do"));
    done += static_cast<std::size_t>(count);
  }
  return {};
}

// The next line of `from`, whose beginning may have been read already.
Result<std::string> next_line(int from, std::string& read_so_far) {
  while (true) {
    if (const std::size_t end = read_so_far.find('\n'); end != std::string::npos) {
      std::string line = read_so_far.substr(0, end);
      read_so_far.erase(0, end + 1);
      return line;
    }
    std::array<char, 4096> block{};
    const ssize_t count = read(from, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(io_error("cannot be read"));
    if (count == 0) return fail(ErrorKind::kIo, "a side of the comparison ended early");
    read_so_far.append(block.data(), static_cast<std::size_t>(count));
  }
}

} // namespace

Result<std::unique_ptr<BenchSide>> BenchSide::start(const BenchWork& work) {
  std::array<int, 2> in{}, out{};
  if (pipe2(in.data(), O_CLOEXEC) != 0) return fail(io_error("cannot be started"));
  if (pipe2(out.data(), O_CLOEXEC) != 0) {
    close(in[0]);
    close(in[1]);
    return fail(io_error("cannot be started"));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  std::array<char, 6> program{"hsmux"};
  std::array<char, 11> command{"bench-side"};
  std::array<char*, 3> arguments{program.data(), command.data(), nullptr};
  std::unique_ptr<BenchSide> side(new BenchSide);
  pid_t process = -1;
  const int failed = posix_spawn(&process, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  side->process_ = failed == 0 ? process : -1;
  side->to_ = in[1];
  side->from_ = out[0];
  if (failed != 0) {
    errno = failed;
    return fail(io_error("cannot be started"));
  }
  HSMUX_CHECK(write_line(side->to_, to_json(work).dump()));
  HSMUX_TRY(const std::string answer, side->read_line());
  if (answer != "ready") return fail(ErrorKind::kModule, answer);
  return side;
}

BenchSide::~BenchSide() {
  if (to_ >= 0) close(to_); // it ends when its input does
  if (from_ >= 0) close(from_);
  if (process_ <= 0) return;
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<std::string> BenchSide::read_line() { return next_line(from_, read_); }

Result<BenchRun> BenchSide::run(std::uint32_t milliseconds) {
  HSMUX_CHECK(write_line(to_, std::to_string(milliseconds)));
  HSMUX_TRY(const std::string answer, read_line());
  const nlohmann::json json = nlohmann::json::parse(answer, nullptr, false);
  if (json.is_discarded()) return fail(ErrorKind::kInternal, "a side of the comparison answered: " + answer);
  return bench_run_from(json);
}

int serve_bench_side() {
  std::string read_so_far;
  const Result<std::string> first = next_line(STDIN_FILENO, read_so_far);
  if (!first) return 1;
  const nlohmann::json json = nlohmann::json::parse(*first, nullptr, false);
  if (json.is_discarded()) return 2;
  Result<std::unique_ptr<BenchLoop>> loop = BenchLoop::prepare(bench_work_from(json));
  if (!loop) return write_line(STDOUT_FILENO, loop.error().text()) ? 1 : 2;
  if (!write_line(STDOUT_FILENO, "ready")) return 1;
  while (true) {
    const Result<std::string> line = next_line(STDIN_FILENO, read_so_far);
    if (!line) return 0;
    const unsigned long milliseconds = std::strtoul(line->c_str(), nullptr, 10);
    const BenchRun run = (*loop)->run(std::chrono::milliseconds(milliseconds));
    if (!write_line(STDOUT_FILENO, to_json(run).dump())) return 1;
  }
}

} // namespace hsmux
