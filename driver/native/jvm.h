// What JNI code of this library shares: threads of the engine in the JVM, the methods it is called back by, bytes in
// and out. Any thread, unless it says otherwise.
#pragma once

#include <jni.h>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/hsmux.h"

namespace hsmux::jvm {

// Methods of hsmux.Native that answers are given to. Set by JNI_OnLoad, read only after it.
struct Methods {
  jclass native = nullptr; // global reference
  jmethodID succeeded = nullptr, found = nullptr, failed = nullptr, log = nullptr;
};
const Methods& methods();
bool load(JavaVM* vm, JNIEnv* env);

// The JNI environment of this thread. A thread of the engine is attached at its first use, as a daemon, so that it
// never keeps the JVM from ending, and detached when it ends. nullptr: the JVM takes no thread any more.
JNIEnv* environment();

// Local references of a thread that never returns to Java would pile up: each answer has a frame of its own.
class Frame {
public:
  explicit Frame(JNIEnv* env) : env_(env), pushed_(env->PushLocalFrame(kReferences) == 0) {
    if (!pushed_) env->ExceptionClear();
  }
  ~Frame() {
    if (pushed_) env_->PopLocalFrame(nullptr);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

private:
  static constexpr jint kReferences = 16;
  JNIEnv* env_;
  bool pushed_;
};

// A new byte[]; nullptr (with no exception left behind) when the JVM is out of memory.
jbyteArray bytes(JNIEnv* env, const void* data, std::size_t size);
jbyteArray bytes(JNIEnv* env, std::string_view text);

// A copy of a byte[]: short ones without an allocation. Wiped at its end, since it may be a plaintext. Where the array
// is NULL, data() is nullptr and the size 0. One thread.
class Copy {
public:
  Copy(JNIEnv* env, jbyteArray array);
  ~Copy();
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  [[nodiscard]] const std::uint8_t* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  // Java gives names with a NUL at their end.
  [[nodiscard]] const char* text() const { return reinterpret_cast<const char*>(data_); }

private:
  static constexpr std::size_t kShort = 4096;
  std::array<std::uint8_t, kShort> short_;
  std::vector<std::uint8_t> long_;
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

// Gives `request` (a hsmux.Request) its answer. Called once for each.
void succeed(JNIEnv* env, jobject request, const std::uint8_t* result, std::size_t size);
void succeed(JNIEnv* env, jobject request, const hsmux_key_info& info);
void fail(JNIEnv* env, jobject request, hsmux_status status, const hsmux_error& error);

// hsmux_log_callback and hsmux_completion: `context` is the number of a log sink, or a global reference of a request.
void log(void* context, hsmux_log_level level, const char* text);
void complete(void* context, hsmux_status status, const uint8_t* result, size_t bytes, const hsmux_key_info* info,
              const hsmux_error* error);

} // namespace hsmux::jvm
