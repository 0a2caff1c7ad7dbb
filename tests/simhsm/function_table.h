// The functions of PKCS#11 as data: one entry per function, in the order of CK_FUNCTION_LIST, then those of 3.0 that
// the simulator carries out; and what each does with the operation of its session.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "slots/pkcs11.h"

namespace hsmux::sim {

// What the first argument of a function is.
enum class Target { kNone, kSlot, kSession };

// clang-format off
#define HSMUX_PKCS11_FUNCTIONS(X)                                                                                     \
  X(C_Initialize, kNone) X(C_Finalize, kNone) X(C_GetInfo, kNone) X(C_GetFunctionList, kNone)                         \
  X(C_GetSlotList, kNone) X(C_GetSlotInfo, kSlot) X(C_GetTokenInfo, kSlot) X(C_GetMechanismList, kSlot)               \
  X(C_GetMechanismInfo, kSlot) X(C_InitToken, kSlot) X(C_InitPIN, kSession) X(C_SetPIN, kSession)                     \
  X(C_OpenSession, kSlot) X(C_CloseSession, kSession) X(C_CloseAllSessions, kSlot) X(C_GetSessionInfo, kSession)      \
  X(C_GetOperationState, kSession) X(C_SetOperationState, kSession) X(C_Login, kSession) X(C_Logout, kSession)        \
  X(C_CreateObject, kSession) X(C_CopyObject, kSession) X(C_DestroyObject, kSession) X(C_GetObjectSize, kSession)     \
  X(C_GetAttributeValue, kSession) X(C_SetAttributeValue, kSession) X(C_FindObjectsInit, kSession)                    \
  X(C_FindObjects, kSession) X(C_FindObjectsFinal, kSession) X(C_EncryptInit, kSession) X(C_Encrypt, kSession)        \
  X(C_EncryptUpdate, kSession) X(C_EncryptFinal, kSession) X(C_DecryptInit, kSession) X(C_Decrypt, kSession)          \
  X(C_DecryptUpdate, kSession) X(C_DecryptFinal, kSession) X(C_DigestInit, kSession) X(C_Digest, kSession)            \
  X(C_DigestUpdate, kSession) X(C_DigestKey, kSession) X(C_DigestFinal, kSession) X(C_SignInit, kSession)             \
  X(C_Sign, kSession) X(C_SignUpdate, kSession) X(C_SignFinal, kSession) X(C_SignRecoverInit, kSession)               \
  X(C_SignRecover, kSession) X(C_VerifyInit, kSession) X(C_Verify, kSession) X(C_VerifyUpdate, kSession)              \
  X(C_VerifyFinal, kSession) X(C_VerifyRecoverInit, kSession) X(C_VerifyRecover, kSession)                            \
  X(C_DigestEncryptUpdate, kSession) X(C_DecryptDigestUpdate, kSession) X(C_SignEncryptUpdate, kSession)              \
  X(C_DecryptVerifyUpdate, kSession) X(C_GenerateKey, kSession) X(C_GenerateKeyPair, kSession)                        \
  X(C_WrapKey, kSession) X(C_UnwrapKey, kSession) X(C_DeriveKey, kSession) X(C_SeedRandom, kSession)                  \
  X(C_GenerateRandom, kSession) X(C_GetFunctionStatus, kSession) X(C_CancelFunction, kSession)                        \
  X(C_WaitForSlotEvent, kNone)
// The other 22 functions that 3.0 added answer CKR_FUNCTION_NOT_SUPPORTED.
#define HSMUX_PKCS11_V3_FUNCTIONS(X) X(C_LoginUser, kSession) X(C_SessionCancel, kSession)
// clang-format on

enum class Function : std::size_t {
#define HSMUX_ENUMERATOR(name, target) name,
  HSMUX_PKCS11_FUNCTIONS(HSMUX_ENUMERATOR) HSMUX_PKCS11_V3_FUNCTIONS(HSMUX_ENUMERATOR)
#undef HSMUX_ENUMERATOR
};

constexpr std::array kFunctionNames = {
#define HSMUX_NAME(name, target) std::string_view(#name),
    HSMUX_PKCS11_FUNCTIONS(HSMUX_NAME) HSMUX_PKCS11_V3_FUNCTIONS(HSMUX_NAME)
#undef HSMUX_NAME
};

constexpr std::size_t kFunctions = kFunctionNames.size();
constexpr std::size_t kV3Functions = 2;
static_assert(sizeof(CK_FUNCTION_LIST) == (kFunctions - kV3Functions + 1) * sizeof(void*),
              "one entry per function of the list");

constexpr std::string_view name_of(Function function) { return kFunctionNames[static_cast<std::size_t>(function)]; }

constexpr std::optional<Function> function_named(std::string_view name) {
  for (std::size_t i = 0; i < kFunctions; ++i) {
    if (kFunctionNames[i] == name) return static_cast<Function>(i);
  }
  return std::nullopt;
}

// The operations that a session can have active, one of each kind at a time (PKCS#11 2.40, 5.6 to 5.13).
enum class OperationKind : std::uint8_t { kFind, kEncrypt, kDecrypt, kDigest, kSign, kVerify };
constexpr std::size_t kOperationKinds = 6;

enum class Step : std::uint8_t {
  kInit,    // begins the operation when it answers CKR_OK
  kOneShot, // ends it, unless the answer is CKR_BUFFER_TOO_SMALL or a size was asked for
  kUpdate,  // ends it when it fails
  kFinal,   // as kOneShot
};
struct OperationStep {
  OperationKind kind;
  Step step;
};

// What a function does with its session's operation; none for the rest.
constexpr std::optional<OperationStep> operation_step(Function function) {
  using enum Function;
  using enum OperationKind;
  switch (function) {
  case C_FindObjectsInit: return OperationStep{kFind, Step::kInit};
  case C_FindObjects: return OperationStep{kFind, Step::kUpdate};
  case C_FindObjectsFinal: return OperationStep{kFind, Step::kFinal};
  case C_EncryptInit: return OperationStep{kEncrypt, Step::kInit};
  case C_Encrypt: return OperationStep{kEncrypt, Step::kOneShot};
  case C_EncryptUpdate: return OperationStep{kEncrypt, Step::kUpdate};
  case C_EncryptFinal: return OperationStep{kEncrypt, Step::kFinal};
  case C_DecryptInit: return OperationStep{kDecrypt, Step::kInit};
  case C_Decrypt: return OperationStep{kDecrypt, Step::kOneShot};
  case C_DecryptUpdate: return OperationStep{kDecrypt, Step::kUpdate};
  case C_DecryptFinal: return OperationStep{kDecrypt, Step::kFinal};
  case C_DigestInit: return OperationStep{kDigest, Step::kInit};
  case C_Digest: return OperationStep{kDigest, Step::kOneShot};
  case C_DigestUpdate: return OperationStep{kDigest, Step::kUpdate};
  case C_DigestFinal: return OperationStep{kDigest, Step::kFinal};
  case C_SignInit: return OperationStep{kSign, Step::kInit};
  case C_Sign: return OperationStep{kSign, Step::kOneShot};
  case C_SignUpdate: return OperationStep{kSign, Step::kUpdate};
  case C_SignFinal: return OperationStep{kSign, Step::kFinal};
  case C_VerifyInit: return OperationStep{kVerify, Step::kInit};
  case C_Verify: return OperationStep{kVerify, Step::kOneShot};
  case C_VerifyUpdate: return OperationStep{kVerify, Step::kUpdate};
  case C_VerifyFinal: return OperationStep{kVerify, Step::kFinal};
  default: return std::nullopt;
  }
}

// The last call of an operation that gives something out: what faults of outputs are about.
constexpr bool has_output(Function function) {
  const std::optional<OperationStep> step = operation_step(function);
  if (!step || (step->step != Step::kOneShot && step->step != Step::kFinal)) return false;
  return step->kind != OperationKind::kFind && step->kind != OperationKind::kVerify;
}
// The functions whose failure ends an operation (PKCS#11 2.40, 5.2); a search goes on until its Final.
constexpr bool failure_ends_operation(Function function) {
  const std::optional<OperationStep> step = operation_step(function);
  return step && step->step != Step::kInit && function != Function::C_FindObjects;
}

} // namespace hsmux::sim
