// The program's metrics: an engine's events and state, served over HTTP. Made before the engine is opened, so that it
// counts from the first event; started once it is open.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "metrics/exporter.h"

namespace hsmux {

class MetricsService {
public:
  MetricsService();

  // For EngineOptions::events. May outlive this object, as engines that are left behind do.
  [[nodiscard]] EventSink events() const;
  // Ends the service of an engine, whose end must come later.
  class Serving {
  public:
    explicit Serving(std::shared_ptr<metrics::Exporter> exporter) : exporter_(std::move(exporter)) {}
    ~Serving() { exporter_->stop(); }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

  private:
    std::shared_ptr<metrics::Exporter> exporter_;
  };
  // Serves `engine`'s metrics, once, as long as what is returned lives. Errors: kInvalidConfig.
  Result<std::unique_ptr<Serving>> start(const Engine& engine, const MetricsConfig& config, const LogSink& warn);
  // "127.0.0.1:9467"; empty while the port cannot be had.
  [[nodiscard]] std::string listens_at() const;

private:
  const std::shared_ptr<metrics::Exporter> exporter_;
  std::string address_;
};

} // namespace hsmux
