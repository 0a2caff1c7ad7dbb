// One PKCS#11 session and whole operations on it (Init and the operation together). Owned by one holder at a time; may
// move between threads, but two threads never use one session at once (PKCS#11 6.7.4).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "slots/attribute.h"
#include "slots/flight_recorder.h"
#include "slots/module.h"
#include "slots/result.h"

namespace hsmux {

// CK_MECHANISM. The parameter outlives the whole operation: some modules read or write it again after Init.
struct Mechanism {
  unsigned long type = 0; // CKM_
  void* parameter = nullptr;
  std::size_t parameter_bytes = 0;
};

struct KeyPairHandles {
  ObjectHandle public_key;
  ObjectHandle private_key;
};

// Of a CKS_ state: is the user logged in?
bool logged_in(unsigned long state);

class Session {
public:
  // C_OpenSession. `slot_name` names the slot in errors.
  static Result<Session> open(std::shared_ptr<const Module> module, unsigned long slot_id,
                              std::shared_ptr<const std::string> slot_name, bool read_write);

  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session(); // C_CloseSession, exactly once; its answer is of no use to anybody

  // Forgets the handle without closing it: after a token lost all sessions it may have given the same value out again.
  void abandon();

  // Operations. `out` must hold the largest result that the algorithm can give: the size is never queried, since that
  // doubles the calls. They return the bytes written. Errors: as the disposition table says, naming the call.
  Result<std::size_t> sign(const Mechanism& mechanism, ObjectHandle key, ByteView data, std::span<std::uint8_t> out);
  Result<std::size_t> decrypt(const Mechanism& mechanism, ObjectHandle key, ByteView data, std::span<std::uint8_t> out);
  Result<std::size_t> encrypt(const Mechanism& mechanism, ObjectHandle key, ByteView data, std::span<std::uint8_t> out);

  // From now on a search that finds nothing asks whether the token is still logged in, and is
  // CKR_USER_NOT_LOGGED_IN where it is not: private objects are then hidden, not absent (PKCS#11 2.40, 6.7.2).
  void expect_login() { login_expected_ = true; }

  // All objects that fit, at most kObjectsMax (more is an error: the template is too wide).
  Result<std::vector<ObjectHandle>> find(const Template& wanted);
  // One value per type, nullopt where the object has none or does not reveal it. Values over 64 KiB are errors.
  Result<std::vector<std::optional<Bytes>>> attributes(ObjectHandle object, std::span<const unsigned long> types);

  Result<KeyPairHandles> generate_key_pair(const Mechanism& mechanism, const Template& public_key,
                                           const Template& private_key);
  Result<ObjectHandle> generate_key(const Mechanism& mechanism, const Template& key);
  Result<ObjectHandle> create(const Template& object);
  Result<ObjectHandle> copy(ObjectHandle object, const Template& changes); // C_CopyObject
  // C_DeriveKey, and the new object's CKA_VALUE into `out`: the bytes written. The object, which `key` makes one of the
  // session, is destroyed in any case; where the token does not do that, this is an error and the session suspect, so
  // that the object ends with it.
  Result<std::size_t> derive_secret(const Mechanism& mechanism, ObjectHandle base, const Template& key,
                                    std::span<std::uint8_t> out);
  // C_WrapKey. `out` must hold the longest wrapped key that can come: its size is not queried.
  Result<std::size_t> wrap(const Mechanism& mechanism, ObjectHandle wrapping_key, ObjectHandle key,
                           std::span<std::uint8_t> out);
  Result<ObjectHandle> unwrap(const Mechanism& mechanism, ObjectHandle unwrapping_key, ByteView wrapped,
                              const Template& key);                    // C_UnwrapKey
  Status set_attributes(ObjectHandle object, const Template& changes); // C_SetAttributeValue
  Status destroy(ObjectHandle object);
  Status random(std::span<std::uint8_t> out);

  // Runs between the Init of each operation and the operation itself, until it is set anew (empty: nothing): keys with
  // CKA_ALWAYS_AUTHENTICATE want a login there (PKCS#11 2.40, 5.6.6). What it fails with, the operation fails with.
  void set_before_operation(std::function<Status(Session&)> before) { before_operation_ = std::move(before); }
  // C_Login as CKU_CONTEXT_SPECIFIC, in there. Only slots/login.cc calls this.
  Status login_for_operation(std::span<const char> pin);
  // C_Login as CKU_USER without a PIN: it is entered at the HSM, and the call may wait for that.
  Status login_at_the_token();
  // C_Login as CKU_USER. CKR_USER_ALREADY_LOGGED_IN is success. Only slots/login.cc calls this: it counts the tries.
  Status login(std::span<const char> pin);
  // CKS_ of C_GetSessionInfo: also the cheapest question whether the session still exists.
  Result<unsigned long> state();

  // True after the module broke a rule in a way that leaves the session in doubt: it is not to be used again.
  [[nodiscard]] bool suspect() const { return suspect_; }
  // What it holds must not outlive its use, for instance an object that could not be destroyed, or a result of it was
  // wrong: it is closed.
  void distrust() { suspect_ = true; }
  // The module has said that the session does not exist any more: its session objects are gone with it.
  [[nodiscard]] bool lost() const { return lost_; }

  // Its last calls, for people (slots/flight_recorder.h).
  [[nodiscard]] std::string flight() const { return recorder_.text(opened_, MonotonicClock::now()); }

  static constexpr std::size_t kObjectsMax = 100'000;

private:
  Result<std::size_t> read_value(ObjectHandle object, std::span<std::uint8_t> out);
  Session(std::shared_ptr<const Module> module, std::shared_ptr<const std::string> slot_name, unsigned long handle)
      : module_(std::move(module)), slot_name_(std::move(slot_name)), handle_(handle) {}

  [[nodiscard]] Status usable(Call name, bool present) const;
  Result<std::size_t> checked_size(Call name, std::size_t written, std::size_t room);
  Status login_as(unsigned long user, std::span<const char> pin);
  template <class Function, class... Arguments> Status call(Call name, Function* function, Arguments... arguments);
  template <class Init, class Operation>
  Result<std::size_t> operate(Call init_name, Init* init, Call name, Operation* operation, const Mechanism& mechanism,
                              ObjectHandle key, ByteView data, std::span<std::uint8_t> out);

  std::shared_ptr<const Module> module_;
  std::shared_ptr<const std::string> slot_name_;
  unsigned long handle_ = 0; // 0 = closed or abandoned (CK_INVALID_HANDLE)
  bool suspect_ = false;
  bool lost_ = false;
  bool login_expected_ = false;
  std::function<Status(Session&)> before_operation_;
  FlightRecorder recorder_;
  TimePoint opened_ = MonotonicClock::now();
};

} // namespace hsmux
