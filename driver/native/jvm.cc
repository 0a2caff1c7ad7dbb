#include "driver/native/jvm.h"

#include <openssl/crypto.h>
#include <pthread.h>

#include <cstring>

namespace hsmux::jvm {
namespace {

JavaVM* java_vm = nullptr; // set once, by JNI_OnLoad
Methods known;
pthread_key_t attached_threads; // of threads that this library attached: its destructor detaches them

void detach(void*) { java_vm->DetachCurrentThread(); }

// How the request went whose completion runs here; attempts are 0 where there is nothing to tell.
hsmux_request_story story() {
  hsmux_request_story told;
  HSMUX_INIT(&told);
  if (hsmux_story(&told) != HSMUX_OK) told.slot = -1;
  return told;
}

// What Java throws at us in an answer has nowhere to go.
void forget_exception(JNIEnv* env) {
  if (env->ExceptionCheck() == JNI_TRUE) env->ExceptionClear();
}

} // namespace

const Methods& methods() { return known; }

bool load(JavaVM* vm, JNIEnv* env) {
  java_vm = vm;
  if (pthread_key_create(&attached_threads, detach) != 0) return false;
  jclass found = env->FindClass("hsmux/Native");
  if (found == nullptr) return false;
  known.native = static_cast<jclass>(env->NewGlobalRef(found));
  env->DeleteLocalRef(found);
  if (known.native == nullptr) return false;
  known.succeeded = env->GetStaticMethodID(known.native, "succeeded", "(Lhsmux/Request;[BIIJ)V");
  if (known.succeeded == nullptr) return false;
  known.found = env->GetStaticMethodID(known.native, "found", "(Lhsmux/Request;[B[B[BII[B)V");
  if (known.found == nullptr) return false;
  known.failed = env->GetStaticMethodID(known.native, "failed", "(Lhsmux/Request;IZJ[B[B[BIIJ)V");
  if (known.failed == nullptr) return false;
  known.log = env->GetStaticMethodID(known.native, "log", "(JI[B)V");
  return known.log != nullptr;
}

JNIEnv* environment() {
  void* env = nullptr;
  const jint answer = java_vm->GetEnv(&env, JNI_VERSION_10);
  if (answer == JNI_OK) return static_cast<JNIEnv*>(env);
  if (answer != JNI_EDETACHED) return nullptr;
  std::array<char, 16> name{"hsmux-engine"};
  JavaVMAttachArgs arguments{.version = JNI_VERSION_10, .name = name.data(), .group = nullptr};
  if (java_vm->AttachCurrentThreadAsDaemon(&env, &arguments) != JNI_OK) return nullptr;
  (void)pthread_setspecific(attached_threads, env);
  return static_cast<JNIEnv*>(env);
}

jbyteArray bytes(JNIEnv* env, const void* data, std::size_t size) {
  jbyteArray array = env->NewByteArray(static_cast<jsize>(size));
  if (array == nullptr) {
    env->ExceptionClear();
    return nullptr;
  }
  if (size != 0) env->SetByteArrayRegion(array, 0, static_cast<jsize>(size), static_cast<const jbyte*>(data));
  return array;
}

jbyteArray bytes(JNIEnv* env, std::string_view text) { return bytes(env, text.data(), text.size()); }

Copy::Copy(JNIEnv* env, jbyteArray array) {
  if (array == nullptr) return;
  size_ = static_cast<std::size_t>(env->GetArrayLength(array));
  data_ = short_.data();
  if (size_ > kShort) {
    long_.resize(size_);
    data_ = long_.data();
  }
  if (size_ != 0) env->GetByteArrayRegion(array, 0, static_cast<jsize>(size_), reinterpret_cast<jbyte*>(data_));
}

Copy::~Copy() {
  if (size_ != 0) OPENSSL_cleanse(data_, size_);
}

void succeed(JNIEnv* env, jobject request, const std::uint8_t* result, std::size_t size) {
  const Frame frame(env);
  jbyteArray array = bytes(env, result, size);
  if (array == nullptr) {
    hsmux_error error;
    HSMUX_INIT(&error);
    return fail(env, request, HSMUX_INTERNAL, error);
  }
  const hsmux_request_story told = story();
  env->CallStaticVoidMethod(known.native, known.succeeded, request, array, static_cast<jint>(told.slot),
                            static_cast<jint>(told.attempts), static_cast<jlong>(told.waited_ns));
  forget_exception(env);
}

void succeed(JNIEnv* env, jobject request, const hsmux_key_info& info) {
  const Frame frame(env);
  const jint flags = (info.signs != 0 ? 1 : 0) | (info.decrypts != 0 ? 2 : 0) | (info.encrypts != 0 ? 4 : 0) |
                     (info.agrees != 0 ? 16 : 0) | (info.software_key != 0 ? 8 : 0);
  jbyteArray id = bytes(env, info.id);
  jbyteArray label = bytes(env, info.label);
  jbyteArray kind = bytes(env, info.kind);
  jbyteArray slots = bytes(env, info.slots);
  env->CallStaticVoidMethod(known.native, known.found, request, id, label, kind, static_cast<jint>(info.bits), flags,
                            slots);
  forget_exception(env);
}

void fail(JNIEnv* env, jobject request, hsmux_status status, const hsmux_error& error) {
  const Frame frame(env);
  jbyteArray call = bytes(env, error.call);
  jbyteArray slot = bytes(env, error.slot);
  jbyteArray message = bytes(env, error.message);
  const hsmux_request_story told = story();
  env->CallStaticVoidMethod(known.native, known.failed, request, static_cast<jint>(status),
                            static_cast<jboolean>(error.retryable != 0), static_cast<jlong>(error.ck_rv), call, slot,
                            message, static_cast<jint>(told.slot), static_cast<jint>(told.attempts),
                            static_cast<jlong>(told.waited_ns));
  forget_exception(env);
}

void log(void* context, hsmux_log_level level, const char* text) {
  JNIEnv* env = environment();
  if (env == nullptr) return;
  const Frame frame(env);
  jbyteArray line = bytes(env, text);
  if (line == nullptr) return;
  env->CallStaticVoidMethod(known.native, known.log, static_cast<jlong>(reinterpret_cast<std::uintptr_t>(context)),
                            static_cast<jint>(level), line);
  forget_exception(env);
}

void complete(void* context, hsmux_status status, const uint8_t* result, size_t bytes, const hsmux_key_info* info,
              const hsmux_error* error) {
  JNIEnv* env = environment();
  if (env == nullptr) return; // the JVM ends: nobody waits
  auto* request = static_cast<jobject>(context);
  if (status != HSMUX_OK) {
    fail(env, request, status, *error);
  } else if (info != nullptr) {
    succeed(env, request, *info);
  } else {
    succeed(env, request, result, bytes);
  }
  env->DeleteGlobalRef(request);
}

} // namespace hsmux::jvm
