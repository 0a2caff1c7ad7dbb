// Mechanisms that the shim carries out itself over the wrapped module's raw ones: ECDSA with SHA-256 and SHA-384 over
// CKM_ECDSA, and RSA-OAEP with SHA-256 over CKM_RSA_X_509. Each function stands in for the PKCS#11 function of its
// name, and forwards whatever is not emulated.
#pragma once

#include "slots/pkcs11.h"

namespace hsmux::shim {

CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE* data, CK_ULONG data_bytes, CK_BYTE* signature, CK_ULONG* bytes);
CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE* data, CK_ULONG data_bytes, CK_BYTE* plain, CK_ULONG* bytes);
CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* count);
CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info);

} // namespace hsmux::shim
