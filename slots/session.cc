#include "slots/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/disposition.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

// PKCS#11 takes non-const pointers for input that it does not change.
unsigned char* input(ByteView bytes) {
  static unsigned char empty = 0; // SoftHSM 2.6.1 takes a NULL input of length 0 for a missing argument
  return bytes.empty() ? &empty : const_cast<unsigned char*>(bytes.data());
}

CK_MECHANISM ck(const Mechanism& mechanism) { return {mechanism.type, mechanism.parameter, mechanism.parameter_bytes}; }

std::vector<CK_ATTRIBUTE> ck(const Template& list) {
  std::vector<CK_ATTRIBUTE> result;
  result.reserve(list.attributes().size());
  for (const Attribute& attribute : list.attributes()) {
    result.push_back({attribute.type, input(attribute.value), attribute.value.size()});
  }
  return result;
}

} // namespace

bool logged_in(unsigned long state) { return state == CKS_RW_USER_FUNCTIONS || state == CKS_RO_USER_FUNCTIONS; }

// May `name` be called at all? Not in a fork of the process that loaded the module, nor where the module has no such
// function.
Status Session::usable(Call name, bool present) const {
  if (module_->forked()) [[unlikely]] {
    return fail(ErrorKind::kForked, "this process is a fork of the one that opened the engine: open a new engine after "
                                    "exec(), PKCS#11 sessions do not survive fork()");
  }
  if (present) [[likely]]
    return {};
  Error error = make_error(ErrorKind::kUnsupported, fmt::format("module {} has no {} (NULL in its function list)",
                                                                module_->name(), call_name(name)));
  error.call = name;
  error.slot = *slot_name_;
  return fail(std::move(error));
}

template <class Function, class... Arguments>
Status Session::call(Call name, Function* function, Arguments... arguments) {
  HSMUX_CHECK(usable(name, function != nullptr));
  const TimePoint start = MonotonicClock::now();
  const CK_RV rv = function(arguments...);
  recorder_.note(name, rv, MonotonicClock::now() - start);
  if (rv != CKR_OK) [[unlikely]] {
    if (rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED) lost_ = true;
    return fail(call_error({name, rv}, *slot_name_));
  }
  return {};
}

Result<Session> Session::open(std::shared_ptr<const Module> module, unsigned long slot_id,
                              std::shared_ptr<const std::string> slot_name, bool read_write) {
  Session session(std::move(module), std::move(slot_name), CK_INVALID_HANDLE);
  const CK_FLAGS flags = CKF_SERIAL_SESSION | (read_write ? CKF_RW_SESSION : 0);
  CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
  const auto life = session.module_->use();
  // No application pointer and no callback: some modules refuse them.
  HSMUX_CHECK(session.call(Call::kOpenSession, session.module_->functions().C_OpenSession, CK_SLOT_ID{slot_id}, flags,
                           static_cast<void*>(nullptr), CK_NOTIFY{nullptr}, &handle));
  if (handle == CK_INVALID_HANDLE) {
    Error error = make_error(ErrorKind::kDevice, "C_OpenSession answered CKR_OK with an invalid handle", Retry::kLater);
    error.call = Call::kOpenSession;
    error.slot = *session.slot_name_;
    return fail(std::move(error));
  }
  session.handle_ = handle;
  session.module_->session_opened();
  return session;
}

Session::Session(Session&& other) noexcept
    : module_(std::move(other.module_)), slot_name_(std::move(other.slot_name_)),
      handle_(std::exchange(other.handle_, CK_INVALID_HANDLE)), suspect_(other.suspect_), lost_(other.lost_),
      login_expected_(other.login_expected_), before_operation_(std::move(other.before_operation_)),
      recorder_(other.recorder_), opened_(other.opened_) {}

Session& Session::operator=(Session&& other) noexcept {
  std::swap(module_, other.module_);
  std::swap(slot_name_, other.slot_name_);
  std::swap(handle_, other.handle_);
  std::swap(suspect_, other.suspect_);
  std::swap(lost_, other.lost_);
  std::swap(login_expected_, other.login_expected_);
  std::swap(before_operation_, other.before_operation_);
  std::swap(recorder_, other.recorder_);
  std::swap(opened_, other.opened_);
  return *this;
}

Session::~Session() {
  if (handle_ == CK_INVALID_HANDLE || module_->forked()) return;
  module_->functions().C_CloseSession(handle_);
  module_->session_gone();
}

void Session::abandon() {
  if (std::exchange(handle_, CK_INVALID_HANDLE) != CK_INVALID_HANDLE) module_->session_gone();
}

// What the module says it wrote cannot be more than there was room for.
Result<std::size_t> Session::checked_size(Call name, std::size_t written, std::size_t room) {
  if (written <= room) [[likely]]
    return written;
  suspect_ = true;
  Error error = make_error(ErrorKind::kDevice,
                           fmt::format("module {} claims that {} wrote {} bytes into a buffer of {}", module_->name(),
                                       call_name(name), written, room),
                           Retry::kElsewhere);
  error.call = name;
  error.slot = *slot_name_;
  return fail(std::move(error));
}

template <class Init, class Operation>
Result<std::size_t> Session::operate(Call init_name, Init* init, Call name, Operation* operation,
                                     const Mechanism& mechanism, ObjectHandle key, ByteView data,
                                     std::span<std::uint8_t> out) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  HSMUX_CHECK(usable(name, operation != nullptr)); // known before Init leaves an operation active
  HSMUX_CHECK(call(init_name, init, handle_, &ck_mechanism, key));
  if (before_operation_) [[unlikely]] {
    Status ready = before_operation_(*this);
    if (!ready) {
      suspect_ = true; // the operation is still active
      return fail(std::move(ready).error());
    }
  }
  CK_ULONG written = out.size();
  HSMUX_CHECK(call(name, operation, handle_, input(data), CK_ULONG{data.size()}, out.data(), &written));
  return checked_size(name, written, out.size());
}

Result<std::size_t> Session::sign(const Mechanism& mechanism, ObjectHandle key, ByteView data,
                                  std::span<std::uint8_t> out) {
  const CK_FUNCTION_LIST& f = module_->functions();
  return operate(Call::kSignInit, f.C_SignInit, Call::kSign, f.C_Sign, mechanism, key, data, out);
}

Result<std::size_t> Session::decrypt(const Mechanism& mechanism, ObjectHandle key, ByteView data,
                                     std::span<std::uint8_t> out) {
  const CK_FUNCTION_LIST& f = module_->functions();
  return operate(Call::kDecryptInit, f.C_DecryptInit, Call::kDecrypt, f.C_Decrypt, mechanism, key, data, out);
}

Result<std::size_t> Session::encrypt(const Mechanism& mechanism, ObjectHandle key, ByteView data,
                                     std::span<std::uint8_t> out) {
  const CK_FUNCTION_LIST& f = module_->functions();
  return operate(Call::kEncryptInit, f.C_EncryptInit, Call::kEncrypt, f.C_Encrypt, mechanism, key, data, out);
}

Result<std::vector<ObjectHandle>> Session::find(const Template& wanted) {
  const CK_FUNCTION_LIST& f = module_->functions();
  std::vector<CK_ATTRIBUTE> list = ck(wanted);
  HSMUX_CHECK(call(Call::kFindObjectsInit, f.C_FindObjectsInit, handle_, list.data(), CK_ULONG{list.size()}));

  std::vector<ObjectHandle> found;
  Status status;
  while (true) {
    std::array<CK_OBJECT_HANDLE, 64> batch{};
    CK_ULONG count = 0;
    status = call(Call::kFindObjects, f.C_FindObjects, handle_, batch.data(), CK_ULONG{batch.size()}, &count);
    if (!status || count == 0) break;
    found.insert(found.end(), batch.begin(), batch.begin() + std::min<std::size_t>(count, batch.size()));
    if (found.size() > kObjectsMax) {
      status = fail(ErrorKind::kDevice, fmt::format("more than {} objects fit one search", kObjectsMax));
      break;
    }
  }
  if (!status && disposition(status.error().status()).slot == SlotFate::kProbeAnchor) {
    suspect_ = true;
    return fail(std::move(status).error());
  }
  // Always ended: a search left active makes every later operation of the session fail.
  Status ended = call(Call::kFindObjectsFinal, f.C_FindObjectsFinal, handle_);
  if (!ended) suspect_ = true;
  if (!status) return fail(std::move(status).error());
  if (!ended) return fail(std::move(ended).error());
  if (found.empty() && login_expected_) {
    HSMUX_TRY(const unsigned long now, state());
    if (!logged_in(now)) {
      Error error = call_error({Call::kFindObjects, CKR_USER_NOT_LOGGED_IN}, *slot_name_);
      error.message = "C_FindObjects found nothing, and the token is not logged in any more";
      return fail(std::move(error));
    }
  }
  return found;
}

Result<std::vector<std::optional<Bytes>>> Session::attributes(ObjectHandle object,
                                                              std::span<const unsigned long> types) {
  constexpr CK_ULONG kValueBytesMax = 65'536;
  const CK_FUNCTION_LIST& f = module_->functions();
  std::vector<CK_ATTRIBUTE> list;
  list.reserve(types.size());
  for (const unsigned long type : types) list.push_back({type, nullptr, 0});

  // Both codes still fill in the other attributes (PKCS#11 5.7.5, C_GetAttributeValue).
  const auto partly_fine = [](const Error& error) {
    return error.rv == CKR_ATTRIBUTE_SENSITIVE || error.rv == CKR_ATTRIBUTE_TYPE_INVALID;
  };
  const auto read = [&]() -> Status {
    Status status = call(Call::kGetAttributeValue, f.C_GetAttributeValue, handle_, CK_OBJECT_HANDLE{object},
                         list.data(), CK_ULONG{list.size()});
    if (!status && partly_fine(status.error())) return {};
    return status;
  };

  HSMUX_CHECK(read());
  std::vector<std::optional<Bytes>> values(types.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].ulValueLen == CK_UNAVAILABLE_INFORMATION) continue;
    if (list[i].ulValueLen > kValueBytesMax) {
      return fail(ErrorKind::kDevice, fmt::format("attribute {:#x} is longer than {} bytes", types[i], kValueBytesMax));
    }
    values[i].emplace(list[i].ulValueLen);
    list[i].pValue = values[i]->data();
  }
  HSMUX_CHECK(read());
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!values[i]) continue;
    if (list[i].ulValueLen == CK_UNAVAILABLE_INFORMATION || list[i].ulValueLen > values[i]->size()) {
      values[i].reset();
    } else {
      values[i]->resize(list[i].ulValueLen);
    }
  }
  return values;
}

Result<KeyPairHandles> Session::generate_key_pair(const Mechanism& mechanism, const Template& public_key,
                                                  const Template& private_key) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  std::vector<CK_ATTRIBUTE> public_list = ck(public_key);
  std::vector<CK_ATTRIBUTE> private_list = ck(private_key);
  CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE;
  CK_OBJECT_HANDLE private_handle = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kGenerateKeyPair, module_->functions().C_GenerateKeyPair, handle_, &ck_mechanism,
                   public_list.data(), CK_ULONG{public_list.size()}, private_list.data(), CK_ULONG{private_list.size()},
                   &public_handle, &private_handle));
  return KeyPairHandles{public_handle, private_handle};
}

Result<ObjectHandle> Session::generate_key(const Mechanism& mechanism, const Template& key) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  std::vector<CK_ATTRIBUTE> list = ck(key);
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kGenerateKey, module_->functions().C_GenerateKey, handle_, &ck_mechanism, list.data(),
                   CK_ULONG{list.size()}, &handle));
  return handle;
}

Result<ObjectHandle> Session::create(const Template& object) {
  std::vector<CK_ATTRIBUTE> list = ck(object);
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kCreateObject, module_->functions().C_CreateObject, handle_, list.data(),
                   CK_ULONG{list.size()}, &handle));
  return handle;
}

Result<ObjectHandle> Session::copy(ObjectHandle object, const Template& changes) {
  std::vector<CK_ATTRIBUTE> list = ck(changes);
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kCopyObject, module_->functions().C_CopyObject, handle_, CK_OBJECT_HANDLE{object}, list.data(),
                   CK_ULONG{list.size()}, &handle));
  return handle;
}

Result<std::size_t> Session::wrap(const Mechanism& mechanism, ObjectHandle wrapping_key, ObjectHandle key,
                                  std::span<std::uint8_t> out) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  CK_ULONG written = out.size();
  HSMUX_CHECK(call(Call::kWrapKey, module_->functions().C_WrapKey, handle_, &ck_mechanism,
                   CK_OBJECT_HANDLE{wrapping_key}, CK_OBJECT_HANDLE{key}, out.data(), &written));
  return checked_size(Call::kWrapKey, written, out.size());
}

Result<ObjectHandle> Session::unwrap(const Mechanism& mechanism, ObjectHandle unwrapping_key, ByteView wrapped,
                                     const Template& key) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  std::vector<CK_ATTRIBUTE> list = ck(key);
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kUnwrapKey, module_->functions().C_UnwrapKey, handle_, &ck_mechanism,
                   CK_OBJECT_HANDLE{unwrapping_key}, input(wrapped), CK_ULONG{wrapped.size()}, list.data(),
                   CK_ULONG{list.size()}, &handle));
  return handle;
}

Status Session::set_attributes(ObjectHandle object, const Template& changes) {
  std::vector<CK_ATTRIBUTE> list = ck(changes);
  return call(Call::kSetAttributeValue, module_->functions().C_SetAttributeValue, handle_, CK_OBJECT_HANDLE{object},
              list.data(), CK_ULONG{list.size()});
}

// One call into the caller's buffer: attributes() would leave copies of the secret behind.
Result<std::size_t> Session::read_value(ObjectHandle object, std::span<std::uint8_t> out) {
  CK_ATTRIBUTE value{CKA_VALUE, out.data(), out.size()};
  HSMUX_CHECK(call(Call::kGetAttributeValue, module_->functions().C_GetAttributeValue, handle_,
                   CK_OBJECT_HANDLE{object}, &value, CK_ULONG{1}));
  if (value.ulValueLen <= out.size()) return value.ulValueLen;
  Error error =
      make_error(ErrorKind::kDevice, "the token answers CKR_OK and no value of a derived secret", Retry::kElsewhere);
  error.call = Call::kGetAttributeValue;
  error.slot = *slot_name_;
  return fail(std::move(error));
}

Result<std::size_t> Session::derive_secret(const Mechanism& mechanism, ObjectHandle base, const Template& key,
                                           std::span<std::uint8_t> out) {
  CK_MECHANISM ck_mechanism = ck(mechanism);
  std::vector<CK_ATTRIBUTE> list = ck(key);
  CK_OBJECT_HANDLE derived = CK_INVALID_HANDLE;
  HSMUX_CHECK(call(Call::kDeriveKey, module_->functions().C_DeriveKey, handle_, &ck_mechanism, CK_OBJECT_HANDLE{base},
                   list.data(), CK_ULONG{list.size()}, &derived));
  Result<std::size_t> read = read_value(derived, out);
  const Status destroyed = destroy(derived);
  if (!destroyed) suspect_ = true;
  if (read && !destroyed) return fail(destroyed.error());
  return read;
}

Status Session::destroy(ObjectHandle object) {
  return call(Call::kDestroyObject, module_->functions().C_DestroyObject, handle_, CK_OBJECT_HANDLE{object});
}

Status Session::random(std::span<std::uint8_t> out) {
  return call(Call::kGenerateRandom, module_->functions().C_GenerateRandom, handle_, out.data(), CK_ULONG{out.size()});
}

Status Session::login_as(unsigned long user, std::span<const char> pin) {
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(pin.data()));
  return call(Call::kLogin, module_->functions().C_Login, handle_, CK_USER_TYPE{user}, bytes, CK_ULONG{pin.size()});
}

Status Session::login_for_operation(std::span<const char> pin) { return login_as(CKU_CONTEXT_SPECIFIC, pin); }

Status Session::login_at_the_token() { return login({}); }

Status Session::login(std::span<const char> pin) {
  Status status = login_as(CKU_USER, pin);
  if (!status && status.error().rv == CKR_USER_ALREADY_LOGGED_IN) return {};
  return status;
}

Result<unsigned long> Session::state() {
  CK_SESSION_INFO info{};
  HSMUX_CHECK(call(Call::kGetSessionInfo, module_->functions().C_GetSessionInfo, handle_, &info));
  return info.state;
}

} // namespace hsmux
