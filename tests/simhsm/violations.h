// The rules of PKCS#11, and of hsmux, that the simulator watches its caller keep. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace hsmux::sim {

enum class Violation : std::uint8_t {
  kTwoThreads,      // in one session at once (PKCS#11 2.40, 6.7.6 leaves open what happens then)
  kOperationActive, // begun anew, or its session closed, while it was active
  kStaleHandle,     // an object handle of an earlier epoch, or a session that was reported dead, used (again)
  kSizeQuery,       // in C_Sign, C_Encrypt or C_Decrypt: doubles the calls
  kFinalised,       // a call before C_Initialize or after C_Finalize
  kPinTry,          // a login with a wrong PIN, or with one that the token says is locked or at its last try
  kOthersLogin,     // C_Finalize, C_Logout, C_CloseAllSessions: others of the process may share the login
};
constexpr std::size_t kViolations = 7;

std::string_view violation_name(Violation violation); // "two-threads"
std::optional<Violation> violation_named(std::string_view name);

class Violations {
public:
  void note(Violation violation, std::string text);
  void reset();
  [[nodiscard]] unsigned long count(Violation violation) const { return counts_[static_cast<std::size_t>(violation)]; }
  // All but kPinTry: a test of a wrong PIN is nobody's fault.
  [[nodiscard]] unsigned long total() const;
  [[nodiscard]] std::string last() const;

private:
  std::array<std::atomic<unsigned long>, kViolations> counts_{};
  mutable std::mutex mutex_;
  std::string last_; // guarded by mutex_
};

} // namespace hsmux::sim
