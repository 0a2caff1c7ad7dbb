#include "tests/simhsm/own/mechanism_table.h"

#include <algorithm>
#include <array>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

constexpr CK_FLAGS kSigns = CKF_SIGN | CKF_VERIFY;
constexpr CK_FLAGS kCiphers = CKF_ENCRYPT | CKF_DECRYPT;
constexpr CK_FLAGS kWraps = CKF_WRAP | CKF_UNWRAP;
constexpr CK_FLAGS kCurveFlags = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
constexpr CK_KEY_TYPE kNoKey = MechanismRow::kNoKey;

// clang-format off
constexpr std::array kTable = {
    //           type                         min   max   flags                         key of type       hash        PSS
    MechanismRow{CKM_RSA_PKCS_KEY_PAIR_GEN,   2048, 4096, CKF_GENERATE_KEY_PAIR,            CKK_RSA},
    MechanismRow{CKM_EC_KEY_PAIR_GEN,          256,  521, CKF_GENERATE_KEY_PAIR | kCurveFlags,  CKK_EC},
    MechanismRow{CKM_EC_EDWARDS_KEY_PAIR_GEN,  255,  255, CKF_GENERATE_KEY_PAIR | kCurveFlags,  CKK_EC_EDWARDS},
    MechanismRow{CKM_AES_KEY_GEN,               16,   32, CKF_GENERATE,                     CKK_AES},
    MechanismRow{CKM_GENERIC_SECRET_KEY_GEN,     8, 8192, CKF_GENERATE,                     CKK_GENERIC_SECRET},
    MechanismRow{CKM_RSA_PKCS,                2048, 4096, kSigns | kCiphers | kWraps,       CKK_RSA},
    MechanismRow{CKM_RSA_X_509,               2048, 4096, kSigns | kCiphers,                CKK_RSA},
    MechanismRow{CKM_RSA_PKCS_OAEP,           2048, 4096, kCiphers | kWraps,                CKK_RSA},
    MechanismRow{CKM_SHA1_RSA_PKCS,           2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA_1},
    MechanismRow{CKM_SHA256_RSA_PKCS,         2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA256},
    MechanismRow{CKM_SHA384_RSA_PKCS,         2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA384},
    MechanismRow{CKM_SHA512_RSA_PKCS,         2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA512},
    MechanismRow{CKM_RSA_PKCS_PSS,            2048, 4096, kSigns,                           CKK_RSA,          0,          true},
    MechanismRow{CKM_SHA256_RSA_PKCS_PSS,     2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA256, true},
    MechanismRow{CKM_SHA384_RSA_PKCS_PSS,     2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA384, true},
    MechanismRow{CKM_SHA512_RSA_PKCS_PSS,     2048, 4096, kSigns,                           CKK_RSA,          CKM_SHA512, true},
    MechanismRow{CKM_ECDSA,                    256,  521, kSigns | kCurveFlags,                 CKK_EC},
    MechanismRow{CKM_ECDSA_SHA1,               256,  521, kSigns | kCurveFlags,                 CKK_EC,           CKM_SHA_1},
    MechanismRow{CKM_ECDSA_SHA224,             256,  521, kSigns | kCurveFlags,                 CKK_EC,           CKM_SHA224},
    MechanismRow{CKM_ECDSA_SHA256,             256,  521, kSigns | kCurveFlags,                 CKK_EC,           CKM_SHA256},
    MechanismRow{CKM_ECDSA_SHA384,             256,  521, kSigns | kCurveFlags,                 CKK_EC,           CKM_SHA384},
    MechanismRow{CKM_ECDSA_SHA512,             256,  521, kSigns | kCurveFlags,                 CKK_EC,           CKM_SHA512},
    MechanismRow{CKM_EDDSA,                    255,  255, kSigns | kCurveFlags,                 CKK_EC_EDWARDS},
    MechanismRow{CKM_ECDH1_DERIVE,             256,  521, CKF_DERIVE | kCurveFlags,             CKK_EC},
    MechanismRow{CKM_SHA256_HMAC,                1, 1024, kSigns,                           CKK_GENERIC_SECRET, CKM_SHA256},
    MechanismRow{CKM_AES_ECB,                   16,   32, kCiphers,                         CKK_AES},
    MechanismRow{CKM_AES_CBC,                   16,   32, kCiphers,                         CKK_AES},
    MechanismRow{CKM_AES_CBC_PAD,               16,   32, kCiphers | kWraps,                CKK_AES},
    MechanismRow{CKM_AES_GCM,                   16,   32, kCiphers,                         CKK_AES},
    MechanismRow{CKM_AES_KEY_WRAP,              16,   32, kWraps,                           CKK_AES},
    MechanismRow{CKM_AES_KEY_WRAP_PAD,          16,   32, kWraps,                           CKK_AES},
    MechanismRow{CKM_AES_KEY_WRAP_KWP,          16,   32, kWraps,                           CKK_AES},
    MechanismRow{CKM_SHA_1,                      0,    0, CKF_DIGEST,                       kNoKey,           CKM_SHA_1},
    MechanismRow{CKM_SHA224,                     0,    0, CKF_DIGEST,                       kNoKey,           CKM_SHA224},
    MechanismRow{CKM_SHA256,                     0,    0, CKF_DIGEST,                       kNoKey,           CKM_SHA256},
    MechanismRow{CKM_SHA384,                     0,    0, CKF_DIGEST,                       kNoKey,           CKM_SHA384},
    MechanismRow{CKM_SHA512,                     0,    0, CKF_DIGEST,                       kNoKey,           CKM_SHA512},
};
// clang-format on

} // namespace

std::span<const MechanismRow> mechanism_table() { return kTable; }

const MechanismRow& mechanism_row(const CK_MECHANISM* mechanism, CK_FLAGS flag) {
  require(mechanism != nullptr, CKR_ARGUMENTS_BAD);
  const auto* row = std::ranges::find(kTable, mechanism->mechanism, &MechanismRow::type);
  require(row != kTable.end() && (row->flags & flag) != 0, CKR_MECHANISM_INVALID);
  require(mechanism->pParameter != nullptr || mechanism->ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
  return *row;
}

} // namespace hsmux::sim::own
