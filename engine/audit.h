// The audit log: who may use which key is decided elsewhere, but what happened to logins, keys and slots stands here,
// one JSON object per line. Never a PIN, key material, plaintext, ciphertext or signature. Thread-safe; written by a
// thread of its own, so that a full or slow disk holds up nobody: what cannot be written is counted, told in the log,
// and its number stands in the next line that can be.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/config.h"
#include "metrics/events.h"
#include "slots/deadline.h"
#include "slots/error.h"

namespace hsmux {

// One line. What is empty does not stand in it.
struct AuditRecord {
  std::string_view event;           // "key-generate", "key-delete", "login", "slot-health", "request-refused", ...
  std::string_view operation{};     // of a refused request
  std::string key{}, key_id{};      // as the request named it; hex of CKA_ID
  std::string_view algorithm{};     // spec table name
  std::string slot{};               // the one slot that it is about
  std::vector<std::string> slots{}; // or several
  std::string detail{};             // for people, without secrets
  std::optional<Error> error{};     // absent: it succeeded
};

class Audit {
public:
  // Told when lines cannot be written, once until one can be again.
  using Complain = std::function<void(const std::string&)>;

  static constexpr std::size_t kQueueMax = 10'000;
  // Lines about refused requests, of which clients may cause as many as they like; others are counted.
  static constexpr std::uint32_t kRefusedPerSecond = 20;

  // Appends to config.path, made with mode 0600; without a path nothing is written. A file that was moved away (log
  // rotation) is made anew. Errors: kIo: it cannot be opened, is not a regular file of this user, or others may write
  // it.
  static Result<std::unique_ptr<Audit>> open(const AuditConfig& config, Complain complain);
  // Writes what is queued, for a second at most.
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  [[nodiscard]] bool on() const { return fd_ >= 0; }
  void write(const AuditRecord& record);
  // A request that was refused for what it is, not for the state of the slots.
  void refused(std::string_view operation, std::string_view key, std::string_view algorithm, const Error& error);
  // Logins, losses and state changes of slots; other events are ignored.
  void event(const Event& event);

private:
  Audit() = default;
  void run();
  void put(const std::string& lines);
  Result<int> open_file() const;
  void reopen_if_moved();

  std::string path_;
  Complain complain_;
  int fd_ = -1; // writer's, once it runs
  bool failing_ = false;

  std::mutex mutex_; // guards what follows
  std::condition_variable changed_;
  std::deque<std::string> queue_;
  std::uint64_t lost_ = 0, unsaid_refusals_ = 0;
  std::uint32_t refused_now_ = 0;
  TimePoint refused_since_{};
  bool stop_ = false, stopped_ = false;
  std::thread writer_;
};

} // namespace hsmux
