// hsmux monitor
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/command.h"
#include "tools/metrics_service.h"

namespace hsmux {
namespace {

struct MonitorOptions {
  std::string address; // --address, else the configuration's
  bool allow_remote = false;
};

// Before the slots are connected. The configuration's own address was checked with it.
Status check_address(const MetricsConfig& wanted) {
  const auto address = metrics::parse_address(wanted.address);
  if (!address) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("--address: '{}' is not allowed: IP:PORT, such as {}",
                                                         wanted.address, metrics::kDefaultAddress));
  }
  if (address->loopback || wanted.allow_remote) return {};
  return fail(
      ErrorKind::kInvalidArgument,
      fmt::format("--address: {} can be reached from other machines: give --allow-remote, too, if that is meant",
                  wanted.address));
}

Status announce(const Program& program, const std::string& at, bool page) {
  if (program.options.json) return Program::print_json({{"listening", at}, {"page", page}});
  if (at.empty()) return {};
  return Program::print(fmt::format("metrics at http://{}/metrics, health at http://{}/readyz{}\n", at, at,
                                    page ? fmt::format(", for people http://{}/", at) : ""));
}

Result<ExitCode> monitor(Program& program, const MonitorOptions& options) {
  HSMUX_TRY(const Config config, program.read_configuration());
  MetricsConfig wanted = config.metrics.value_or(MetricsConfig{});
  if (!options.address.empty()) wanted.address = options.address;
  wanted.allow_remote = wanted.allow_remote || options.allow_remote;
  HSMUX_CHECK(check_address(wanted));
  MetricsService service;
  HSMUX_TRY(const std::unique_ptr<Engine> engine,
            program.open_engine({.events = service.events(), .slots_may_be_down = true, .only = kCheapestProbe}));
  HSMUX_TRY(const std::unique_ptr<MetricsService::Serving> serving, service.start(*engine, wanted, program.log_sink()));
  const auto address = metrics::parse_address(wanted.address);
  HSMUX_CHECK(announce(program, service.listens_at(), wanted.page && address->loopback));
  while (!Program::interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return ExitCode::kOk;
}

} // namespace

void add_monitor(CLI::App& app, Program& program) {
  auto options = std::make_shared<MonitorOptions>();
  CLI::App* command =
      app.add_subcommand("monitor", "Watch the slots: Prometheus metrics, health and a status page over HTTP");
  command
      ->add_option("--address", options->address,
                   fmt::format("Where to listen, IP:PORT (default: [metrics] address of the configuration, else {})",
                               metrics::kDefaultAddress))
      ->type_name("ADDRESS");
  command->add_flag("--allow-remote", options->allow_remote,
                    "The address may be one that other machines reach; without the status page then");
  command->footer("Serves until Ctrl-C: /metrics for Prometheus, /healthz and /readyz for supervisors, / for people.\n"
                  "Opens sessions of its own, so it shows how the slots are, not what other programs do with them:\n"
                  "for that a program has its own metrics (docs/metrics.md).\n"
                  "Examples:\n"
                  "  hsmux monitor\n"
                  "  hsmux monitor --address 127.0.0.1:9500 --slot hsm-a\n"
                  "  hsmux monitor --address 10.0.0.7:9467 --allow-remote --json\n"
                  "Global options: see hsmux --help.");
  program.on(*command, [&program, options] { return monitor(program, *options); });
}

} // namespace hsmux
