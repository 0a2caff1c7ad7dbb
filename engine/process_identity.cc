#include "engine/process_identity.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "mechanisms/host_crypto.h"

namespace hsmux {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// 0: cannot be told.
std::uint64_t this_host() {
  struct stat names{};
  const std::string boot = text_of("/proc/sys/kernel/random/boot_id");
  if (boot.empty() || stat("/proc/self/ns/pid", &names) != 0) return 0;
  const std::string text = fmt::format("{} {}", boot, names.st_ino);
  std::array<std::uint8_t, 32> hashed{};
  if (!digest(Hash::kSha256, ByteView(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), hashed))
    return 0;
  std::uint64_t host = 0;
  for (std::size_t i = 0; i < sizeof host; ++i) host = host << 8 | hashed[i];
  return host;
}

// In clock ticks since the boot: proc(5), /proc/PID/stat, field 22. 0: no such process.
std::uint64_t start_of(std::uint32_t process) {
  const std::string text = text_of(fmt::format("/proc/{}/stat", process));
  const std::size_t name_ends = text.rfind(')'); // the name may hold blanks and brackets
  if (name_ends == std::string::npos) return 0;
  std::istringstream rest(text.substr(name_ends + 1));
  std::string field;
  for (int i = 3; i < 22; ++i) rest >> field;
  std::uint64_t start = 0;
  rest >> start;
  return start;
}

} // namespace

ProcessIdentity this_process() {
  const auto process = static_cast<std::uint32_t>(getpid());
  return {.host = this_host(), .process = process, .started = start_of(process)};
}

LeftoverFacts::Owner owner_state(const ProcessIdentity& owner) {
  if (owner.host == 0 || owner.started == 0 || owner.host != this_host()) return LeftoverFacts::Owner::kUnknown;
  const std::uint64_t started = start_of(owner.process);
  if (started == 0) { // gone, or hidden from this user
    const bool gone = kill(static_cast<pid_t>(owner.process), 0) != 0 && errno == ESRCH;
    return gone ? LeftoverFacts::Owner::kDead : LeftoverFacts::Owner::kUnknown;
  }
  return started == owner.started ? LeftoverFacts::Owner::kAlive : LeftoverFacts::Owner::kDead;
}

} // namespace hsmux
