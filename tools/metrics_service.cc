#include "tools/metrics_service.h"

#include <array>
#include <utility>

namespace hsmux {
namespace {

std::vector<metrics::OperationKind> operation_kinds() {
  constexpr std::array kOperations{Operation::kSign, Operation::kDecrypt, Operation::kEncrypt};
  std::vector<metrics::OperationKind> kinds;
  for (const AlgorithmSpec& spec : spec_table()) {
    for (const Operation operation : kOperations) {
      const bool on_host = operation == Operation::kEncrypt && encrypts_on_host(spec);
      if (!supports(spec, operation) || on_host) continue;
      kinds.push_back({.operation = std::string(operation_name(operation)), .algorithm = std::string(spec.name)});
    }
  }
  return kinds;
}

metrics::SlotSnapshot snapshot_of(const SlotReport& slot) {
  const SessionPoolStats& sessions = slot.stats.sessions;
  const SlotCondition condition = condition_of(slot.name, slot.stats);
  return {.name = slot.name,
          .state = std::string(health_state_name(condition.state)),
          .model = slot.token.model,
          .firmware = slot.token.firmware,
          .library = slot.module_path,
          .serial = slot.token.serial,
          .reason = condition.reason,
          .usable = condition.usable,
          .epoch = slot.stats.epoch,
          .sessions_idle = sessions.idle,
          .sessions_leased = sessions.leased,
          .sessions_quarantined = sessions.quarantined,
          .sessions_limit = sessions.target_max,
          .in_flight = slot.in_flight,
          .concurrency = slot.concurrency};
}

std::optional<metrics::Snapshot> snapshot_of(const Engine& engine) {
  metrics::Snapshot snapshot;
  for (const SlotReport& slot : engine.slots_now()) snapshot.slots.push_back(snapshot_of(slot));
  if (snapshot.slots.empty()) return std::nullopt; // closed
  const WorkStats work = engine.work();
  snapshot.waiting = work.waiting;
  snapshot.submitted = work.submitted;
  snapshot.threads = work.threads;
  snapshot.threads_idle = work.idle;
  snapshot.threads_quarantined = work.quarantined;
  const EngineHealth health = engine.health();
  snapshot.health = health_level_name(health.level);
  snapshot.reasons = health.reasons;
  return snapshot;
}

} // namespace

MetricsService::MetricsService() : exporter_(std::make_shared<metrics::Exporter>(operation_kinds())) {}

EventSink MetricsService::events() const {
  return [exporter = exporter_](const Event& event) { exporter->record(event); };
}

Result<std::unique_ptr<MetricsService::Serving>>
MetricsService::start(const Engine& engine, const MetricsConfig& config, const LogSink& warn) {
  address_ = config.address;
  metrics::ExporterOptions options{.address = config.address,
                                   .allow_remote = config.allow_remote,
                                   .page = config.page,
                                   .token_serial = config.token_serial,
                                   .version = HSMUX_VERSION};
  options.warn = [warn](const std::string& text) { warn(LogLevel::kWarning, text); };
  const auto started = exporter_->start(std::move(options), [&engine] { return snapshot_of(engine); });
  if (!started) return fail(ErrorKind::kInvalidConfig, "metrics: " + started.error());
  return std::make_unique<Serving>(exporter_);
}

std::string MetricsService::listens_at() const {
  std::optional<metrics::Address> address = metrics::parse_address(address_);
  const std::uint16_t port = exporter_->port();
  if (!address || port == 0) return {};
  address->port = port;
  return address->text();
}

} // namespace hsmux
