#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

template <Function kFunction> constexpr OperationStep step_of() {
  static_assert(operation_step(kFunction).has_value());
  return *operation_step(kFunction);
}

ActiveOperation& operation(OperationKind kind) { return visit().session().operation(kind); }

// A null mechanism ends an active operation (PKCS#11 3.0, 5.8.1).
CK_RV begun(OperationKind kind, const CK_MECHANISM* mechanism, CK_RV rv) {
  if (rv == CKR_OK)
    operation(kind) = {.active = mechanism != nullptr, .mechanism = mechanism == nullptr ? 0 : mechanism->mechanism};
  return rv;
}

void check_not_active(Function function, OperationKind kind) {
  if (!operation(kind).known_active()) return;
  simulator().violation(Violation::kOperationActive, std::string(name_of(function)) + " while an operation is active");
}

template <Function kFunction, auto kMember>
CK_RV init_with_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  constexpr OperationKind kind = step_of<kFunction>().kind;
  if (mechanism != nullptr) check_not_active(kFunction, kind);
  check_object(key);
  return begun(kind, mechanism, (simulator().backend().*kMember)(session, mechanism, key));
}

CK_RV digest_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism) {
  if (mechanism != nullptr) check_not_active(Function::C_DigestInit, OperationKind::kDigest);
  return begun(OperationKind::kDigest, mechanism, simulator().backend().C_DigestInit(session, mechanism));
}

CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE* list, CK_ULONG count) {
  check_not_active(Function::C_FindObjectsInit, OperationKind::kFind);
  const CK_RV rv = simulator().backend().C_FindObjectsInit(session, list, count);
  if (rv == CKR_OK) operation(OperationKind::kFind) = {.active = true};
  return rv;
}

// What an answer means for the operation (PKCS#11 2.40, 5.2): a size query and CKR_BUFFER_TOO_SMALL let it go on.
template <Function kFunction> CK_RV followed(CK_RV rv, bool size_query = false) {
  constexpr OperationStep step = step_of<kFunction>();
  const bool ends = step.step == Step::kUpdate ? rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL
                                               : rv != CKR_BUFFER_TOO_SMALL && !(rv == CKR_OK && size_query);
  if (ends) operation(step.kind).active = false;
  return rv;
}

constexpr CK_ULONG kScratchBytes = 64UL << 10;

// Ends an operation in the backend: by a null mechanism where it knows that (PKCS#11 3.0), else by its last call.
bool end_in_backend(CK_SESSION_HANDLE session, OperationKind kind) {
  const CK_FUNCTION_LIST& backend = simulator().backend();
  std::vector<CK_BYTE> scratch(kScratchBytes);
  CK_ULONG bytes = scratch.size();
  using enum OperationKind;
  switch (kind) {
  case kFind: return backend.C_FindObjectsFinal(session) == CKR_OK;
  case kEncrypt:
    return backend.C_EncryptInit(session, nullptr, 0) == CKR_OK ||
           backend.C_EncryptFinal(session, scratch.data(), &bytes) != CKR_OPERATION_NOT_INITIALIZED;
  case kDecrypt:
    return backend.C_DecryptInit(session, nullptr, 0) == CKR_OK ||
           backend.C_DecryptFinal(session, scratch.data(), &bytes) != CKR_OPERATION_NOT_INITIALIZED;
  case kDigest:
    return backend.C_DigestInit(session, nullptr) == CKR_OK ||
           backend.C_DigestFinal(session, scratch.data(), &bytes) != CKR_OPERATION_NOT_INITIALIZED;
  case kSign:
    return backend.C_SignInit(session, nullptr, 0) == CKR_OK ||
           backend.C_SignFinal(session, scratch.data(), &bytes) != CKR_OPERATION_NOT_INITIALIZED;
  case kVerify:
    return backend.C_VerifyInit(session, nullptr, 0) == CKR_OK ||
           backend.C_VerifyFinal(session, scratch.data(), 1) != CKR_OPERATION_NOT_INITIALIZED;
  }
  return false;
}

void change_output(CK_BYTE* out, CK_ULONG capacity, CK_ULONG* bytes) {
  if (visit().fault(Action::kCorrupt) != nullptr && *bytes > 0) out[*bytes / 2] ^= 1;
  if (visit().fault(Action::kShort) != nullptr && *bytes > 0) --*bytes;
  if (visit().fault(Action::kOverlong) != nullptr) *bytes = capacity + 1;
}

// The last call of an operation, with its output: one-shot calls have inputs, final ones have none.
template <Function kFunction, auto kMember, typename... Inputs>
CK_RV with_output(CK_SESSION_HANDLE session, Inputs... inputs, CK_BYTE* out, CK_ULONG* out_bytes) {
  const auto call = [&](CK_BYTE* to, CK_ULONG* bytes) {
    return (simulator().backend().*kMember)(session, inputs..., to, bytes);
  };
  const bool hot =
      kFunction == Function::C_Sign || kFunction == Function::C_Encrypt || kFunction == Function::C_Decrypt;
  if (hot && out == nullptr) {
    simulator().violation(Violation::kSizeQuery, std::string(name_of(kFunction)) + " without a buffer (size query)");
  }
  if (const std::optional<CK_RV> instead = visit().answer_instead()) {
    // The last call with a buffer of our own: modules of 2.40 have no other way to end what was not begun in parts.
    std::vector<CK_BYTE> unseen(kScratchBytes);
    CK_ULONG bytes = unseen.size();
    if (call(unseen.data(), &bytes) == CKR_BUFFER_TOO_SMALL) {
      unseen.resize(bytes);
      call(unseen.data(), &bytes);
    }
    return followed<kFunction>(*instead);
  }
  if (out == nullptr || out_bytes == nullptr) return followed<kFunction>(call(out, out_bytes), out_bytes != nullptr);
  const CK_ULONG capacity = *out_bytes;
  const CK_RV rv = call(out, out_bytes);
  if (rv == CKR_OK) change_output(out, capacity, out_bytes);
  return followed<kFunction>(rv);
}

template <Function kFunction, auto kMember>
CK_RV one_shot(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  return with_output<kFunction, kMember, CK_BYTE*, CK_ULONG>(session, in, in_bytes, out, out_bytes);
}

template <Function kFunction, auto kMember> CK_RV final(CK_SESSION_HANDLE session, CK_BYTE* out, CK_ULONG* out_bytes) {
  return with_output<kFunction, kMember>(session, out, out_bytes);
}

// Everything else of an operation: updates, verification, the end of a search.
template <Function kFunction, auto kMember> struct Plain;
template <Function kFunction, typename... Args, CK_RV (*CK_FUNCTION_LIST::*kMember)(Args...)>
struct Plain<kFunction, kMember> {
  static CK_RV call(Args... args) {
    const std::optional<CK_RV> instead = visit().answer_instead();
    if (!instead) return followed<kFunction>((simulator().backend().*kMember)(args...));
    if constexpr (step_of<kFunction>().step == Step::kUpdate) {
      (void)end_in_backend(std::get<0>(std::tie(args...)), step_of<kFunction>().kind);
    } else {
      (void)(simulator().backend().*kMember)(args...);
    }
    return followed<kFunction>(*instead);
  }
};

} // namespace

// PKCS#11 3.0, 5.6.10.
CK_RV session_cancel(CK_SESSION_HANDLE session, CK_FLAGS flags) {
  struct Row {
    CK_FLAGS flag;
    OperationKind kind;
  };
  using enum OperationKind;
  constexpr CK_FLAGS kFindObjects = 0x40; // CKF_FIND_OBJECTS of 3.0
  bool all = true;
  for (const Row& row : {Row{CKF_ENCRYPT, kEncrypt}, Row{CKF_DECRYPT, kDecrypt}, Row{CKF_DIGEST, kDigest},
                         Row{CKF_SIGN, kSign}, Row{CKF_VERIFY, kVerify}, Row{kFindObjects, kFind}}) {
    if ((flags & row.flag) == 0 || !operation(row.kind).active) continue;
    operation(row.kind).active = !end_in_backend(session, row.kind);
    all = all && !operation(row.kind).active;
  }
  return all ? CKR_OK : CKR_OPERATION_CANCEL_FAILED;
}

void add_operation_work(CK_FUNCTION_LIST& work) {
#define HSMUX_INIT(name) work.name = init_with_key<Function::name, &CK_FUNCTION_LIST::name>
#define HSMUX_ONE_SHOT(name) work.name = one_shot<Function::name, &CK_FUNCTION_LIST::name>
#define HSMUX_FINAL(name) work.name = final<Function::name, &CK_FUNCTION_LIST::name>
#define HSMUX_PLAIN(name) work.name = Plain<Function::name, &CK_FUNCTION_LIST::name>::call
  HSMUX_INIT(C_EncryptInit);
  HSMUX_INIT(C_DecryptInit);
  HSMUX_INIT(C_SignInit);
  HSMUX_INIT(C_VerifyInit);
  work.C_DigestInit = digest_init;
  work.C_FindObjectsInit = find_init;
  HSMUX_ONE_SHOT(C_Encrypt);
  HSMUX_ONE_SHOT(C_Decrypt);
  HSMUX_ONE_SHOT(C_Digest);
  HSMUX_ONE_SHOT(C_Sign);
  HSMUX_FINAL(C_EncryptFinal);
  HSMUX_FINAL(C_DecryptFinal);
  HSMUX_FINAL(C_DigestFinal);
  HSMUX_FINAL(C_SignFinal);
  HSMUX_PLAIN(C_EncryptUpdate);
  HSMUX_PLAIN(C_DecryptUpdate);
  HSMUX_PLAIN(C_DigestUpdate);
  HSMUX_PLAIN(C_SignUpdate);
  HSMUX_PLAIN(C_VerifyUpdate);
  HSMUX_PLAIN(C_Verify);
  HSMUX_PLAIN(C_VerifyFinal);
  HSMUX_PLAIN(C_FindObjectsFinal);
#undef HSMUX_INIT
#undef HSMUX_ONE_SHOT
#undef HSMUX_FINAL
#undef HSMUX_PLAIN
}

} // namespace hsmux::sim
