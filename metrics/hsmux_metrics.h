/* Metrics of an hsmux engine for C and everything that can call C: Prometheus' /metrics, /healthz, /readyz and a status
 * page over HTTP. A library of its own (libhsmux-metrics), so that who needs no HTTP server has none. The conventions
 * are those of engine/hsmux.h.
 *
 * It is made before the engine, so that it counts from the first event, and freed after it:
 *
 *   hsmux_metrics* metrics = hsmux_metrics_new(NULL, NULL);
 *   hsmux_open_options options;
 *   HSMUX_INIT(&options);
 *   options.config_path = "hsmux.toml";
 *   options.event = hsmux_metrics_event;
 *   options.event_context = metrics;
 *   hsmux_open(&options, &engine, &error);
 *   hsmux_metrics_start(metrics, engine, NULL, &error);    // where the file's [metrics] says
 *   ...
 *   hsmux_metrics_stop(metrics);
 *   if (hsmux_close(engine, 0) == HSMUX_OK) hsmux_metrics_free(metrics);
 */
#ifndef HSMUX_METRICS_H
#define HSMUX_METRICS_H

#include "engine/hsmux.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hsmux_metrics hsmux_metrics;

/* NULL when there is no memory. `next`, if not NULL, is called with each event too, with its own context. */
HSMUX_API hsmux_metrics* hsmux_metrics_new(hsmux_event_callback next, void* next_context);

/* For hsmux_open_options.event, with the hsmux_metrics as event_context. */
HSMUX_API void hsmux_metrics_event(void* metrics, const hsmux_event* event);

typedef struct hsmux_metrics_options {
  size_t struct_size;
  const char* address;    /* "IP:PORT", port 0 = any free one; NULL = the configuration's [metrics], or its default */
  int32_t allow_remote;   /* 1: it may be an address that other machines reach, where `address` is given */
  hsmux_log_callback log; /* what is wrong while it serves; called on any thread */
  void* log_context;
} hsmux_metrics_options;

/* Serves `engine`'s metrics; `options` may be NULL. A port that is taken is no error: `log` is told, and it is tried
 * again every few seconds. HSMUX_INVALID_ARGUMENT: the address is none, or may not be listened on; or it has been
 * started before. */
HSMUX_API hsmux_status hsmux_metrics_start(hsmux_metrics* metrics, hsmux_engine* engine,
                                           const hsmux_metrics_options* options, hsmux_error* error);

/* The port that it listens on; 0: none (yet). */
HSMUX_API uint16_t hsmux_metrics_port(const hsmux_metrics* metrics);

/* Ends the server, which takes up to two seconds; before hsmux_close. Events are still taken. NULL is fine. */
HSMUX_API void hsmux_metrics_stop(hsmux_metrics* metrics);

/* After hsmux_close, and only where that answered HSMUX_OK: what an engine left behind may still tell of events. */
HSMUX_API void hsmux_metrics_free(hsmux_metrics* metrics);

#ifdef __cplusplus
}
#endif

#endif
