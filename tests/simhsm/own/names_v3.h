// PKCS#11 3.0 names that the HSM knows and that p11-kit's 2.40 header lacks. Source: OASIS PKCS #11 Current Mechanisms
// 3.0, section 2.14. Constants only.
#pragma once

#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP (0x210BUL)
#endif
