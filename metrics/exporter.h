// Metrics of one engine from its first event to its last: takes the events, and serves them once it is started. An
// engine that goes on without it, because its port is taken, misses nothing else. Thread-safe.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "metrics/collector.h"
#include "metrics/exposition.h"
#include "metrics/server.h"
#include "metrics/snapshot.h"

namespace hsmux::metrics {

struct ExporterOptions {
  std::string address = std::string(kDefaultAddress);
  bool allow_remote = false; // other addresses than loopback; the page is off then
  bool page = true;
  bool token_serial = false; // hsmux_slot_info has the token's serial number
  std::string version = {};
  std::function<void(const std::string&)> warn = {}; // called on any thread
};

class Exporter {
public:
  explicit Exporter(std::vector<OperationKind> kinds) : collector_(std::move(kinds)) {}
  ~Exporter() { stop(); }
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  // As an EventSink, from the engine's opening on.
  void record(const Event& event) { collector_.record(event); }

  // Serves /metrics, /healthz, /readyz and the page. Errors, as a sentence: the address is none, or not allowed. A port
  // that is taken is no error: it is warned of, and tried again every few seconds.
  std::expected<void, std::string> start(ExporterOptions options, SnapshotSource source);
  // `source` is not called any more once this returns. Events are still counted.
  void stop();
  // The port that is listened on; 0: none (yet).
  [[nodiscard]] std::uint16_t port() const;

private:
  static constexpr std::chrono::seconds kTryAgain{5};
  [[nodiscard]] std::optional<Answer> page(std::string_view path) const;
  void keep_trying(Server& server);

  Collector collector_;
  ExporterOptions options_; // written by start() only, as the next two
  SnapshotSource source_;
  std::unique_ptr<Exposition> exposition_;

  pid_t owner_ = 0;          // the process that started it
  mutable std::mutex mutex_; // guards what follows
  std::condition_variable changed_;
  std::unique_ptr<Server> server_;
  bool stopping_ = false;
  std::thread listener_; // only where the port was taken
};

} // namespace hsmux::metrics
