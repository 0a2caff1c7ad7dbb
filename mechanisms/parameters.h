// Mechanisms with their parameters, for recipes and for what is measured beside them. Each is used where it stands: the
// mechanism points into it. Values, one thread at a time.
#pragma once

#include <span>

#include "mechanisms/ecies.h"
#include "mechanisms/envelope.h"
#include "mechanisms/quirks.h"
#include "slots/pkcs11.h"
#include "slots/session.h"

namespace hsmux {

struct GcmMechanism {
  CK_GCM_PARAMS params{};
  Mechanism mechanism{CKM_AES_GCM, &params, sizeof params};

  // `iv` and `aad` must outlive the operation.
  GcmMechanism(const Quirks& quirks, ByteView iv, ByteView aad) {
    params.pIv = const_cast<unsigned char*>(iv.data());
    params.ulIvLen = iv.size();
    params.ulIvBits = quirks.gcm_iv_bits == GcmIvBits::kEightTimesLength ? 8 * iv.size() : 0;
    params.pAAD = const_cast<unsigned char*>(aad.data());
    params.ulAADLen = aad.size();
    params.ulTagBits = 8 * kTagBytes;
  }
  GcmMechanism(const GcmMechanism&) = delete;
};

// One hash for OAEP and MGF1, an empty label.
struct OaepMechanism {
  CK_RSA_PKCS_OAEP_PARAMS params{CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, nullptr, 0};
  Mechanism mechanism{CKM_RSA_PKCS_OAEP, &params, sizeof params};

  OaepMechanism() = default; // SHA-256
  explicit OaepMechanism(bool sha1) {
    if (!sha1) return;
    params.hashAlg = CKM_SHA_1;
    params.mgf = CKG_MGF1_SHA1;
  }
  OaepMechanism(const OaepMechanism&) = delete;
};

// SHA-256 for hash and MGF1, a salt of 32 bytes; `type` is CKM_RSA_PKCS_PSS or CKM_SHA256_RSA_PKCS_PSS.
struct PssMechanism {
  CK_RSA_PKCS_PSS_PARAMS params{CKM_SHA256, CKG_MGF1_SHA256, 32};
  Mechanism mechanism;

  explicit PssMechanism(unsigned long type) : mechanism{type, &params, sizeof params} {}
  PssMechanism(const PssMechanism&) = delete;
};

// The x coordinate of the shared point as it is (CKD_NULL), as an object that can be read.
struct EcdhMechanism {
  CK_ECDH1_DERIVE_PARAMS params{CKD_NULL, 0, nullptr, 0, nullptr};
  Mechanism mechanism{CKM_ECDH1_DERIVE, &params, sizeof params};
  Template secret;

  // An uncompressed point of P-256 that outlives the operation. Raw: all tokens take that (PKCS#11 2.40, 2.3.9).
  explicit EcdhMechanism(ByteView point) {
    params.pPublicData = const_cast<unsigned char*>(point.data());
    params.ulPublicDataLen = point.size();
    secret.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    secret.number(CKA_VALUE_LEN, kEciesSharedBytes).flag(CKA_TOKEN, false);
    secret.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
  }
  EcdhMechanism(const EcdhMechanism&) = delete;
};

} // namespace hsmux
