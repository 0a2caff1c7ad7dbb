// An object that is to live no longer than its use: a session object, destroyed at the end. Where the token does not do
// that, its session is closed, and the object ends with it. The session must outlive it; one thread.
#pragma once

#include <utility>

#include "slots/session.h"

namespace hsmux {

class SessionObject {
public:
  SessionObject() = default;
  SessionObject(Session& session, ObjectHandle handle) : session_(&session), handle_(handle) {}
  SessionObject(SessionObject&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)), handle_(other.handle_) {}
  SessionObject& operator=(SessionObject&& other) noexcept {
    std::swap(session_, other.session_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~SessionObject() { (void)destroy(); }

  [[nodiscard]] ObjectHandle handle() const { return handle_; }
  // Where it matters that it is gone. Once; later calls do nothing.
  Status destroy() {
    Session* session = std::exchange(session_, nullptr);
    if (session == nullptr || session->lost()) return {};
    Status destroyed = session->destroy(handle_);
    if (!destroyed) session->distrust();
    return destroyed;
  }

private:
  Session* session_ = nullptr;
  ObjectHandle handle_ = 0;
};

} // namespace hsmux
