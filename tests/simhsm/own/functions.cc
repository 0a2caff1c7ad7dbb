#include "tests/simhsm/own/functions.h"

#include <openssl/err.h>

#include "tests/simhsm/own/hsm.h"
#include "tests/simhsm/own/machine.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

// OpenSSL's queue of errors belongs to the process that loaded us: what we add goes again.
class ErrorMark {
public:
  ErrorMark() { ERR_set_mark(); }
  ~ErrorMark() { ERR_pop_to_mark(); }
  ErrorMark(const ErrorMark&) = delete;
  ErrorMark& operator=(const ErrorMark&) = delete;
};

template <class Body> CK_RV guarded(Body body) noexcept {
  try {
    const ErrorMark mark;
    body();
    return CKR_OK;
  } catch (const Refusal& refusal) {
    return refusal.rv;
  } catch (const std::bad_alloc&) {
    return CKR_HOST_MEMORY;
  } catch (...) {
    return CKR_GENERAL_ERROR;
  }
}

// The C function of one of functions.h: one that needs no library, a library, or a session.
template <auto Body> struct Alone;
template <class... Arguments, void (*Body)(Arguments...)> struct Alone<Body> {
  static CK_RV call(Arguments... arguments) {
    return guarded([&] { Body(arguments...); });
  }
};

template <auto Body> struct Initialised;
template <class... Arguments, void (*Body)(Arguments...)> struct Initialised<Body> {
  static CK_RV call(Arguments... arguments) {
    return guarded([&] {
      require(Machine::get().initialised(), CKR_CRYPTOKI_NOT_INITIALIZED);
      Body(arguments...);
    });
  }
};

template <auto Body> struct InSession;
template <class... Arguments, void (*Body)(Session&, Arguments...)> struct InSession<Body> {
  static CK_RV call(CK_SESSION_HANDLE handle, Arguments... arguments) {
    return guarded([&] {
      require(Machine::get().initialised(), CKR_CRYPTOKI_NOT_INITIALIZED);
      const std::shared_ptr<Session> session = Machine::get().session(handle);
      Body(*session, arguments...);
    });
  }
};

// A function that only answers `Rv`; the list says with which arguments.
template <CK_RV Rv, class Function> struct Refused;
template <CK_RV Rv, class... Arguments> struct Refused<Rv, CK_RV (*)(CK_SESSION_HANDLE, Arguments...)> {
  static CK_RV call(CK_SESSION_HANDLE handle, Arguments...) {
    return guarded([&] {
      require(Machine::get().initialised(), CKR_CRYPTOKI_NOT_INITIALIZED);
      static_cast<void>(Machine::get().session(handle));
      refuse(Rv);
    });
  }
};
template <class Function> using Unsupported = Refused<CKR_FUNCTION_NOT_SUPPORTED, Function>;
template <class Function> using NotParallel = Refused<CKR_FUNCTION_NOT_PARALLEL, Function>;

CK_RV get_function_list(CK_FUNCTION_LIST** list) {
  if (list == nullptr) return CKR_ARGUMENTS_BAD;
  *list = const_cast<CK_FUNCTION_LIST*>(&functions()); // PKCS#11's type; nobody writes to it
  return CKR_OK;
}

// clang-format off
constexpr CK_FUNCTION_LIST kFunctions = {
    .version = {2, 40},
    .C_Initialize = Alone<initialize>::call,
    .C_Finalize = Initialised<finalize>::call,
    .C_GetInfo = Initialised<get_info>::call,
    .C_GetFunctionList = get_function_list,
    .C_GetSlotList = Initialised<get_slot_list>::call,
    .C_GetSlotInfo = Initialised<get_slot_info>::call,
    .C_GetTokenInfo = Initialised<get_token_info>::call,
    .C_GetMechanismList = Initialised<get_mechanism_list>::call,
    .C_GetMechanismInfo = Initialised<get_mechanism_info>::call,
    .C_InitToken = Initialised<init_token>::call,
    .C_InitPIN = InSession<init_pin>::call,
    .C_SetPIN = InSession<set_pin>::call,
    .C_OpenSession = Initialised<open_session>::call,
    .C_CloseSession = Initialised<close_session>::call,
    .C_CloseAllSessions = Initialised<close_all_sessions>::call,
    .C_GetSessionInfo = InSession<get_session_info>::call,
    .C_GetOperationState = Unsupported<CK_C_GetOperationState>::call,
    .C_SetOperationState = Unsupported<CK_C_SetOperationState>::call,
    .C_Login = InSession<login>::call,
    .C_Logout = InSession<logout>::call,
    .C_CreateObject = InSession<create_object>::call,
    .C_CopyObject = InSession<copy_object>::call,
    .C_DestroyObject = InSession<destroy_object>::call,
    .C_GetObjectSize = InSession<get_object_size>::call,
    .C_GetAttributeValue = InSession<get_attribute_value>::call,
    .C_SetAttributeValue = InSession<set_attribute_value>::call,
    .C_FindObjectsInit = InSession<find_objects_init>::call,
    .C_FindObjects = InSession<find_objects>::call,
    .C_FindObjectsFinal = InSession<find_objects_final>::call,
    .C_EncryptInit = InSession<encrypt_init>::call,
    .C_Encrypt = InSession<encrypt>::call,
    .C_EncryptUpdate = InSession<encrypt_update>::call,
    .C_EncryptFinal = InSession<encrypt_final>::call,
    .C_DecryptInit = InSession<decrypt_init>::call,
    .C_Decrypt = InSession<decrypt>::call,
    .C_DecryptUpdate = InSession<decrypt_update>::call,
    .C_DecryptFinal = InSession<decrypt_final>::call,
    .C_DigestInit = InSession<digest_init>::call,
    .C_Digest = InSession<digest_all>::call,
    .C_DigestUpdate = InSession<digest_update>::call,
    .C_DigestKey = Unsupported<CK_C_DigestKey>::call,
    .C_DigestFinal = InSession<digest_final>::call,
    .C_SignInit = InSession<sign_init>::call,
    .C_Sign = InSession<sign>::call,
    .C_SignUpdate = InSession<sign_update>::call,
    .C_SignFinal = InSession<sign_final>::call,
    .C_SignRecoverInit = Unsupported<CK_C_SignRecoverInit>::call,
    .C_SignRecover = Unsupported<CK_C_SignRecover>::call,
    .C_VerifyInit = InSession<verify_init>::call,
    .C_Verify = InSession<verify>::call,
    .C_VerifyUpdate = InSession<verify_update>::call,
    .C_VerifyFinal = InSession<verify_final>::call,
    .C_VerifyRecoverInit = Unsupported<CK_C_VerifyRecoverInit>::call,
    .C_VerifyRecover = Unsupported<CK_C_VerifyRecover>::call,
    .C_DigestEncryptUpdate = Unsupported<CK_C_DigestEncryptUpdate>::call,
    .C_DecryptDigestUpdate = Unsupported<CK_C_DecryptDigestUpdate>::call,
    .C_SignEncryptUpdate = Unsupported<CK_C_SignEncryptUpdate>::call,
    .C_DecryptVerifyUpdate = Unsupported<CK_C_DecryptVerifyUpdate>::call,
    .C_GenerateKey = InSession<generate_key>::call,
    .C_GenerateKeyPair = InSession<generate_key_pair>::call,
    .C_WrapKey = InSession<wrap_key>::call,
    .C_UnwrapKey = InSession<unwrap_key>::call,
    .C_DeriveKey = InSession<derive_key>::call,
    .C_SeedRandom = InSession<seed_random>::call,
    .C_GenerateRandom = InSession<generate_random>::call,
    .C_GetFunctionStatus = NotParallel<CK_C_GetFunctionStatus>::call,
    .C_CancelFunction = NotParallel<CK_C_CancelFunction>::call,
    .C_WaitForSlotEvent = Initialised<wait_for_slot_event>::call,
};
// clang-format on

} // namespace

const CK_FUNCTION_LIST& functions() { return kFunctions; }

void configure(const Settings& settings) { Machine::get().configure(settings); }

void renumber_objects(CK_SLOT_ID slot) {
  guarded([&] { Machine::get().token(slot).objects().renumber(); });
}

std::size_t objects(CK_SLOT_ID slot) {
  std::size_t count = 0;
  guarded([&] { count = Machine::get().token(slot).objects().size(); });
  return count;
}

} // namespace hsmux::sim::own
