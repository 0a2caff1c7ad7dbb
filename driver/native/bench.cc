// For driver/bench: the engine without the JVM around it, many requests in flight at once, on a token that the JVM's
// other benchmarks work on in the same process.
#include <jni.h>

#include <semaphore>
#include <string>
#include <vector>

#include "engine/hsmux.h"

namespace {

constexpr std::ptrdiff_t kInFlightMax = 1024;
using InFlight = std::counting_semaphore<kInFlightMax>;

void done(void* context, hsmux_status status, const uint8_t*, size_t, const hsmux_key_info*, const hsmux_error*) {
  if (status != HSMUX_OK) std::abort();
  static_cast<InFlight*>(context)->release();
}

std::string text(JNIEnv* env, jstring string) {
  const char* chars = env->GetStringUTFChars(string, nullptr);
  std::string copy(chars);
  env->ReleaseStringUTFChars(string, chars);
  return copy;
}

} // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_hsmux_canton_bench_NativeEngine_open(JNIEnv* env, jclass, jstring config) {
  const std::string path = text(env, config);
  hsmux_open_options options;
  HSMUX_INIT(&options);
  options.config_path = path.c_str();
  hsmux_engine* engine = nullptr;
  hsmux_error error;
  HSMUX_INIT(&error);
  if (hsmux_open(&options, &engine, &error) != HSMUX_OK) {
    env->ThrowNew(env->FindClass("java/lang/IllegalStateException"), error.message);
  }
  return reinterpret_cast<jlong>(engine);
}

JNIEXPORT void JNICALL Java_hsmux_canton_bench_NativeEngine_sign(JNIEnv* env, jclass, jlong handle, jstring key_name,
                                                                 jint count, jint in_flight, jint data_bytes) {
  const std::string key = text(env, key_name);
  const std::vector<uint8_t> data(static_cast<std::size_t>(data_bytes), 1);
  InFlight room(in_flight);
  hsmux_sign_request request;
  HSMUX_INIT(&request);
  request.key = key.c_str();
  request.algorithm = "ecdsa-p256-sha256";
  request.data = data.data();
  request.data_bytes = data.size();
  auto* engine =
      reinterpret_cast<hsmux_engine*>(static_cast<std::uintptr_t>(handle)); // NOLINT(performance-no-int-to-ptr)
  for (jint i = 0; i < count; ++i) {
    room.acquire();
    if (hsmux_submit_sign(engine, &request, done, &room, nullptr, nullptr) != HSMUX_OK) std::abort();
  }
  for (jint i = 0; i < in_flight; ++i) room.acquire();
}

} // extern "C"
