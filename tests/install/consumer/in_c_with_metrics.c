/* Serves metrics of an engine through the installed library: in_c_with_metrics CONFIG. */
#include <hsmux/metrics/hsmux_metrics.h>
#include <stdio.h>

int main(int argc, char** argv) {
  hsmux_metrics* metrics = hsmux_metrics_new(NULL, NULL);
  hsmux_engine* engine = NULL;
  hsmux_open_options options;
  hsmux_metrics_options where;
  hsmux_error error;
  if (argc != 2 || metrics == NULL) return 2;
  HSMUX_INIT(&options);
  HSMUX_INIT(&where);
  HSMUX_INIT(&error);
  options.config_path = argv[1];
  options.set_module_environment = 1;
  options.event = hsmux_metrics_event;
  options.event_context = metrics;
  where.address = "127.0.0.1:0";
  if (hsmux_open(&options, &engine, &error) != HSMUX_OK ||
      hsmux_metrics_start(metrics, engine, &where, &error) != HSMUX_OK || hsmux_metrics_port(metrics) == 0) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  printf("metrics are served\n");
  hsmux_metrics_stop(metrics);
  if (hsmux_close(engine, 0) != HSMUX_OK) return 1;
  hsmux_metrics_free(metrics);
  return 0;
}
