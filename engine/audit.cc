#include "engine/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "slots/disposition.h"

namespace hsmux {
namespace {

// RFC 3339, UTC.
std::string now_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1'000'000);
}

std::string line_of(const nlohmann::ordered_json& json) {
  // Names come from callers: bytes that are not UTF-8 are replaced.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

nlohmann::ordered_json begin_line(std::string_view event) {
  return {{"time", now_text()}, {"pid", getpid()}, {"event", event}};
}

void add(nlohmann::ordered_json& json, const char* key, std::string_view value) {
  constexpr std::size_t kValueBytesMax = 1024;
  if (!value.empty()) json[key] = value.substr(0, kValueBytesMax);
}

std::string text_of(const AuditRecord& record) {
  nlohmann::ordered_json json = begin_line(record.event);
  add(json, "operation", record.operation);
  add(json, "key", record.key);
  add(json, "key_id", record.key_id);
  add(json, "algorithm", record.algorithm);
  add(json, "slot", record.slot);
  if (!record.slots.empty()) json["slots"] = record.slots;
  add(json, "detail", record.detail);
  json["result"] = record.error ? error_kind_name(record.error->kind) : std::string_view("ok");
  if (record.error) {
    if (record.error->rv != 0) json["ck_rv"] = rv_name(record.error->rv);
    add(json, "message", record.error->message);
  }
  return line_of(json);
}

// The kinds that say something about the request or the caller, not about the moment.
bool is_refusal(ErrorKind kind) {
  return kind == ErrorKind::kKeyUnusable || kind == ErrorKind::kKeyNotFound || kind == ErrorKind::kKeyAmbiguous ||
         kind == ErrorKind::kUnsupported || kind == ErrorKind::kConflict;
}

} // namespace

Result<int> Audit::open_file() const {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorKind::kIo, fmt::format("cannot write the audit log {}: {}", path_, why));
  };
  // O_NONBLOCK: a FIFO without a reader must not hang the open; it is refused just after.
  const int fd = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK,
                        S_IRUSR | S_IWUSR);
  if (fd < 0) return refuse(std::generic_category().message(errno));
  struct stat status{};
  const char* why = nullptr;
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) why = "it is not a regular file";
  if (why == nullptr && status.st_uid != geteuid()) why = "it belongs to another user";
  if (why == nullptr && (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) why = "others may write it; chmod 600";
  if (why == nullptr) return fd;
  ::close(fd);
  return refuse(why);
}

Result<std::unique_ptr<Audit>> Audit::open(const AuditConfig& config, Complain complain) {
  std::unique_ptr<Audit> audit(new Audit);
  if (!config.path) return audit;
  audit->path_ = *config.path;
  audit->complain_ = std::move(complain);
  HSMUX_TRY(audit->fd_, audit->open_file());
  audit->writer_ = std::thread([raw = audit.get()] { raw->run(); });
  return audit;
}

Audit::~Audit() {
  if (!writer_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  writer_.join();
  if (fd_ >= 0) ::close(fd_);
}

void Audit::write(const AuditRecord& record) {
  if (!on()) return;
  std::string line = text_of(record);
  const std::lock_guard lock(mutex_);
  if (queue_.size() >= kQueueMax) {
    ++lost_;
    return;
  }
  queue_.push_back(std::move(line));
  changed_.notify_all();
}

void Audit::refused(std::string_view operation, std::string_view key, std::string_view algorithm, const Error& error) {
  if (!on() || !is_refusal(error.kind)) return;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = MonotonicClock::now();
    if (now - refused_since_ >= std::chrono::seconds(1)) {
      refused_since_ = now;
      refused_now_ = 0;
    }
    if (++refused_now_ > kRefusedPerSecond) {
      ++unsaid_refusals_;
      return;
    }
  }
  write({.event = "request-refused",
         .operation = operation,
         .key = std::string(key),
         .algorithm = algorithm,
         .error = error});
}

void Audit::event(const Event& event) {
  if (!on()) return;
  AuditRecord record{.event = {}, .slot = std::string(event.slot)};
  switch (event.kind) {
  case EventKind::kLogin: record.event = "login"; break;
  case EventKind::kPinLatched: record.event = "pin-latched"; break;
  case EventKind::kSlotLost: record.event = "slot-lost"; break;
  case EventKind::kSlotReady: record.event = "slot-ready"; break;
  case EventKind::kSlotHealth:
    record.event = "slot-health";
    record.detail = std::string(event.detail);
    if (!event.reason.empty()) record.detail += fmt::format(": {}", event.reason);
    break;
  case EventKind::kWrongResult:
    record.event = "wrong-result";
    record.detail = std::string(event.call);
    break;
  default: return;
  }
  if (event.rv != 0) {
    record.error = make_error(disposition({Call::kNone, event.rv}).kind, std::string(event.call));
    record.error->rv = event.rv;
  }
  write(record);
}

// --- the writer ---

void Audit::run() {
  while (true) {
    std::string lines;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      if (const std::uint64_t lost = std::exchange(lost_, 0); lost > 0) {
        nlohmann::ordered_json json = begin_line("lines-lost");
        json["count"] = lost;
        lines += line_of(json);
      }
      if (const std::uint64_t unsaid = std::exchange(unsaid_refusals_, 0); unsaid > 0) {
        nlohmann::ordered_json json = begin_line("requests-refused");
        json["count"] = unsaid;
        lines += line_of(json);
      }
      for (const std::string& line : queue_) lines += line;
      queue_.clear();
    }
    put(lines);
  }
}

void Audit::reopen_if_moved() {
  struct stat ours{}, there{};
  const bool same = ::fstat(fd_, &ours) == 0 && ::lstat(path_.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
                    ours.st_dev == there.st_dev;
  if (same) return;
  Result<int> anew = open_file();
  if (!anew) return; // the old one still takes what there is to say
  ::dup3(*anew, fd_, O_CLOEXEC);
  ::close(*anew);
}

void Audit::put(const std::string& lines) {
  reopen_if_moved();
  std::string_view left = lines;
  while (!left.empty()) {
    const ssize_t count = ::write(fd_, left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const std::string why = std::generic_category().message(errno);
      const auto unwritten = static_cast<std::uint64_t>(std::ranges::count(left, '\n'));
      {
        const std::lock_guard lock(mutex_);
        lost_ += unwritten;
      }
      if (!std::exchange(failing_, true) && complain_) {
        complain_(fmt::format("the audit log {} cannot be written: {}", path_, why));
      }
      return;
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  failing_ = false;
}

} // namespace hsmux
