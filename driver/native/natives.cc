// The native methods of hsmux.Native, over the C ABI. None blocks, but for open and close, which Java calls on threads
// of its own.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "driver/native/jvm.h"

namespace hsmux::jvm {
namespace {

// Java keeps pointers as numbers.
template <class T> T* pointer_of(jlong number) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(number)); // NOLINT(performance-no-int-to-ptr)
}
hsmux_engine* engine_of(jlong handle) { return pointer_of<hsmux_engine>(handle); }

// `submit(context, error) -> hsmux_status`: the request is answered by its completion, or here where it is refused.
template <class Submit> void submit(JNIEnv* env, jobject request, Submit work) {
  jobject kept = env->NewGlobalRef(request);
  hsmux_error error;
  HSMUX_INIT(&error);
  const hsmux_status status = kept == nullptr ? HSMUX_INTERNAL : work(static_cast<void*>(kept), &error);
  if (status == HSMUX_OK) return;
  fail(env, request, status, error);
  if (kept != nullptr) env->DeleteGlobalRef(kept);
}

jlong open_engine(JNIEnv* env, jclass, jobject request, jbyteArray config_path, jbyteArray config_text,
                  jbyteArray config_folder, jint slots_at_start_min, jlong connect_timeout_ms, jlong log_sink) {
  const Copy path(env, config_path);
  const Copy text(env, config_text);
  const Copy folder(env, config_folder);
  hsmux_open_options options;
  HSMUX_INIT(&options);
  options.config_path = path.text();
  options.config_text = text.text();
  options.config_folder = folder.text();
  options.slots_at_start_min = static_cast<uint32_t>(slots_at_start_min);
  options.connect_timeout_ms = connect_timeout_ms;
  options.log = log;
  options.log_context = pointer_of<void>(log_sink);
  hsmux_engine* engine = nullptr;
  hsmux_error error;
  HSMUX_INIT(&error);
  const hsmux_status status = hsmux_open(&options, &engine, &error);
  if (status != HSMUX_OK) fail(env, request, status, error);
  return reinterpret_cast<jlong>(engine);
}

jint close_engine(JNIEnv*, jclass, jlong engine, jlong timeout_ms) {
  return hsmux_close(engine_of(engine), timeout_ms);
}

void submit_crypto(JNIEnv* env, jclass, jlong engine, jobject request, jint operation, jbyteArray key_name,
                   jbyteArray algorithm_name, jbyteArray input, jlong timeout_ms) {
  const Copy key(env, key_name);
  const Copy algorithm(env, algorithm_name);
  const Copy data(env, input);
  submit(env, request, [&](void* context, hsmux_error* error) {
    if (operation == HSMUX_SIGN) {
      hsmux_sign_request sign;
      HSMUX_INIT(&sign);
      sign.key = key.text();
      sign.algorithm = algorithm.text();
      sign.timeout_ms = timeout_ms;
      sign.data = data.data();
      sign.data_bytes = data.size();
      return hsmux_submit_sign(engine_of(engine), &sign, complete, context, nullptr, error);
    }
    hsmux_cipher_request cipher;
    HSMUX_INIT(&cipher);
    cipher.key = key.text();
    cipher.algorithm = algorithm.text();
    cipher.timeout_ms = timeout_ms;
    cipher.data = data.data();
    cipher.data_bytes = data.size();
    const auto call = operation == HSMUX_ENCRYPT ? hsmux_submit_encrypt : hsmux_submit_decrypt;
    return call(engine_of(engine), &cipher, complete, context, nullptr, error);
  });
}

void submit_generate(JNIEnv* env, jclass, jlong engine, jobject request, jbyteArray label_text,
                     jbyteArray algorithm_name, jint bits, jbyteArray slot_names, jlong timeout_ms) {
  const Copy label(env, label_text);
  const Copy algorithm(env, algorithm_name);
  const Copy slots(env, slot_names);
  hsmux_generate_request generate;
  HSMUX_INIT(&generate);
  generate.label = label.text();
  generate.algorithm = algorithm.text();
  generate.bits = static_cast<uint32_t>(bits);
  generate.slots = slots.text();
  generate.timeout_ms = timeout_ms;
  submit(env, request, [&](void* context, hsmux_error* error) {
    return hsmux_submit_key_generate(engine_of(engine), &generate, complete, context, nullptr, error);
  });
}

void submit_find(JNIEnv* env, jclass, jlong engine, jobject request, jbyteArray key_name, jlong timeout_ms) {
  const Copy key(env, key_name);
  submit(env, request, [&](void* context, hsmux_error* error) {
    return hsmux_submit_key_find(engine_of(engine), key.text(), timeout_ms, complete, context, nullptr, error);
  });
}

// Asks the tokens for the one key of a name: what the engine remembers is not enough where somebody else may have
// deleted it.
struct Listing {
  jobject request = nullptr; // global reference
  int keys = 0;
  hsmux_key_info first{};
};

void listed(void* context, const hsmux_key_info* info) {
  auto* listing = static_cast<Listing*>(context);
  if (listing->keys++ == 0) listing->first = *info;
}

void list_ended(void* context, hsmux_status status, const uint8_t*, size_t, const hsmux_key_info*,
                const hsmux_error* error) {
  const std::unique_ptr<Listing> listing(static_cast<Listing*>(context));
  JNIEnv* env = environment();
  if (env == nullptr) return;
  if (status != HSMUX_OK) {
    fail(env, listing->request, status, *error);
  } else if (listing->keys == 1) {
    succeed(env, listing->request, listing->first);
  } else {
    hsmux_error why;
    HSMUX_INIT(&why);
    const bool none = listing->keys == 0;
    std::string_view(none ? "no slot holds such a key" : "several keys have this name: name it by its id")
        .copy(static_cast<char*>(why.message), sizeof why.message - 1);
    fail(env, listing->request, none ? HSMUX_KEY_NOT_FOUND : HSMUX_KEY_AMBIGUOUS, why);
  }
  env->DeleteGlobalRef(listing->request);
}

void submit_look(JNIEnv* env, jclass, jlong engine, jobject request, jbyteArray key_name, jlong timeout_ms) {
  const Copy key(env, key_name);
  auto listing = std::make_unique<Listing>();
  listing->request = env->NewGlobalRef(request);
  hsmux_error error;
  HSMUX_INIT(&error);
  const hsmux_status status = listing->request == nullptr
                                  ? HSMUX_INTERNAL
                                  : hsmux_submit_keys_list(engine_of(engine), key.text(), timeout_ms, listed,
                                                           list_ended, listing.get(), nullptr, &error);
  if (status == HSMUX_OK) {
    (void)listing.release(); // list_ended has it
    return;
  }
  fail(env, request, status, error);
  if (listing->request != nullptr) env->DeleteGlobalRef(listing->request);
}

void submit_public(JNIEnv* env, jclass, jlong engine, jobject request, jbyteArray key_name, jlong timeout_ms) {
  const Copy key(env, key_name);
  submit(env, request, [&](void* context, hsmux_error* error) {
    return hsmux_submit_key_public(engine_of(engine), key.text(), timeout_ms, complete, context, nullptr, error);
  });
}

void submit_delete(JNIEnv* env, jclass, jlong engine, jobject request, jbyteArray key_name, jlong timeout_ms) {
  const Copy key(env, key_name);
  submit(env, request, [&](void* context, hsmux_error* error) {
    return hsmux_submit_key_delete(engine_of(engine), key.text(), timeout_ms, complete, context, nullptr, error);
  });
}

// Fields end with US (0x1f), rows with RS (0x1e): neither can be in a name.
class Rows {
public:
  void add(std::string_view field) { text_.append(field).append("\x1f"); }
  void end_row() { text_.append("\x1e"); }
  [[nodiscard]] const std::string& text() const { return text_; }

private:
  std::string text_;
};

jbyteArray slots(JNIEnv* env, jclass, jlong engine) {
  Rows rows;
  const auto visit = [](void* context, const hsmux_slot_report* report) {
    Rows& all = *static_cast<Rows*>(context);
    all.add(report->name);
    all.add(std::to_string(report->state));
    all.add(report->connected != 0 ? "1" : "0");
    all.add(report->usable != 0 ? "1" : "0");
    all.add(report->algorithms);
    all.add(report->reason);
    all.end_row();
  };
  if (hsmux_slots(engine_of(engine), visit, &rows, nullptr) != HSMUX_OK) return nullptr;
  return bytes(env, rows.text());
}

jbyteArray health(JNIEnv* env, jclass, jlong engine) {
  hsmux_health_report report;
  HSMUX_INIT(&report);
  if (hsmux_health(engine_of(engine), &report, nullptr) != HSMUX_OK) return nullptr;
  Rows rows;
  rows.add(std::to_string(report.level));
  rows.add(report.reasons);
  return bytes(env, rows.text());
}

jlongArray work(JNIEnv* env, jclass, jlong engine) {
  hsmux_work_stats stats;
  HSMUX_INIT(&stats);
  if (hsmux_work(engine_of(engine), &stats, nullptr) != HSMUX_OK) return nullptr;
  const std::array<jlong, 5> values{static_cast<jlong>(stats.submitted), static_cast<jlong>(stats.waiting),
                                    static_cast<jlong>(stats.threads), static_cast<jlong>(stats.idle),
                                    static_cast<jlong>(stats.quarantined)};
  jlongArray array = env->NewLongArray(values.size());
  if (array != nullptr) env->SetLongArrayRegion(array, 0, values.size(), values.data());
  return array;
}

// A PIN that is in the node's configuration reaches the engine as it reads all PINs: from a descriptor, once, into its
// locked memory. The descriptor is the caller's to close. -1: the PIN is too long, or there is no descriptor left.
jint lend_pin(JNIEnv* env, jclass, jbyteArray value) {
  const Copy pin(env, value);
  constexpr std::size_t kPinBytesMax = 256; // far below what a pipe takes without a reader
  std::array<int, 2> ends{};
  if (pin.size() == 0 || pin.size() > kPinBytesMax || ::pipe2(ends.data(), O_CLOEXEC) != 0) return -1;
  const bool written = ::write(ends[1], pin.data(), pin.size()) == static_cast<ssize_t>(pin.size());
  (void)::close(ends[1]);
  if (written) return ends[0];
  (void)::close(ends[0]);
  return -1;
}

void close_descriptor(JNIEnv*, jclass, jint descriptor) { (void)::close(descriptor); }

jstring version(JNIEnv* env, jclass) { return env->NewStringUTF(hsmux_version()); }

// JNI's own struct has no const.
JNINativeMethod method(const char* name, const char* signature, auto* function) {
  return {const_cast<char*>(name), const_cast<char*>(signature), reinterpret_cast<void*>(function)};
}

} // namespace
} // namespace hsmux::jvm

extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* vm, void*) {
  using namespace hsmux::jvm; // NOLINT(google-build-using-namespace)
  void* given = nullptr;
  if (vm->GetEnv(&given, JNI_VERSION_10) != JNI_OK) return JNI_ERR;
  auto* env = static_cast<JNIEnv*>(given);
  if (!load(vm, env)) return JNI_ERR;
  const std::array natives{
      method("open", "(Lhsmux/Request;[B[B[BIJJ)J", open_engine),
      method("close", "(JJ)I", close_engine),
      method("submitCrypto", "(JLhsmux/Request;I[B[B[BJ)V", submit_crypto),
      method("submitGenerate", "(JLhsmux/Request;[B[BI[BJ)V", submit_generate),
      method("submitFind", "(JLhsmux/Request;[BJ)V", submit_find),
      method("submitLook", "(JLhsmux/Request;[BJ)V", submit_look),
      method("submitPublic", "(JLhsmux/Request;[BJ)V", submit_public),
      method("submitDelete", "(JLhsmux/Request;[BJ)V", submit_delete),
      method("slots", "(J)[B", slots),
      method("health", "(J)[B", health),
      method("work", "(J)[J", work),
      method("lendPin", "([B)I", lend_pin),
      method("closeDescriptor", "(I)V", close_descriptor),
      method("version", "()Ljava/lang/String;", version),
  };
  if (env->RegisterNatives(methods().native, natives.data(), static_cast<jint>(natives.size())) != JNI_OK)
    return JNI_ERR;
  return JNI_VERSION_10;
}
