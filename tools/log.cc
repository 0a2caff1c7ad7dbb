#include "tools/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tools/terminal.h"

namespace hsmux {
namespace {

constexpr std::size_t kHeldMax = 1'000;

struct Level {
  LogLevel level;
  std::string_view name;
  spdlog::level::level_enum spdlog_level;
};
constexpr std::array kLevels{
    Level{LogLevel::kDebug, "debug", spdlog::level::debug},
    Level{LogLevel::kInfo, "info", spdlog::level::info},
    Level{LogLevel::kWarning, "warning", spdlog::level::warn},
    Level{LogLevel::kError, "error", spdlog::level::err},
};

} // namespace

Log::Log() {
  if (spdlog::get("hsmux")) return;
  const auto logger = spdlog::stderr_logger_mt("hsmux");
  logger->set_level(spdlog::level::trace); // the level is ours: held lines have one, too
  spdlog::set_default_logger(logger);
}

void Log::configure(LogLevel level_min, bool json) {
  const std::lock_guard lock(mutex_);
  level_min_ = level_min;
  json_ = json;
  spdlog::set_pattern(json ? "%v" : "hsmux: %l: %v");
}

void Log::raise(LogLevel level_min) {
  const std::lock_guard lock(mutex_);
  level_min_ = std::max(level_min_, level_min);
}

void Log::write(LogLevel level, const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (level < level_min_) return;
  if (holding_ && held_.size() < kHeldMax) {
    held_.emplace_back(level, message);
  } else {
    show(level, message);
  }
}

void Log::hold() {
  const std::lock_guard lock(mutex_);
  holding_ = true;
}

void Log::release(const std::string& known) {
  const std::lock_guard lock(mutex_);
  holding_ = false;
  for (const auto& [level, message] : held_) {
    if (message != known) show(level, message);
  }
  held_.clear();
}

void Log::show(LogLevel level, const std::string& message) const {
  const Level& row = kLevels.at(static_cast<std::size_t>(level));
  if (!json_) return spdlog::log(row.spdlog_level, printable(message));
  const nlohmann::json line{{"log", {{"level", row.name}, {"message", message}}}};
  spdlog::log(row.spdlog_level, line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

} // namespace hsmux
