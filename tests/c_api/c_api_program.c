/* Uses the C ABI as a C programmer would: argv[1] is a configuration with two slots. Exit status 0 when all is as it
 * should be. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/hsmux.h"

#include "tests/c_api/check.h"

static const uint8_t kMessage[] = "an event to be signed";
static volatile int log_lines = 0, events = 0, visits = 0;

static void on_log(void* context, hsmux_log_level level, const char* text) {
  CHECK(context == &failures);
  CHECK(level >= HSMUX_DEBUG && level <= HSMUX_ERROR);
  CHECK(text != NULL && text[0] != '\0');
  ++log_lines;
}

static void on_event(void* context, const hsmux_event* event) {
  CHECK(context == &failures);
  CHECK(event->struct_size == sizeof *event);
  CHECK(event->slot != NULL && event->call != NULL && event->algorithm != NULL);
  ++events;
}

static void on_key(void* context, const hsmux_key_info* info) {
  CHECK(context != NULL);
  CHECK(info->id[0] != '\0');
  ++visits;
}

/* What a completion brought, for the thread that waits for it. */
typedef struct waited {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int calls, bad;
  hsmux_status status;
  uint8_t result[4096];
  size_t result_bytes;
  char label[304];
  int told;
  hsmux_request_story story;
} waited;

static void begin(waited* w) {
  memset(w, 0, sizeof *w);
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, NULL);
}

static void wait_for(waited* w, int calls) {
  pthread_mutex_lock(&w->mutex);
  while (w->calls < calls) pthread_cond_wait(&w->changed, &w->mutex);
  pthread_mutex_unlock(&w->mutex);
}

static void on_completion(void* context, hsmux_status status, const uint8_t* result, size_t result_bytes,
                          const hsmux_key_info* info, const hsmux_error* error) {
  waited* w = context;
  pthread_mutex_lock(&w->mutex);
  ++w->calls;
  w->status = status;
  if (error == NULL || error->status != (int32_t)status) ++w->bad;
  if (result_bytes <= sizeof w->result && result_bytes > 0) memcpy(w->result, result, result_bytes);
  w->result_bytes = result_bytes;
  if (info != NULL) memcpy(w->label, info->label, sizeof w->label);
  HSMUX_INIT(&w->story);
  w->told = hsmux_story(&w->story) == HSMUX_OK;
  pthread_cond_signal(&w->changed);
  pthread_mutex_unlock(&w->mutex);
}

static void on_batch(void* context, size_t index, hsmux_status status, const uint8_t* result, size_t result_bytes,
                     const hsmux_error* error) {
  waited* w = context;
  pthread_mutex_lock(&w->mutex);
  ++w->calls;
  if (status != HSMUX_OK || error->status != HSMUX_OK || index >= 10 || result == NULL || result_bytes < 60) ++w->bad;
  pthread_cond_signal(&w->changed);
  pthread_mutex_unlock(&w->mutex);
}

static hsmux_engine* open_engine(const char* config) {
  hsmux_open_options options;
  hsmux_error error;
  hsmux_engine* engine = NULL;
  HSMUX_INIT(&options);
  HSMUX_INIT(&error);
  options.config_path = config;
  options.set_module_environment = 1;
  options.log = on_log;
  options.log_context = &failures;
  options.event = on_event;
  options.event_context = &failures;
  if (hsmux_open(&options, &engine, &error) != HSMUX_OK) {
    fprintf(stderr, "open: %s\n", error.message);
    exit(1);
  }
  CHECK(error.status == HSMUX_OK);
  return engine;
}

static void generate(hsmux_engine* engine, const char* label, const char* algorithm) {
  hsmux_generate_request request;
  hsmux_key_info info;
  hsmux_error error;
  HSMUX_INIT(&request);
  HSMUX_INIT(&info);
  HSMUX_INIT(&error);
  request.label = label;
  request.algorithm = algorithm;
  request.slots = "all";
  CHECK(hsmux_key_generate(engine, &request, &info, &error) == HSMUX_OK);
  if (error.status != HSMUX_OK) fprintf(stderr, "generate: %s\n", error.message);
  CHECK(strcmp(info.label, label) == 0);
  CHECK(info.software_key == 0); /* by wrapping */
  CHECK(strchr(info.slots, ',') != NULL);
}

static void check_signing(hsmux_engine* engine) {
  hsmux_sign_request sign;
  hsmux_verify_request verify;
  hsmux_error error;
  uint8_t signature[128];
  size_t size = sizeof signature;
  HSMUX_INIT(&sign);
  HSMUX_INIT(&verify);
  HSMUX_INIT(&error);
  sign.key = verify.key = "c-sign";
  sign.algorithm = verify.algorithm = "ecdsa-p256-sha256";
  sign.data = verify.data = kMessage;
  sign.data_bytes = verify.data_bytes = sizeof kMessage;
  CHECK(hsmux_sign(engine, &sign, signature, &size, &error) == HSMUX_OK);
  CHECK(size >= 8 && size <= 72 && signature[0] == 0x30);
  verify.signature = signature;
  verify.signature_bytes = size;
  CHECK(hsmux_verify(engine, &verify, NULL) == HSMUX_OK);
  verify.data_bytes -= 1;
  CHECK(hsmux_verify(engine, &verify, &error) == HSMUX_SIGNATURE_INVALID);
  CHECK(error.status == HSMUX_SIGNATURE_INVALID && error.retryable == 0);

  sign.prehashed = 1; /* not 32 bytes */
  size = sizeof signature;
  CHECK(hsmux_sign(engine, &sign, signature, &size, &error) == HSMUX_INVALID_ARGUMENT);
  sign.data_bytes = 0;
  sign.data = NULL;
  sign.prehashed = 0;
  size = sizeof signature;
  CHECK(hsmux_sign(engine, &sign, signature, &size, NULL) == HSMUX_OK); /* nothing is a message too */

  size = 10;
  CHECK(hsmux_sign(engine, &sign, signature, &size, &error) == HSMUX_BUFFER_TOO_SMALL);
  CHECK(size == 72 && error.status == HSMUX_BUFFER_TOO_SMALL);
  size = 0;
  CHECK(hsmux_sign(engine, &sign, NULL, &size, NULL) == HSMUX_BUFFER_TOO_SMALL && size == 72);
  CHECK(hsmux_output_bytes_max("ecdsa-p256-sha256", HSMUX_SIGN, 1000) == 72);
  CHECK(hsmux_output_bytes_max("no-such", HSMUX_SIGN, 0) == 0);
}

static void check_cipher(hsmux_engine* engine, const char* key, const char* algorithm) {
  hsmux_cipher_request request;
  hsmux_error error;
  uint8_t sealed[1024], opened[1024];
  size_t sealed_size = sizeof sealed, opened_size = sizeof opened;
  HSMUX_INIT(&request);
  HSMUX_INIT(&error);
  request.key = key;
  request.algorithm = algorithm;
  request.data = kMessage;
  request.data_bytes = sizeof kMessage;
  CHECK(hsmux_encrypt(engine, &request, sealed, &sealed_size, &error) == HSMUX_OK);
  request.data = sealed;
  request.data_bytes = sealed_size;
  CHECK(hsmux_decrypt(engine, &request, opened, &opened_size, &error) == HSMUX_OK);
  CHECK(opened_size == sizeof kMessage && memcmp(opened, kMessage, opened_size) == 0);
  sealed[sealed_size - 1] ^= 1;
  opened_size = sizeof opened;
  CHECK(hsmux_decrypt(engine, &request, opened, &opened_size, &error) == HSMUX_DECRYPT_FAILED);
  CHECK(error.ck_rv == 0 && error.call[0] == '\0' && error.slot[0] == '\0' && error.retryable == 0);
}

static void check_keys(hsmux_engine* engine) {
  hsmux_key_info info;
  hsmux_error error;
  uint8_t spki[1024];
  size_t size = 5;
  int32_t exists = -1;
  HSMUX_INIT(&info);
  HSMUX_INIT(&error);
  CHECK(hsmux_key_find(engine, "c-sign", 0, &info, NULL) == HSMUX_OK);
  CHECK(info.signs == 1 && info.decrypts == 0 && info.agrees == 0 && info.sensitive == 1 && info.extractable == 0);
  CHECK(hsmux_key_public(engine, "c-sign", 0, spki, &size, &error) == HSMUX_BUFFER_TOO_SMALL && size == 91);
  size = sizeof spki;
  CHECK(hsmux_key_public(engine, "c-sign", 0, spki, &size, NULL) == HSMUX_OK && size == 91 && spki[0] == 0x30);
  CHECK(hsmux_key_public(engine, "c-aes", 0, spki, &size, &error) == HSMUX_KEY_UNUSABLE);
  visits = 0;
  CHECK(hsmux_keys_list(engine, NULL, 0, on_key, &failures, NULL) == HSMUX_OK && visits == 3);
  CHECK(hsmux_key_exists(engine, "c-sign", 0, &exists, NULL) == HSMUX_OK && exists == 1);
  CHECK(hsmux_key_exists(engine, "c-none", 0, &exists, NULL) == HSMUX_OK && exists == 0);
  CHECK(hsmux_key_find(engine, "c-none", 0, &info, &error) == HSMUX_KEY_NOT_FOUND);
  CHECK(strstr(error.message, "c-none") != NULL);
}

static void check_bad_arguments(hsmux_engine* engine) {
  struct {
    hsmux_sign_request request;
    uint64_t of_a_later_version;
  } larger;
  hsmux_sign_request sign;
  hsmux_error error;
  uint8_t out[128];
  size_t size = sizeof out;
  HSMUX_INIT(&error);
  HSMUX_INIT(&sign);
  sign.key = "c-sign";
  sign.algorithm = "ecdsa-p256-sha256";
  sign.data = kMessage;
  sign.data_bytes = sizeof kMessage;
  CHECK(hsmux_sign(NULL, &sign, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_sign(engine, NULL, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_sign(engine, &sign, out, NULL, &error) == HSMUX_INVALID_ARGUMENT);
  sign.timeout_ms = -1;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  sign.timeout_ms = 0;
  sign.algorithm = "rot13";
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "ecdsa-p256-sha256") != NULL);
  sign.algorithm = "aes-256-gcm";
  size = sizeof out;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) != HSMUX_OK);
  sign.algorithm = "ecdsa-p256-sha256";
  sign.slot = "nowhere";
  size = sizeof out;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  sign.slot = NULL;
  sign.struct_size = 0;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
  sign.struct_size = offsetof(hsmux_sign_request, prehashed); /* an older version's */
  size = sizeof out;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_OK);
  memset(&larger, 0, sizeof larger);
  larger.request = sign;
  larger.request.struct_size = sizeof larger;
  size = sizeof out;
  CHECK(hsmux_sign(engine, &larger.request, out, &size, &error) == HSMUX_OK);
  larger.of_a_later_version = 1;
  CHECK(hsmux_sign(engine, &larger.request, out, &size, &error) == HSMUX_INVALID_ARGUMENT);
}

static void check_bad_configuration(void) {
  hsmux_open_options options;
  hsmux_error error;
  hsmux_engine* engine = NULL;
  HSMUX_INIT(&options);
  HSMUX_INIT(&error);
  CHECK(hsmux_open(&options, &engine, &error) == HSMUX_INVALID_ARGUMENT && engine == NULL);
  CHECK(hsmux_open(NULL, &engine, &error) == HSMUX_INVALID_ARGUMENT);
  options.config_text = "[module.m]\npath = 7\n";
  CHECK(hsmux_open(&options, &engine, &error) == HSMUX_INVALID_CONFIG);
  CHECK(strstr(error.message, "configuration:2") != NULL);
  options.config_text = NULL;
  options.config_path = "/no/such/file.toml";
  CHECK(hsmux_open(&options, &engine, &error) == HSMUX_IO);
}

static void check_submitted_cryptography(hsmux_engine* engine) {
  hsmux_sign_request sign;
  hsmux_verify_request verify;
  hsmux_cipher_request cipher;
  hsmux_error error;
  hsmux_job job = 0;
  waited w;
  HSMUX_INIT(&error);
  HSMUX_INIT(&sign);
  sign.key = "c-sign";
  sign.algorithm = "ecdsa-p256-sha256";
  sign.data = kMessage;
  sign.data_bytes = sizeof kMessage;
  begin(&w);
  CHECK(hsmux_submit_sign(engine, &sign, on_completion, &w, &job, &error) == HSMUX_OK && job != 0);
  wait_for(&w, 1);
  CHECK(w.status == HSMUX_OK && w.bad == 0 && w.result_bytes > 60);
  CHECK(w.told && w.story.attempts == 1 && w.story.slot >= 0 && w.story.waited_ns < UINT64_C(60000000000));
  CHECK(hsmux_story(&w.story) == HSMUX_CONFLICT); /* not in a completion */
  CHECK(hsmux_cancel(engine, job, &error) == HSMUX_CONFLICT);
  HSMUX_INIT(&verify);
  verify.key = sign.key;
  verify.algorithm = sign.algorithm;
  verify.data = kMessage;
  verify.data_bytes = sizeof kMessage;
  verify.signature = w.result;
  verify.signature_bytes = w.result_bytes;
  CHECK(hsmux_submit_verify(engine, &verify, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 2);
  CHECK(w.status == HSMUX_OK && w.bad == 0);

  HSMUX_INIT(&cipher);
  cipher.key = "c-aes";
  cipher.algorithm = "aes-256-gcm";
  cipher.data = kMessage;
  cipher.data_bytes = sizeof kMessage;
  CHECK(hsmux_submit_encrypt(engine, &cipher, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 3);
  CHECK(w.status == HSMUX_OK && w.bad == 0);
  cipher.data = w.result;
  cipher.data_bytes = w.result_bytes;
  CHECK(hsmux_submit_decrypt(engine, &cipher, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 4);
  CHECK(w.status == HSMUX_OK && w.result_bytes == sizeof kMessage && memcmp(w.result, kMessage, sizeof kMessage) == 0);
  CHECK(hsmux_submit_random(engine, NULL, 0, 8, on_completion, &w, NULL, NULL) == HSMUX_OK);
  wait_for(&w, 5);
  CHECK(w.status == HSMUX_OK && w.result_bytes == 8);

  /* A mistake is told at once, and nothing is called. */
  sign.algorithm = "rot13";
  CHECK(hsmux_submit_sign(engine, &sign, on_completion, &w, &job, &error) == HSMUX_INVALID_ARGUMENT && job == 0);
  sign.algorithm = "ecdsa-p256-sha256";
  CHECK(hsmux_submit_sign(engine, &sign, NULL, &w, NULL, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_cancel(engine, 12345, &error) == HSMUX_CONFLICT);
  CHECK(w.calls == 5);
}

static void check_batch(hsmux_engine* engine) {
  hsmux_sign_request sign;
  const hsmux_sign_request* requests[10];
  hsmux_job jobs[10];
  hsmux_work_stats stats;
  hsmux_error error;
  uint8_t out[128];
  size_t size = sizeof out;
  waited w;
  size_t i;
  HSMUX_INIT(&error);
  HSMUX_INIT(&sign);
  sign.key = "c-sign";
  sign.algorithm = "ecdsa-p256-sha256";
  sign.data = kMessage;
  sign.data_bytes = sizeof kMessage;
  for (i = 0; i < 10; ++i) requests[i] = &sign;
  begin(&w);
  CHECK(hsmux_submit_sign_batch(engine, requests, 10, on_batch, &w, jobs, &error) == HSMUX_OK);
  wait_for(&w, 10);
  CHECK(w.bad == 0);
  requests[5] = NULL;
  CHECK(hsmux_submit_sign_batch(engine, requests, 10, on_batch, &w, NULL, &error) == HSMUX_INVALID_ARGUMENT);
  CHECK(w.calls == 10);
  HSMUX_INIT(&stats);
  CHECK(hsmux_work(engine, &stats, &error) == HSMUX_OK && stats.threads > 0 && stats.quarantined == 0);
  sign.hard = 1;
  CHECK(hsmux_sign(engine, &sign, out, &size, &error) == HSMUX_OK && size > 60);
}

static void check_submitted_key_management(hsmux_engine* engine) {
  hsmux_generate_request generate;
  hsmux_error error;
  waited w;
  HSMUX_INIT(&error);
  HSMUX_INIT(&generate);
  generate.label = "c-submitted";
  generate.algorithm = "aes-256-gcm";
  generate.software_key = 1;
  begin(&w);
  CHECK(hsmux_submit_key_generate(engine, &generate, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 1);
  CHECK(w.status == HSMUX_OK && strcmp(w.label, "c-submitted") == 0);
  memset(w.label, 0, sizeof w.label);
  CHECK(hsmux_submit_key_find(engine, "c-submitted", 0, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 2);
  CHECK(w.status == HSMUX_OK && strcmp(w.label, "c-submitted") == 0);
  visits = 0;
  CHECK(hsmux_submit_keys_list(engine, NULL, 0, on_key, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 3);
  CHECK(w.status == HSMUX_OK && visits == 4);
  CHECK(hsmux_submit_key_public(engine, "c-sign", 0, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 4);
  CHECK(w.status == HSMUX_OK && w.result_bytes == 91);
  CHECK(hsmux_submit_key_delete(engine, "c-submitted", 0, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 5);
  CHECK(w.status == HSMUX_OK);
  CHECK(hsmux_submit_key_find(engine, "c-submitted", 0, on_completion, &w, NULL, &error) == HSMUX_OK);
  wait_for(&w, 6);
  CHECK(w.status == HSMUX_KEY_NOT_FOUND && w.bad == 0);
}

static void count_slot(void* context, const hsmux_slot_report* report) {
  CHECK(report->name[0] != '\0');
  CHECK(strstr(report->algorithms, "ecdsa-p256-sha256") != NULL);
  CHECK(report->usable == 1 || report->state == HSMUX_SLOT_DRAINING);
  CHECK(report->sessions_opened == report->sessions_idle + report->sessions_leased + report->sessions_discarded);
  ++*(int*)context;
}

static void check_health(hsmux_engine* engine) {
  hsmux_health_report report;
  int slots = 0;
  HSMUX_INIT(&report);
  CHECK(hsmux_health(engine, &report, NULL) == HSMUX_OK);
  CHECK(report.level == HSMUX_HEALTH_OK && report.slots == 2 && report.slots_usable == 2 && report.reasons[0] == '\0');
  CHECK(hsmux_slot_drain(engine, "slot-0", 1, NULL) == HSMUX_OK);
  CHECK(hsmux_health(engine, &report, NULL) == HSMUX_OK);
  CHECK(report.level == HSMUX_HEALTH_DEGRADED && report.slots_usable == 1);
  CHECK(strstr(report.reasons, "slot-0 is draining") != NULL);
  CHECK(hsmux_slots(engine, count_slot, &slots, NULL) == HSMUX_OK && slots == 2);
  CHECK(hsmux_slot_drain(engine, "slot-0", 0, NULL) == HSMUX_OK);
  CHECK(hsmux_health(engine, NULL, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_slots(engine, NULL, NULL, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_slot_drain(engine, "nowhere", 1, NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(hsmux_slot_unlatch(engine, "nowhere", NULL) == HSMUX_INVALID_ARGUMENT);
  CHECK(strcmp(hsmux_health_level_name(HSMUX_HEALTH_DEGRADED), "degraded") == 0);
  CHECK(strcmp(hsmux_slot_state_name(HSMUX_SLOT_EJECTED), "ejected") == 0);
}

int main(int argc, char** argv) {
  hsmux_engine *engine, *second;
  uint8_t random[32] = {0}, zero[32] = {0};
  if (argc != 2) return 2;
  CHECK(hsmux_abi_version() == HSMUX_ABI_VERSION);
  CHECK(strcmp(hsmux_version(), "0.1.0") == 0);
  CHECK(strcmp(hsmux_status_name(HSMUX_KEY_NOT_FOUND), "key-not-found") == 0);
  check_bad_configuration();
  engine = open_engine(argv[1]);
  generate(engine, "c-sign", "ecdsa-p256-sha256");
  generate(engine, "c-rsa", "rsa-oaep-sha256");
  generate(engine, "c-aes", "aes-256-gcm");
  check_signing(engine);
  check_cipher(engine, "c-rsa", "rsa-oaep-sha256");
  check_cipher(engine, "c-aes", "aes-256-gcm");
  check_keys(engine);
  check_bad_arguments(engine);
  check_submitted_cryptography(engine);
  check_batch(engine);
  check_submitted_key_management(engine);
  CHECK(hsmux_random(engine, NULL, 0, random, sizeof random, NULL) == HSMUX_OK);
  CHECK(memcmp(random, zero, sizeof zero) != 0);
  check_health(engine);
  second = open_engine(argv[1]); /* two engines on one token */
  CHECK(hsmux_key_delete(second, "c-rsa", 0, NULL) == HSMUX_OK);
  CHECK(hsmux_key_delete(second, "c-sign", 0, NULL) == HSMUX_OK);
  CHECK(hsmux_key_delete(second, "c-aes", 0, NULL) == HSMUX_OK);
  CHECK(hsmux_close(second, INT64_MAX) == HSMUX_OK);
  CHECK(hsmux_close(engine, 1000) == HSMUX_OK);
  CHECK(hsmux_close(NULL, 0) == HSMUX_OK);
  CHECK(log_lines > 0); /* software keys are told */
  CHECK(events > 0);
  if (failures == 0) printf("all well\n");
  return failures == 0 ? 0 : 1;
}
