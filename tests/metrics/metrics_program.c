/* Uses the C entry of the metrics as a C programmer would: argv[1] is a configuration with two slots and a [metrics]
 * section whose port is 0. Exit status 0 when all is as it should be. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "metrics/hsmux_metrics.h"

#include "tests/c_api/check.h"

static volatile int events = 0, log_lines = 0;

static void on_event(void* context, const hsmux_event* event) {
  CHECK(context == &failures);
  CHECK(event->operation != NULL && event->detail != NULL && event->reason != NULL);
  ++events;
}

static void on_log(void* context, hsmux_log_level level, const char* text) {
  CHECK(context == &failures);
  CHECK(level == HSMUX_WARNING && text[0] != '\0');
  ++log_lines;
}

/* What GET `path` answers; empty without an answer. */
static const char* get(uint16_t port, const char* path) {
  static char text[1 << 20];
  char request[256];
  struct sockaddr_in address;
  size_t size = 0;
  ssize_t got;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0 &&
      write(fd, request, strlen(request)) == (ssize_t)strlen(request)) {
    while (size < sizeof text - 1 && (got = read(fd, text + size, sizeof text - 1 - size)) > 0) size += (size_t)got;
  }
  close(fd);
  text[size] = '\0';
  return text;
}

static void sign(hsmux_engine* engine, const char* key) {
  static const uint8_t message[] = "an event to be signed";
  uint8_t signature[128];
  size_t size = sizeof signature;
  hsmux_sign_request request;
  HSMUX_INIT(&request);
  request.key = key;
  request.algorithm = "ecdsa-p256-sha256";
  request.data = message;
  request.data_bytes = sizeof message;
  (void)hsmux_sign(engine, &request, signature, &size, NULL);
}

static void check_settings(hsmux_engine* engine) {
  hsmux_metrics_settings settings;
  HSMUX_INIT(&settings);
  CHECK(hsmux_get_metrics_settings(engine, &settings, NULL) == HSMUX_OK);
  CHECK(settings.wanted == 1 && settings.page == 1 && settings.allow_remote == 0);
  CHECK(strcmp(settings.address, "127.0.0.1:0") == 0);
}

static void check_bad_arguments(hsmux_metrics* metrics, hsmux_engine* engine) {
  hsmux_metrics_options options;
  hsmux_error error;
  HSMUX_INIT(&options);
  HSMUX_INIT(&error);
  options.address = "0.0.0.0:0";
  CHECK(hsmux_metrics_start(metrics, engine, &options, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "allow_remote") != NULL);
  options.address = "localhost";
  CHECK(hsmux_metrics_start(metrics, engine, &options, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_metrics_start(NULL, engine, NULL, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_metrics_start(metrics, NULL, NULL, NULL) == HSMUX_INVALID_ARGUMENT);
  options.struct_size = 3;
  CHECK(hsmux_metrics_start(metrics, engine, &options, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_metrics_port(metrics) == 0);
  CHECK(hsmux_metrics_port(NULL) == 0);
}

int main(int argc, char** argv) {
  hsmux_metrics* metrics = hsmux_metrics_new(on_event, &failures);
  hsmux_open_options options;
  hsmux_metrics_options where;
  hsmux_engine* engine = NULL;
  hsmux_error error;
  uint16_t port;
  if (argc != 2 || metrics == NULL) return 2;
  HSMUX_INIT(&options);
  HSMUX_INIT(&error);
  options.config_path = argv[1];
  options.set_module_environment = 1;
  options.event = hsmux_metrics_event;
  options.event_context = metrics;
  if (hsmux_open(&options, &engine, &error) != HSMUX_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  CHECK(events > 0); /* logins and sessions, before the server is there */
  check_settings(engine);
  check_bad_arguments(metrics, engine);

  HSMUX_INIT(&where);
  where.log = on_log;
  where.log_context = &failures;
  CHECK(hsmux_metrics_start(metrics, engine, &where, &error) == HSMUX_OK);
  CHECK(hsmux_metrics_start(metrics, engine, &where, &error) == HSMUX_INVALID_ARGUMENT); /* once */
  port = hsmux_metrics_port(metrics);
  CHECK(port != 0);
  sign(engine, "nobody");
  CHECK(strstr(get(port, "/metrics"),
               "hsmux_requests_total{op=\"sign\",spec=\"ecdsa-p256-sha256\",outcome=\"key\"} 1\n") != NULL);
  CHECK(strstr(get(port, "/metrics"), "hsmux_slot_state{slot=\"slot-1\",state=\"healthy\"} 1\n") != NULL);
  CHECK(strstr(get(port, "/metrics"), "outcome=\"ok\"} 1\n") != NULL); /* the logins */
  CHECK(strstr(get(port, "/readyz"), "HTTP/1.1 200 OK") == get(port, "/readyz"));
  CHECK(strstr(get(port, "/status.json"), "\"health\":\"ok\"") != NULL);
  CHECK(log_lines == 0);

  hsmux_metrics_stop(metrics);
  CHECK(get(port, "/readyz")[0] == '\0');
  hsmux_metrics_stop(NULL);
  CHECK(hsmux_close(engine, 0) == HSMUX_OK);
  hsmux_metrics_free(metrics);
  hsmux_metrics_free(NULL);
  if (failures == 0) printf("all well\n");
  return failures == 0 ? 0 : 1;
}
