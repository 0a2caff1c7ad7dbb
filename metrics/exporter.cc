#include "metrics/exporter.h"

#include <fmt/format.h>
#include <unistd.h>

#include "metrics/page.h"
#include "metrics/status_report.h"

namespace hsmux::metrics {
namespace {

std::string reasons_text(const Snapshot& snapshot) {
  std::string text = snapshot.health + "\n";
  for (const std::string& reason : snapshot.reasons) text += reason + "\n";
  return text;
}

} // namespace

std::expected<void, std::string> Exporter::start(ExporterOptions options, SnapshotSource source) {
  const std::optional<Address> address = parse_address(options.address);
  if (!address) {
    return std::unexpected(fmt::format("'{}' is no address to listen on: give IP:PORT, such as {} or [::1]:9467",
                                       options.address, kDefaultAddress));
  }
  if (!address->loopback && !options.allow_remote) {
    return std::unexpected(
        fmt::format("{} can be reached from other machines, and whoever reaches it sees names, states "
                    "and rates: set allow_remote if that is meant",
                    options.address));
  }
  if (!address->loopback) options.page = false;
  options_ = std::move(options);
  source_ = std::move(source);
  exposition_ = std::make_unique<Exposition>(collector_, source_, options_.version, options_.token_serial);
  auto server = std::make_unique<Server>(
      *address, [this](std::string_view path) { return page(path); },
      [warn = options_.warn](const std::string& text) {
        if (warn) warn("metrics: " + text);
      });
  const bool listens = server->listen(Server::Failure::kTold);
  if (!listens && options_.warn) {
    options_.warn(fmt::format("metrics: {} cannot be listened on; everything else goes on, and it is tried again every "
                              "{} s",
                              options_.address, kTryAgain.count()));
  }
  const std::lock_guard lock(mutex_);
  owner_ = getpid();
  server_ = std::move(server);
  if (!listens) listener_ = std::thread([this, waiting = server_.get()] { keep_trying(*waiting); });
  return {};
}

void Exporter::keep_trying(Server& server) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, kTryAgain, [this] { return stopping_; })) return;
    }
    if (!server.listen(Server::Failure::kQuiet)) continue;
    if (options_.warn) options_.warn(fmt::format("metrics: {} is listened on now", options_.address));
    return;
  }
}

void Exporter::stop() {
  if (owner_ != 0 && owner_ != getpid()) {
    // A fork's copy: its threads never were in this process, and nobody would end what waits for them.
    (void)server_.release();
    if (listener_.joinable()) (void)new std::thread(std::move(listener_));
    return;
  }
  std::unique_ptr<Server> server;
  std::thread listener;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    listener = std::move(listener_);
  }
  if (listener.joinable()) listener.join();
  {
    const std::lock_guard lock(mutex_);
    server = std::move(server_);
  }
  server.reset(); // waits for the requests under way, which may warn somebody: without the lock
}

std::uint16_t Exporter::port() const {
  const std::lock_guard lock(mutex_);
  return server_ == nullptr ? 0 : server_->port();
}

std::optional<Answer> Exporter::page(std::string_view path) const {
  if (path == "/metrics") {
    return Answer{.type = "text/plain; version=0.0.4; charset=utf-8", .body = exposition_->text()};
  }
  if (path == "/healthz" || path == "/readyz") {
    const std::optional<Snapshot> snapshot = source_ ? source_() : std::nullopt;
    if (!snapshot) return Answer{.status = 503, .body = "failed\nthere is no engine\n"};
    // Alive unless only a restart can help; ready as long as something can be done.
    const bool fine =
        path == "/healthz" ? snapshot->health != "fatal" : snapshot->health == "ok" || snapshot->health == "degraded";
    return Answer{.status = fine ? 200 : 503, .body = reasons_text(*snapshot)};
  }
  if (!options_.page) return std::nullopt;
  if (path == "/status.json") {
    return Answer{.type = "application/json",
                  .body = status_report(collector_, source_ ? source_() : std::nullopt, options_.version)};
  }
  if (const auto asset = page_asset(path)) return Answer{.type = asset->type, .body = std::string(asset->content)};
  return std::nullopt;
}

} // namespace hsmux::metrics
