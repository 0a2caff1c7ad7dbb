// The few PKCS#11 3.0 names that we use and that p11-kit's 2.40 header lacks. Each is guarded, so a newer p11-kit
// that declares them still compiles. Source: OASIS PKCS #11 Base Specification 3.0, sections 3.2, 5.4 and 5.6.
#pragma once

#include <cstddef>

#ifndef CKR_OPERATION_CANCEL_FAILED
#define CKR_OPERATION_CANCEL_FAILED (0x202UL)
#endif
#ifndef CKR_TOKEN_RESOURCE_EXCEEDED
#define CKR_TOKEN_RESOURCE_EXCEEDED (0x201UL)
#endif
#ifndef CKR_AEAD_DECRYPT_FAILED
#define CKR_AEAD_DECRYPT_FAILED (0x42UL)
#endif
#ifndef CKR_KEY_EXHAUSTED
#define CKR_KEY_EXHAUSTED (0x203UL)
#endif
#ifndef CKR_PENDING
#define CKR_PENDING (0x204UL)
#endif
#ifndef CKR_SESSION_ASYNC_NOT_SUPPORTED
#define CKR_SESSION_ASYNC_NOT_SUPPORTED (0x205UL)
#endif
#ifndef CKR_SEED_RANDOM_REQUIRED
#define CKR_SEED_RANDOM_REQUIRED (0x206UL)
#endif
#ifndef CKR_OPERATION_NOT_VALIDATED
#define CKR_OPERATION_NOT_VALIDATED (0x207UL)
#endif
#ifndef CKR_TOKEN_NOT_INITIALIZED
#define CKR_TOKEN_NOT_INITIALIZED (0x208UL)
#endif
#ifndef CKR_PARAMETER_SET_NOT_SUPPORTED
#define CKR_PARAMETER_SET_NOT_SUPPORTED (0x209UL)
#endif
#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP (0x210BUL)
#endif
#ifndef CKF_INTERFACE_FORK_SAFE
#define CKF_INTERFACE_FORK_SAFE (0x1UL)
#endif

namespace hsmux::v3 {

// CK_INTERFACE of section 3.2: C_GetInterface fills a pointer to one of these.
struct Interface {
  char* interface_name;
  void* function_list; // starts with CK_VERSION; then the 2.40 list, then the functions of 3.0
  unsigned long flags;
};
static_assert(offsetof(Interface, function_list) == sizeof(void*));
static_assert(offsetof(Interface, flags) == 2 * sizeof(void*));
static_assert(sizeof(Interface) == 3 * sizeof(void*));

// C_GetInterface(pInterfaceName, pVersion, ppInterface, flags), section 5.4.6.
using GetInterface = unsigned long (*)(unsigned char* name, void* version, Interface** result, unsigned long flags);

} // namespace hsmux::v3
