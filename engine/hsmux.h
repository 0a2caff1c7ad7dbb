/* hsmux for C and everything that can call C: keys by name, spread over the slots of several HSMs.
 *
 * Conventions
 *  1. Ownership never crosses the boundary: handles are opaque, every buffer and struct belongs to the caller, and what
 * a callback is given is valid until it returns.
 *  2. Every struct begins with struct_size, which the caller sets (HSMUX_INIT does). A smaller, older struct is
 * accepted: what it lacks counts as zero. A larger, newer one is accepted when all that this version does not know is
 * zero.
 *  3. Output buffers have an in/out length: the room in, the bytes written out. With too little room the answer is
 *     HSMUX_BUFFER_TOO_SMALL, the length says what is needed, and the HSM was not asked. hsmux_output_bytes_max tells
 * it in advance.
 *  4. Strings are UTF-8 and end with NUL. A NULL string means "not given"; a NULL pointer with a length of 0 is empty
 * data.
 *  5. Times are in milliseconds; 0 is the configuration's default; negative is an error. A blocking call works on its
 * caller's thread: its time-out bounds waiting and retries, not a call that the vendor's module is in the middle of.
 * For submitted work, and blocking calls with `hard`, it bounds that too.
 *  6. Every function may be called from any thread at any time, except on an engine that is being or has been closed.
 *  7. Functions return an hsmux_status; `error`, which may be NULL, gets the details. A failed call has changed
 * nothing, except where it says so. No C++ exception leaves a function.
 *  8. No callback runs inside the call that registered it, and none holds a lock of ours. A completion may submit and
 * cancel. Nothing else may be called from a callback: it would block a thread of the engine's.
 *  9. PINs are never passed here: the configuration says where they come from.
 */
#ifndef HSMUX_H
#define HSMUX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HSMUX_API __attribute__((visibility("default")))
#else
#define HSMUX_API
#endif

/* Grows when something that exists changes its meaning; additions do not change it. */
#define HSMUX_ABI_VERSION 1
HSMUX_API uint32_t hsmux_abi_version(void);
HSMUX_API const char* hsmux_version(void); /* "0.1.0" */

/* Zeroes a struct and sets its struct_size. */
#define HSMUX_INIT(pointer) (memset((pointer), 0, sizeof *(pointer)), (pointer)->struct_size = sizeof *(pointer))

typedef enum hsmux_status {
  HSMUX_OK = 0,
  HSMUX_INVALID_ARGUMENT = 1, /* the caller's input is wrong */
  HSMUX_INVALID_CONFIG = 2,   /* the message names file, line and key */
  HSMUX_KEY_NOT_FOUND = 3,
  HSMUX_KEY_AMBIGUOUS = 4,  /* the message lists the candidates */
  HSMUX_KEY_UNUSABLE = 5,   /* wrong type, purpose not permitted, replicas that differ */
  HSMUX_UNSUPPORTED = 6,    /* the token or this version does not do it */
  HSMUX_DECRYPT_FAILED = 7, /* deliberately without any detail */
  HSMUX_SIGNATURE_INVALID = 8,
  HSMUX_CREDENTIALS = 9, /* PIN wrong, locked, or withheld to save the token's tries */
  HSMUX_TIMEOUT = 10,
  HSMUX_OVERLOADED = 11,
  HSMUX_UNAVAILABLE = 12, /* slot, token or session lost */
  HSMUX_DEVICE = 13,      /* the HSM or its module failed */
  HSMUX_MODULE = 14,      /* the module cannot be loaded */
  HSMUX_FORKED = 15,      /* a child process uses its parent's engine */
  HSMUX_CLOSED = 16,
  HSMUX_INTERNAL = 17,
  HSMUX_CONFLICT = 18,
  HSMUX_IO = 19,
  HSMUX_CANCELLED = 20, /* submitted work, by hsmux_cancel */
  HSMUX_BUFFER_TOO_SMALL = 100
} hsmux_status;

/* "key-not-found"; never NULL. */
HSMUX_API const char* hsmux_status_name(hsmux_status status);

typedef struct hsmux_error {
  size_t struct_size;
  int32_t status;    /* hsmux_status */
  int32_t retryable; /* 1: the same request may succeed later or elsewhere */
  uint64_t ck_rv;    /* CK_RV of `call`; 0: no module call failed */
  char call[32];     /* "C_Sign", or empty */
  char slot[40];     /* configured slot name, or empty */
  char message[1024];
} hsmux_error;

typedef struct hsmux_engine hsmux_engine;

/* --- Opening and closing --- */

typedef enum hsmux_log_level { HSMUX_DEBUG = 0, HSMUX_INFO = 1, HSMUX_WARNING = 2, HSMUX_ERROR = 3 } hsmux_log_level;
typedef void (*hsmux_log_callback)(void* context, hsmux_log_level level, const char* text);

typedef struct hsmux_event {
  size_t struct_size;
  int32_t kind; /* in the order of EventKind in metrics/events.h */
  uint64_t ck_rv;
  uint64_t duration_ns; /* of the module's call, where one is concerned */
  const char* slot;     /* never NULL; empty when none */
  const char* call;
  const char* algorithm;
  const char* detail;    /* a name of a table where the kind says so, such as a slot's new health: "ejected" */
  const char* reason;    /* for people; never NULL */
  int32_t status;        /* hsmux_status: of operations, requests, retries and discarded sessions */
  uint64_t waited_ns;    /* of an operation: for its session */
  const char* operation; /* "sign", "decrypt", "encrypt" or empty; never NULL */
} hsmux_event;
typedef void (*hsmux_event_callback)(void* context, const hsmux_event* event);

typedef struct hsmux_open_options {
  size_t struct_size;
  const char* config_path;        /* either a TOML file, */
  const char* config_text;        /* or its text, */
  const char* config_folder;      /* with the folder that relative paths in it start from (default ".") */
  int32_t set_module_environment; /* 1: may call setenv(): only in a program without other threads yet */
  uint32_t slots_at_start_min;    /* how many slots must be ready; 0 = all */
  int64_t connect_timeout_ms;     /* 0 = 30 s */
  hsmux_log_callback log;
  void* log_context;
  hsmux_event_callback event;
  void* event_context;
  int32_t restart_modules; /* 1: may finalise a module and initialise it again when none of its tokens comes back
                              otherwise: only in a program whose other code does not use PKCS#11 */
} hsmux_open_options;

HSMUX_API hsmux_status hsmux_open(const hsmux_open_options* options, hsmux_engine** engine, hsmux_error* error);

/* Ends the engine and frees the handle (NULL is fine). Waiting requests end with HSMUX_CLOSED; running ones get
 * `timeout_ms` (0 = 5 s). HSMUX_TIMEOUT: the module holds some for longer; they and what they use are left behind, the
 * handle is gone all the same. What the module lets go later may still call `log` and `event`: their contexts must live
 * on then. No completion runs after that, but for one that takes
 * longer than a second itself. */
HSMUX_API hsmux_status hsmux_close(hsmux_engine* engine, int64_t timeout_ms);

/* --- Cryptography --- */
/* key: a label, "id:HEX" (CKA_ID), or an RFC 7512 URI. algorithm: a name of docs/algorithms.md, such as
 * "ecdsa-p256-sha256", "rsa-oaep-sha256", "aes-256-gcm". slot: only this slot; NULL = any that holds the key. */

typedef struct hsmux_sign_request {
  size_t struct_size;
  const char *key, *algorithm, *slot;
  int64_t timeout_ms;
  const uint8_t* data;
  size_t data_bytes;
  int32_t prehashed; /* 1: data is the digest */
  int32_t hard;      /* 1: done as if submitted and waited for: see convention 5. Of no effect where it is submitted */
} hsmux_sign_request;

typedef struct hsmux_verify_request { /* on this host, with the public key */
  size_t struct_size;
  const char *key, *algorithm, *slot;
  int64_t timeout_ms;
  const uint8_t* data;
  size_t data_bytes;
  int32_t prehashed;
  const uint8_t* signature;
  size_t signature_bytes;
} hsmux_verify_request;

typedef struct hsmux_cipher_request {
  size_t struct_size;
  const char *key, *algorithm, *slot;
  int64_t timeout_ms;
  const uint8_t* data; /* plaintext to encrypt; ciphertext or envelope to decrypt */
  size_t data_bytes;
  const uint8_t* aad; /* AES-GCM only */
  size_t aad_bytes;
  const uint8_t* bound_to; /* AES-GCM decryption: the CKA_ID in the envelope, where it is not the key's */
  size_t bound_to_bytes;
  int32_t hard; /* as of hsmux_sign_request */
} hsmux_cipher_request;

/* ECDSA signatures are DER. */
HSMUX_API hsmux_status hsmux_sign(hsmux_engine* engine, const hsmux_sign_request* request, uint8_t* out,
                                  size_t* out_bytes, hsmux_error* error);
HSMUX_API hsmux_status hsmux_verify(hsmux_engine* engine, const hsmux_verify_request* request, hsmux_error* error);
HSMUX_API hsmux_status hsmux_encrypt(hsmux_engine* engine, const hsmux_cipher_request* request, uint8_t* out,
                                     size_t* out_bytes, hsmux_error* error);
HSMUX_API hsmux_status hsmux_decrypt(hsmux_engine* engine, const hsmux_cipher_request* request, uint8_t* out,
                                     size_t* out_bytes, hsmux_error* error);
/* At most 65536 bytes from an HSM's generator. */
HSMUX_API hsmux_status hsmux_random(hsmux_engine* engine, const char* slot, int64_t timeout_ms, uint8_t* out,
                                    size_t out_bytes, hsmux_error* error);

typedef enum hsmux_operation { HSMUX_SIGN = 0, HSMUX_DECRYPT = 1, HSMUX_ENCRYPT = 2 } hsmux_operation;
/* Room that is always enough; 0 for an unknown algorithm or operation. */
HSMUX_API size_t hsmux_output_bytes_max(const char* algorithm, hsmux_operation operation, size_t input_bytes);

/* --- Keys --- */

typedef struct hsmux_key_info {
  size_t struct_size;
  char id[132]; /* hex of CKA_ID */
  char label[304];
  char kind[32]; /* "ec-p256", "rsa", "aes-256", or what else the token says */
  uint32_t bits;
  int32_t signs, decrypts, encrypts;
  int32_t sensitive, extractable;
  int32_t software_key; /* made on the host by this call: for development only */
  char slots[2112];     /* names of the slots that hold it, with commas */
  int32_t agrees;       /* decrypts by a key agreement (ecies-p256), and then by nothing else */
} hsmux_key_info;

typedef struct hsmux_generate_request {
  size_t struct_size;
  const char *label, *algorithm;
  uint32_t bits;        /* 0 = the algorithm's default */
  const char* slots;    /* "all", "quorum:N", or names with commas; NULL = the configuration's placement */
  int32_t software_key; /* 1: development only */
  int64_t timeout_ms;
} hsmux_generate_request;

HSMUX_API hsmux_status hsmux_key_generate(hsmux_engine* engine, const hsmux_generate_request* request,
                                          hsmux_key_info* info, hsmux_error* error);
HSMUX_API hsmux_status hsmux_key_find(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_key_info* info,
                                      hsmux_error* error);
/* Calls `visit` once per key, on this thread, after the listing is complete. label: NULL = all. */
typedef void (*hsmux_key_visitor)(void* context, const hsmux_key_info* info);
HSMUX_API hsmux_status hsmux_keys_list(hsmux_engine* engine, const char* label, int64_t timeout_ms,
                                       hsmux_key_visitor visit, void* context, hsmux_error* error);
/* DER SubjectPublicKeyInfo. */
HSMUX_API hsmux_status hsmux_key_public(hsmux_engine* engine, const char* key, int64_t timeout_ms, uint8_t* out,
                                        size_t* out_bytes, hsmux_error* error);
/* HSMUX_OK and *exists 0 or 1. */
HSMUX_API hsmux_status hsmux_key_exists(hsmux_engine* engine, const char* key, int64_t timeout_ms, int32_t* exists,
                                        hsmux_error* error);
/* Every replica. On failure the message says where the key remains. */
HSMUX_API hsmux_status hsmux_key_delete(hsmux_engine* engine, const char* key, int64_t timeout_ms, hsmux_error* error);

/* --- Health --- */
/* Answered from memory, never by a call of the module: as often as one likes. docs/health.md says what each means. */

typedef enum hsmux_health_level {
  HSMUX_HEALTH_OK = 0,       /* every slot takes requests */
  HSMUX_HEALTH_DEGRADED = 1, /* requests are served, but not by every slot */
  HSMUX_HEALTH_FAILED = 2,   /* no slot can serve; it may come back by itself, or when an operator acts */
  HSMUX_HEALTH_FATAL = 3     /* no slot can serve, and only a restart of the process cures that */
} hsmux_health_level;
/* "degraded"; never NULL. */
HSMUX_API const char* hsmux_health_level_name(hsmux_health_level level);

typedef struct hsmux_health_report {
  size_t struct_size;
  int32_t level;                /* hsmux_health_level */
  uint32_t slots, slots_usable; /* usable: takes requests, if need be as the last one */
  char reasons[4096];           /* why it is not ok: lines; cut at the end */
} hsmux_health_report;

typedef enum hsmux_slot_state {
  HSMUX_SLOT_HEALTHY = 0,
  HSMUX_SLOT_SUSPECT = 1,  /* failures of late: others are preferred until a canary has told */
  HSMUX_SLOT_EJECTED = 2,  /* not connected, or its canary fails: used only where no other is left */
  HSMUX_SLOT_PROBING = 3,  /* back again: gets few requests at first */
  HSMUX_SLOT_DRAINING = 4, /* an operator wants no requests there */
  HSMUX_SLOT_LATCHED = 5   /* a PIN was refused or withheld: an operator must act */
} hsmux_slot_state;
HSMUX_API const char* hsmux_slot_state_name(hsmux_slot_state state); /* "ejected"; never NULL */

/* One slot, as of now. Counters are since the engine was opened. */
typedef struct hsmux_slot_report {
  size_t struct_size;
  char name[64];
  int32_t state;     /* hsmux_slot_state */
  int32_t connected; /* logged in, its sessions usable */
  int32_t usable, needs_restart;
  uint64_t epoch; /* grows each time its sessions were lost */
  double weight;
  uint32_t sessions_idle, sessions_leased, sessions_quarantined; /* quarantined: the module does not return */
  uint32_t sessions_target_max, sessions_configured_max;         /* target: less where the token has no more */
  uint64_t sessions_opened, sessions_discarded;                  /* opened = idle + leased + discarded */
  uint32_t session_copies;
  uint32_t in_flight, concurrency; /* requests now, and at once at most */
  uint64_t overdue;                /* requests given up on since the module did not return in time */
  uint64_t wrong_results;          /* that the host found; none was released */
  char reason[1024];               /* why it is not healthy; empty when it is */
  char token_label[40], token_model[24], token_firmware[16], token_serial[24];
  char module_path[256];
  char algorithms[256]; /* that it carries out, with commas, of those that were tried there */
} hsmux_slot_report;

HSMUX_API hsmux_status hsmux_health(hsmux_engine* engine, hsmux_health_report* report, hsmux_error* error);
/* Calls `visit` once per slot, in the order of the configuration, on this thread. */
typedef void (*hsmux_slot_visitor)(void* context, const hsmux_slot_report* report);
HSMUX_API hsmux_status hsmux_slots(hsmux_engine* engine, hsmux_slot_visitor visit, void* context, hsmux_error* error);

/* An operator says that the PIN of a slot is right now: one more try is made. */
HSMUX_API hsmux_status hsmux_slot_unlatch(hsmux_engine* engine, const char* slot, hsmux_error* error);
/* An operator wants no request on the slot (1), or again (0). What runs there ends; what waits for it alone is refused.
 */
HSMUX_API hsmux_status hsmux_slot_drain(hsmux_engine* engine, const char* slot, int32_t on, hsmux_error* error);

/* --- Asynchronous forms --- */
/* Inputs are copied before the call returns. On HSMUX_OK `done` runs exactly once, on a thread of the engine, never
 * inside the call; `result` is what the blocking form writes to its buffer (keys: the public key's DER for
 * hsmux_submit_key_public, NULL otherwise) and `info` the key concerned, or NULL. On any other answer `done` never
 * runs: what is wrong with the request, HSMUX_OVERLOADED (too many are submitted, or what waits already takes longer
 * than the time-out allows), HSMUX_CLOSED. `job` may be NULL. `done` should return soon. hsmux_close ends what is left
 * with HSMUX_CLOSED, after which `done` has run for all. A key made after its request ended is deleted. */
typedef void (*hsmux_completion)(void* context, hsmux_status status, const uint8_t* result, size_t result_bytes,
                                 const hsmux_key_info* info, const hsmux_error* error);
typedef uint64_t hsmux_job; /* 0 is none */

HSMUX_API hsmux_status hsmux_submit_sign(hsmux_engine* engine, const hsmux_sign_request* request, hsmux_completion done,
                                         void* context, hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_verify(hsmux_engine* engine, const hsmux_verify_request* request,
                                           hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_encrypt(hsmux_engine* engine, const hsmux_cipher_request* request,
                                            hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_decrypt(hsmux_engine* engine, const hsmux_cipher_request* request,
                                            hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_random(hsmux_engine* engine, const char* slot, int64_t timeout_ms, size_t bytes,
                                           hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_key_generate(hsmux_engine* engine, const hsmux_generate_request* request,
                                                 hsmux_completion done, void* context, hsmux_job* job,
                                                 hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_key_find(hsmux_engine* engine, const char* key, int64_t timeout_ms,
                                             hsmux_completion done, void* context, hsmux_job* job, hsmux_error* error);
/* `visit` runs once per key, before `done` and on its thread. */
HSMUX_API hsmux_status hsmux_submit_keys_list(hsmux_engine* engine, const char* label, int64_t timeout_ms,
                                              hsmux_key_visitor visit, hsmux_completion done, void* context,
                                              hsmux_job* job, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_key_public(hsmux_engine* engine, const char* key, int64_t timeout_ms,
                                               hsmux_completion done, void* context, hsmux_job* job,
                                               hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_key_delete(hsmux_engine* engine, const char* key, int64_t timeout_ms,
                                               hsmux_completion done, void* context, hsmux_job* job,
                                               hsmux_error* error);
/* Many at once: all are taken or none, and they start together. `done` runs once for each, with its place, on any
 * thread, several at once. `jobs`: room for `count`, or NULL. Encryption on this host (RSA-OAEP) is not done in
 * batches. */
typedef void (*hsmux_batch_completion)(void* context, size_t index, hsmux_status status, const uint8_t* result,
                                       size_t result_bytes, const hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_sign_batch(hsmux_engine* engine, const hsmux_sign_request* const* requests,
                                               size_t count, hsmux_batch_completion done, void* context,
                                               hsmux_job* jobs, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_encrypt_batch(hsmux_engine* engine, const hsmux_cipher_request* const* requests,
                                                  size_t count, hsmux_batch_completion done, void* context,
                                                  hsmux_job* jobs, hsmux_error* error);
HSMUX_API hsmux_status hsmux_submit_decrypt_batch(hsmux_engine* engine, const hsmux_cipher_request* const* requests,
                                                  size_t count, hsmux_batch_completion done, void* context,
                                                  hsmux_job* jobs, hsmux_error* error);

/* How a submitted signature, decryption or encryption went: for its completion to ask, on the thread that it runs on.
 * HSMUX_CONFLICT anywhere else. */
typedef struct hsmux_request_story {
  size_t struct_size;
  int32_t slot;       /* the last one that it was tried in, in the order of the configuration; -1: none */
  uint32_t attempts;  /* made */
  uint64_t waited_ns; /* for sessions, all attempts together */
} hsmux_request_story;
HSMUX_API hsmux_status hsmux_story(hsmux_request_story* story);

typedef struct hsmux_work_stats {
  size_t struct_size;
  uint64_t submitted;                  /* submitted and not ended */
  uint64_t waiting;                    /* requests, blocking ones too, that wait for a session */
  uint64_t threads, idle, quarantined; /* of the engine; quarantined: the module does not let them go */
} hsmux_work_stats;
HSMUX_API hsmux_status hsmux_work(hsmux_engine* engine, hsmux_work_stats* stats, hsmux_error* error);

/* What this version can do, whatever the slots can: `operations` has bit 1 << hsmux_operation for what a slot does. */
typedef void (*hsmux_algorithm_visitor)(void* context, const char* algorithm, uint32_t operations);
HSMUX_API void hsmux_algorithms(hsmux_algorithm_visitor visit, void* context);

/* The [metrics] section of the engine's configuration, for who serves metrics (metrics/hsmux_metrics.h). */
typedef struct hsmux_metrics_settings {
  size_t struct_size;
  int32_t wanted;   /* 1: the section is there */
  char address[72]; /* "127.0.0.1:9467"; the default where the section is not there */
  int32_t allow_remote, page, token_serial;
} hsmux_metrics_settings;
HSMUX_API hsmux_status hsmux_get_metrics_settings(hsmux_engine* engine, hsmux_metrics_settings* settings,
                                                  hsmux_error* error);

/* Cancels what has not started: its completion runs with HSMUX_CANCELLED. HSMUX_CONFLICT: it has started or ended. */
HSMUX_API hsmux_status hsmux_cancel(hsmux_engine* engine, hsmux_job job, hsmux_error* error);

#ifdef __cplusplus
}
#endif

#endif
