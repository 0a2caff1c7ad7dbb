#include "slots/disposition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using enum ErrorKind;
using enum Retry;
using enum SessionFate;
using enum SlotFate;

// clang-format off
#define ROW(code, kind, retry, session, slot, advice) Disposition{code, #code, kind, retry, session, slot, advice}

// Ordered by code. The classes and the reasons for them are in docs/errors.md.
constexpr auto kTable = std::to_array<Disposition>({
  ROW(CKR_OK, kInternal, kNever, kKeep, kSuccess, ""),
  ROW(CKR_CANCEL, kDevice, kElsewhere, kDiscard, kFailure, "the token cancelled the operation"),
  ROW(CKR_HOST_MEMORY, kUnavailable, kElsewhere, kKeep, kBusy, "the module is out of memory on this host"),
  ROW(CKR_SLOT_ID_INVALID, kUnavailable, kElsewhere, kDiscard, kLost, "the slot is gone: the module no longer knows its id"),
  ROW(CKR_GENERAL_ERROR, kDevice, kElsewhere, kDiscard, kFailure, "the module reports an unspecific failure; its own log may say more"),
  ROW(CKR_FUNCTION_FAILED, kDevice, kElsewhere, kDiscard, kFailure, "the HSM could not carry out the call; its own log may say more"),
  ROW(CKR_ARGUMENTS_BAD, kInvalidArgument, kNever, kKeep, kNothing, "the module refuses the arguments of this call"),
  ROW(CKR_NO_EVENT, kInternal, kNever, kKeep, kNothing, ""),
  ROW(CKR_NEED_TO_CREATE_THREADS, kModule, kNever, kDiscard, kNothing, "the module must be allowed to create threads"),
  ROW(CKR_CANT_LOCK, kModule, kNever, kDiscard, kNothing, "the module cannot lock for several threads and cannot be used"),
  ROW(CKR_ATTRIBUTE_READ_ONLY, kInvalidArgument, kNever, kKeep, kNothing, "the token does not let this attribute be set"),
  ROW(CKR_ATTRIBUTE_SENSITIVE, kKeyUnusable, kNever, kKeep, kNothing, "the attribute is sensitive and is never revealed"),
  ROW(CKR_ATTRIBUTE_TYPE_INVALID, kUnsupported, kNever, kKeep, kNothing, "the token does not know this attribute for this object"),
  ROW(CKR_ATTRIBUTE_VALUE_INVALID, kInvalidArgument, kNever, kKeep, kNothing, "the token refuses the value of an attribute"),
  ROW(CKR_ACTION_PROHIBITED, kKeyUnusable, kNever, kKeep, kNothing, "the token's policy or the object forbids this"),
  ROW(CKR_DATA_INVALID, kInvalidArgument, kNever, kKeep, kNothing, "the input does not fit the algorithm"),
  ROW(CKR_DATA_LEN_RANGE, kInvalidArgument, kNever, kKeep, kNothing, "the input's length does not fit the algorithm or the token's limit"),
  ROW(CKR_DEVICE_ERROR, kDevice, kElsewhere, kDiscard, kFailure, "the HSM reports a fault or throttles"),
  ROW(CKR_DEVICE_MEMORY, kUnavailable, kElsewhere, kKeep, kBusy, "the HSM is out of memory: fewer sessions or objects help"),
  ROW(CKR_DEVICE_REMOVED, kUnavailable, kElsewhere, kDiscard, kLost, "the token was removed"),
  ROW(CKR_ENCRYPTED_DATA_INVALID, kInvalidArgument, kNever, kKeep, kNothing, "the ciphertext is not valid"),
  ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, kInvalidArgument, kNever, kKeep, kNothing, "the ciphertext's length is not valid"),
  ROW(CKR_AEAD_DECRYPT_FAILED, kInvalidArgument, kNever, kKeep, kNothing, "the ciphertext is not authentic"),
  ROW(CKR_FUNCTION_CANCELED, kDevice, kElsewhere, kDiscard, kFailure, "the token cancelled the operation"),
  ROW(CKR_FUNCTION_NOT_PARALLEL, kInternal, kNever, kDiscard, kNothing, "a legacy answer that no current function gives"),
  ROW(CKR_FUNCTION_NOT_SUPPORTED, kUnsupported, kNever, kKeep, kNothing, "the module does not have this function"),
  ROW(CKR_KEY_HANDLE_INVALID, kKeyNotFound, kElsewhere, kKeep, kNothing, "the key's handle is stale: the key was deleted or the session's login changed"),
  ROW(CKR_KEY_SIZE_RANGE, kKeyUnusable, kNever, kKeep, kNothing, "the key's size does not fit the mechanism or the token"),
  ROW(CKR_KEY_TYPE_INCONSISTENT, kKeyUnusable, kNever, kKeep, kNothing, "the key's type does not fit the mechanism"),
  ROW(CKR_KEY_NOT_NEEDED, kInvalidArgument, kNever, kKeep, kNothing, ""),
  ROW(CKR_KEY_CHANGED, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_KEY_NEEDED, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_KEY_INDIGESTIBLE, kKeyUnusable, kNever, kKeep, kNothing, "the token does not digest this key"),
  ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, kKeyUnusable, kNever, kKeep, kNothing, "the key's attributes do not permit this operation"),
  ROW(CKR_KEY_NOT_WRAPPABLE, kKeyUnusable, kNever, kKeep, kNothing, "the token does not wrap keys of this kind"),
  ROW(CKR_KEY_UNEXTRACTABLE, kKeyUnusable, kNever, kKeep, kNothing, "the key is not extractable and cannot be wrapped"),
  ROW(CKR_MECHANISM_INVALID, kUnsupported, kNever, kKeep, kNothing, "the token does not carry out this mechanism"),
  ROW(CKR_MECHANISM_PARAM_INVALID, kUnsupported, kNever, kKeep, kNothing, "the token refuses the mechanism's parameters"),
  ROW(CKR_OBJECT_HANDLE_INVALID, kKeyNotFound, kElsewhere, kKeep, kNothing, "the object's handle is stale: the object was deleted or the login changed"),
  ROW(CKR_OPERATION_ACTIVE, kDevice, kElsewhere, kDiscard, kNothing, "the session was still busy with an earlier operation"),
  ROW(CKR_OPERATION_NOT_INITIALIZED, kDevice, kElsewhere, kDiscard, kNothing, "the session lost the operation that was begun"),
  ROW(CKR_PIN_INCORRECT, kCredentials, kNever, kDiscard, kLatch, "the PIN is wrong; no further try is made in this process, since tries are few"),
  ROW(CKR_PIN_INVALID, kCredentials, kNever, kDiscard, kLatch, "the PIN has characters that the token does not allow"),
  ROW(CKR_PIN_LEN_RANGE, kCredentials, kNever, kDiscard, kLatch, "the PIN's length is outside of what the token allows"),
  ROW(CKR_PIN_EXPIRED, kCredentials, kNever, kDiscard, kLatch, "the PIN has expired and must be changed with the vendor's tool"),
  ROW(CKR_PIN_LOCKED, kCredentials, kNever, kDiscard, kLatch, "the PIN is locked; the security officer must reset it"),
  ROW(CKR_SESSION_CLOSED, kUnavailable, kElsewhere, kDiscard, kProbeAnchor, "the session was closed during the call"),
  ROW(CKR_SESSION_COUNT, kUnavailable, kLater, kKeep, kBusy, "the token has no session left: lower sessions_max or close other programs"),
  ROW(CKR_SESSION_HANDLE_INVALID, kUnavailable, kElsewhere, kDiscard, kProbeAnchor, "the session is gone"),
  ROW(CKR_SESSION_PARALLEL_NOT_SUPPORTED, kInternal, kNever, kDiscard, kNothing, ""),
  ROW(CKR_SESSION_READ_ONLY, kInvalidConfig, kNever, kKeep, kNothing, "the session is read-only: set read_write = true for this slot"),
  ROW(CKR_SESSION_EXISTS, kUnavailable, kLater, kKeep, kNothing, "other sessions with the token are open"),
  ROW(CKR_SESSION_READ_ONLY_EXISTS, kUnavailable, kLater, kKeep, kNothing, "read-only sessions with the token are open"),
  ROW(CKR_SESSION_READ_WRITE_SO_EXISTS, kUnavailable, kLater, kKeep, kNothing, "the security officer is logged in"),
  ROW(CKR_SIGNATURE_INVALID, kSignatureInvalid, kNever, kKeep, kNothing, "the signature is not valid"),
  ROW(CKR_SIGNATURE_LEN_RANGE, kSignatureInvalid, kNever, kKeep, kNothing, "the signature's length is not valid"),
  ROW(CKR_TEMPLATE_INCOMPLETE, kUnsupported, kNever, kKeep, kNothing, "the token wants attributes that hsmux does not give"),
  ROW(CKR_TEMPLATE_INCONSISTENT, kUnsupported, kNever, kKeep, kNothing, "the token refuses this combination of attributes"),
  ROW(CKR_TOKEN_NOT_PRESENT, kUnavailable, kElsewhere, kDiscard, kLost, "no token is in the slot"),
  ROW(CKR_TOKEN_NOT_RECOGNIZED, kUnavailable, kElsewhere, kDiscard, kLost, "the module does not recognise the token"),
  ROW(CKR_TOKEN_WRITE_PROTECTED, kInvalidArgument, kNever, kKeep, kNothing, "the token is write-protected"),
  ROW(CKR_UNWRAPPING_KEY_HANDLE_INVALID, kKeyNotFound, kElsewhere, kKeep, kNothing, "the unwrapping key's handle is stale"),
  ROW(CKR_UNWRAPPING_KEY_SIZE_RANGE, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_USER_ALREADY_LOGGED_IN, kInternal, kNever, kKeep, kSuccess, ""),
  ROW(CKR_USER_NOT_LOGGED_IN, kUnavailable, kElsewhere, kDiscard, kLogin, "the login is gone"),
  ROW(CKR_USER_PIN_NOT_INITIALIZED, kCredentials, kNever, kDiscard, kLatch, "the token's user PIN has not been set"),
  ROW(CKR_USER_TYPE_INVALID, kCredentials, kNever, kDiscard, kLatch, "the token does not have this kind of user"),
  ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, kCredentials, kLater, kDiscard, kNothing, "another user is logged in to the token in this process"),
  ROW(CKR_USER_TOO_MANY_TYPES, kCredentials, kLater, kDiscard, kNothing, "other users are logged in to the token"),
  ROW(CKR_WRAPPED_KEY_INVALID, kInvalidArgument, kNever, kKeep, kNothing, "the wrapped key is not valid"),
  ROW(CKR_WRAPPED_KEY_LEN_RANGE, kInvalidArgument, kNever, kKeep, kNothing, "the wrapped key's length is not valid"),
  ROW(CKR_WRAPPING_KEY_HANDLE_INVALID, kKeyNotFound, kElsewhere, kKeep, kNothing, "the wrapping key's handle is stale"),
  ROW(CKR_WRAPPING_KEY_SIZE_RANGE, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_RANDOM_SEED_NOT_SUPPORTED, kUnsupported, kNever, kKeep, kNothing, ""),
  ROW(CKR_RANDOM_NO_RNG, kUnsupported, kNever, kKeep, kNothing, "the token has no random generator"),
  ROW(CKR_DOMAIN_PARAMS_INVALID, kUnsupported, kNever, kKeep, kNothing, "the token refuses the curve or domain parameters"),
  ROW(CKR_CURVE_NOT_SUPPORTED, kUnsupported, kNever, kKeep, kNothing, "the token does not know the curve"),
  ROW(CKR_BUFFER_TOO_SMALL, kInternal, kElsewhere, kDiscard, kNothing, "the result is longer than the algorithm allows"),
  ROW(CKR_SAVED_STATE_INVALID, kInternal, kNever, kDiscard, kNothing, ""),
  ROW(CKR_INFORMATION_SENSITIVE, kKeyUnusable, kNever, kKeep, kNothing, ""),
  ROW(CKR_STATE_UNSAVEABLE, kInternal, kNever, kDiscard, kNothing, ""),
  ROW(CKR_CRYPTOKI_NOT_INITIALIZED, kUnavailable, kElsewhere, kDiscard, kModuleLost, "somebody finalised the module in this process"),
  ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, kInternal, kNever, kKeep, kNothing, ""),
  ROW(CKR_MUTEX_BAD, kModule, kNever, kDiscard, kFailure, ""),
  ROW(CKR_MUTEX_NOT_LOCKED, kModule, kNever, kDiscard, kFailure, ""),
  ROW(CKR_NEW_PIN_MODE, kCredentials, kNever, kDiscard, kLatch, ""),
  ROW(CKR_NEXT_OTP, kCredentials, kNever, kDiscard, kLatch, ""),
  ROW(CKR_EXCEEDED_MAX_ITERATIONS, kDevice, kElsewhere, kKeep, kNothing, ""),
  ROW(CKR_FIPS_SELF_TEST_FAILED, kDevice, kElsewhere, kDiscard, kLost, "the HSM failed its self-test"),
  ROW(CKR_LIBRARY_LOAD_FAILED, kModule, kNever, kDiscard, kFailure, "the module could not load a library that it needs"),
  ROW(CKR_PIN_TOO_WEAK, kCredentials, kNever, kKeep, kNothing, "the token wants a stronger PIN"),
  ROW(CKR_PUBLIC_KEY_INVALID, kInvalidArgument, kNever, kKeep, kNothing, "the public key is not valid"),
  ROW(CKR_FUNCTION_REJECTED, kKeyUnusable, kNever, kKeep, kNothing, "the token's user refused the operation"),
  ROW(CKR_TOKEN_RESOURCE_EXCEEDED, kUnavailable, kElsewhere, kKeep, kBusy, "the token is out of resources"),
  ROW(CKR_OPERATION_CANCEL_FAILED, kDevice, kElsewhere, kDiscard, kNothing, "the session could not be made usable again"),
  ROW(CKR_KEY_EXHAUSTED, kKeyUnusable, kNever, kKeep, kNothing, "the key may not be used any more: its uses are counted"),
  ROW(CKR_PENDING, kUnsupported, kNever, kDiscard, kNothing, "the token answers asynchronously, which hsmux does not support"),
  ROW(CKR_SESSION_ASYNC_NOT_SUPPORTED, kUnsupported, kNever, kKeep, kNothing, ""),
  ROW(CKR_SEED_RANDOM_REQUIRED, kDevice, kNever, kKeep, kNothing, "the token's random generator must be seeded by its operator"),
  ROW(CKR_OPERATION_NOT_VALIDATED, kUnsupported, kNever, kKeep, kNothing, "the token's validated mode forbids this operation"),
  ROW(CKR_TOKEN_NOT_INITIALIZED, kInvalidConfig, kNever, kDiscard, kNothing, "the token has not been initialised"),
  ROW(CKR_PARAMETER_SET_NOT_SUPPORTED, kUnsupported, kNever, kKeep, kNothing, ""),
  // The row for every other code: vendor codes and what later versions of the standard add.
  Disposition{CKR_VENDOR_DEFINED, "CKR_VENDOR_DEFINED", kDevice, kElsewhere, kDiscard, kFailure,
              "a code of the vendor's own: see the vendor's documentation"},
});
#undef ROW
// clang-format on

constexpr auto kOrder = [](const Disposition& a, const Disposition& b) { return a.rv < b.rv; };
constexpr auto kLookup = [] {
  auto sorted = kTable;
  std::sort(sorted.begin(), sorted.end(), kOrder);
  return sorted;
}();
static_assert(std::adjacent_find(kLookup.begin(), kLookup.end(), [](auto& a, auto& b) { return a.rv == b.rv; }) ==
                  kLookup.end(),
              "two rows for one CK_RV");
static_assert(kLookup.back().rv == CKR_VENDOR_DEFINED);

const Disposition& row(unsigned long rv) {
  const auto* found = std::lower_bound(kLookup.begin(), kLookup.end(), Disposition{rv, {}, {}, {}, {}, {}, {}}, kOrder);
  return found != kLookup.end() && found->rv == rv ? *found : kLookup.back();
}

bool is_operation(Call call) { return call == Call::kSign || call == Call::kDecrypt || call == Call::kEncrypt; }

// Unspecific codes that modules give for bad padding or a bad tag (SoftHSM 2.6.1: CKR_GENERAL_ERROR): only a canary
// can tell them from a failing HSM.
bool unspecific(unsigned long rv) { return rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED; }

// Codes that say of themselves that the data was wrong.
bool about_data(unsigned long rv) {
  switch (rv) {
  case CKR_DATA_INVALID:
  case CKR_DATA_LEN_RANGE:
  case CKR_ENCRYPTED_DATA_INVALID:
  case CKR_ENCRYPTED_DATA_LEN_RANGE:
  case CKR_AEAD_DECRYPT_FAILED:
  case CKR_ARGUMENTS_BAD:
  case CKR_SIGNATURE_INVALID:
  case CKR_SIGNATURE_LEN_RANGE: return true;
  default: return false;
  }
}

} // namespace

std::span<const Disposition> disposition_table() { return kLookup; }

bool caused_by_ciphertext(CallStatus status) {
  return status.call == Call::kDecrypt && (about_data(status.rv) || unspecific(status.rv));
}

Disposition disposition(CallStatus status) {
  Disposition result = row(status.rv);
  if (caused_by_ciphertext(status)) {
    result.kind = ErrorKind::kDecryptFailed;
    result.retry = Retry::kNever;
    result.session = SessionFate::kKeep; // the specification ends the operation
    result.slot = unspecific(status.rv) ? SlotFate::kCanary : SlotFate::kNothing;
    result.advice = "";
  }
  // The arguments of an operation are ours and were good enough for its Init: the session's state is in doubt
  // (SoftHSM 2.6.1 leaves the operation active).
  if (status.rv == CKR_ARGUMENTS_BAD && is_operation(status.call)) result.session = SessionFate::kDiscard;
  return result;
}

std::string rv_name(unsigned long rv) {
  const Disposition& found = row(rv);
  if (found.rv == rv) return std::string(found.name);
  if (rv >= CKR_VENDOR_DEFINED) return fmt::format("CKR_VENDOR_DEFINED+{:#x}", rv - CKR_VENDOR_DEFINED);
  return fmt::format("CK_RV {:#x}", rv);
}

} // namespace hsmux
