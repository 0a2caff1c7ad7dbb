// The C entry: an exporter over the engine's C ABI, which is all that it knows of the engine.
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/exporter.h"
#include "metrics/hsmux_metrics.h"

using namespace hsmux; // NOLINT(google-build-using-namespace): these functions are hsmux's own, outside of its
                       // namespace

struct hsmux_metrics {
  hsmux_metrics(std::vector<metrics::OperationKind> kinds, hsmux_event_callback next_, void* next_context_)
      : next(next_), next_context(next_context_), exporter(std::move(kinds)) {}

  const hsmux_event_callback next;
  void* const next_context;
  bool started = false;
  metrics::Exporter exporter;
};

namespace {

std::vector<metrics::OperationKind> operation_kinds() {
  std::vector<metrics::OperationKind> kinds;
  hsmux_algorithms(
      [](void* context, const char* algorithm, uint32_t operations) {
        constexpr std::array kNames{std::pair(HSMUX_SIGN, "sign"), std::pair(HSMUX_DECRYPT, "decrypt"),
                                    std::pair(HSMUX_ENCRYPT, "encrypt")};
        for (const auto& [operation, name] : kNames) {
          if ((operations & 1U << operation) == 0) continue;
          static_cast<std::vector<metrics::OperationKind>*>(context)->push_back(
              {.operation = name, .algorithm = algorithm});
        }
      },
      &kinds);
  return kinds;
}

void add_slot(void* context, const hsmux_slot_report* slot) {
  static_cast<metrics::Snapshot*>(context)->slots.push_back(
      {.name = static_cast<const char*>(slot->name),
       .state = hsmux_slot_state_name(static_cast<hsmux_slot_state>(slot->state)),
       .model = static_cast<const char*>(slot->token_model),
       .firmware = static_cast<const char*>(slot->token_firmware),
       .library = static_cast<const char*>(slot->module_path),
       .serial = static_cast<const char*>(slot->token_serial),
       .reason = static_cast<const char*>(slot->reason),
       .usable = slot->usable != 0,
       .epoch = slot->epoch,
       .sessions_idle = slot->sessions_idle,
       .sessions_leased = slot->sessions_leased,
       .sessions_quarantined = slot->sessions_quarantined,
       .sessions_limit = slot->sessions_target_max,
       .in_flight = slot->in_flight,
       .concurrency = slot->concurrency});
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    lines.emplace_back(line);
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return lines;
}

std::optional<metrics::Snapshot> snapshot_of(hsmux_engine* engine) {
  metrics::Snapshot snapshot;
  if (hsmux_slots(engine, add_slot, &snapshot, nullptr) != HSMUX_OK || snapshot.slots.empty()) return std::nullopt;
  hsmux_work_stats work;
  HSMUX_INIT(&work);
  if (hsmux_work(engine, &work, nullptr) != HSMUX_OK) return std::nullopt;
  snapshot.waiting = work.waiting;
  snapshot.submitted = work.submitted;
  snapshot.threads = work.threads;
  snapshot.threads_idle = work.idle;
  snapshot.threads_quarantined = work.quarantined;
  hsmux_health_report health;
  HSMUX_INIT(&health);
  if (hsmux_health(engine, &health, nullptr) != HSMUX_OK) return std::nullopt;
  snapshot.health = hsmux_health_level_name(static_cast<hsmux_health_level>(health.level));
  snapshot.reasons = lines_of(static_cast<const char*>(health.reasons));
  return snapshot;
}

template <std::size_t kSize> void copy_text(const std::string& text, char (&out)[kSize]) {
  out[text.copy(static_cast<char*>(out), kSize - 1)] = '\0';
}

hsmux_status report(hsmux_status status, const std::string& text, hsmux_error* out) {
  if (out == nullptr || out->struct_size < sizeof out->struct_size) return status;
  hsmux_error filled{};
  filled.struct_size = out->struct_size;
  filled.status = status;
  copy_text(text, filled.message);
  std::memcpy(static_cast<void*>(out), &filled, std::min(out->struct_size, sizeof filled));
  return status;
}

// What the caller wants, with the configuration's part. Errors: a sentence.
std::expected<metrics::ExporterOptions, std::string> exporter_options(hsmux_engine* engine,
                                                                      const hsmux_metrics_options* given) {
  hsmux_metrics_options options{};
  if (given != nullptr) {
    if (given->struct_size < sizeof given->struct_size || given->struct_size > sizeof options) {
      return std::unexpected("struct_size of the options is wrong: HSMUX_INIT sets it");
    }
    std::memcpy(&options, given, given->struct_size);
  }
  hsmux_metrics_settings settings;
  HSMUX_INIT(&settings);
  if (hsmux_get_metrics_settings(engine, &settings, nullptr) != HSMUX_OK) return std::unexpected("there is no engine");
  metrics::ExporterOptions wanted{.address = static_cast<const char*>(settings.address),
                                  .allow_remote = settings.allow_remote != 0,
                                  .page = settings.page != 0,
                                  .token_serial = settings.token_serial != 0,
                                  .version = hsmux_version()};
  if (options.address != nullptr) {
    wanted.address = options.address;
    wanted.allow_remote = options.allow_remote != 0;
  }
  if (options.log != nullptr) {
    wanted.warn = [log = options.log, context = options.log_context](const std::string& text) {
      log(context, HSMUX_WARNING, text.c_str());
    };
  }
  return wanted;
}

// The engine's events speak of strings that end with NUL, as ours do.
Event event_of(const hsmux_event& event) {
  return {.kind = static_cast<EventKind>(event.kind),
          .slot = event.slot,
          .call = event.call,
          .rv = static_cast<unsigned long>(event.ck_rv),
          .algorithm = event.algorithm,
          .duration = std::chrono::nanoseconds(event.duration_ns),
          .detail = event.detail,
          .reason = event.reason,
          .status = static_cast<ErrorKind>(event.status),
          .operation = event.operation,
          .waited = std::chrono::nanoseconds(event.waited_ns)};
}

} // namespace

extern "C" {

hsmux_metrics* hsmux_metrics_new(hsmux_event_callback next, void* next_context) {
  try {
    return std::make_unique<hsmux_metrics>(operation_kinds(), next, next_context).release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void hsmux_metrics_event(void* metrics, const hsmux_event* event) {
  auto* self = static_cast<hsmux_metrics*>(metrics);
  // Of an older engine, whose events know less: its numbers would mean something else.
  if (event->struct_size >= sizeof(hsmux_event)) self->exporter.record(event_of(*event));
  if (self->next != nullptr) self->next(self->next_context, event);
}

hsmux_status hsmux_metrics_start(hsmux_metrics* metrics, hsmux_engine* engine, const hsmux_metrics_options* options,
                                 hsmux_error* error) {
  try {
    if (metrics == nullptr || engine == nullptr) {
      return report(HSMUX_INVALID_ARGUMENT, "metrics or engine is NULL", error);
    }
    if (metrics->started) return report(HSMUX_INVALID_ARGUMENT, "it has been started before", error);
    auto wanted = exporter_options(engine, options);
    if (!wanted) return report(HSMUX_INVALID_ARGUMENT, wanted.error(), error);
    const auto started = metrics->exporter.start(std::move(*wanted), [engine] { return snapshot_of(engine); });
    if (!started) return report(HSMUX_INVALID_ARGUMENT, started.error(), error);
    metrics->started = true;
    return report(HSMUX_OK, "", error);
  } catch (const std::exception&) {
    return report(HSMUX_INTERNAL, "out of memory or another failure of the C++ library", error);
  }
}

uint16_t hsmux_metrics_port(const hsmux_metrics* metrics) {
  return metrics == nullptr ? uint16_t{0} : metrics->exporter.port();
}

void hsmux_metrics_stop(hsmux_metrics* metrics) {
  if (metrics != nullptr) metrics->exporter.stop();
}

void hsmux_metrics_free(hsmux_metrics* metrics) {
  const std::unique_ptr<hsmux_metrics> owned(metrics);
  if (metrics != nullptr) metrics->exporter.stop();
}

} // extern "C"
