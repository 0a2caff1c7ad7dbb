#include "mechanisms/quirks.h"

#include <fmt/format.h>

#include <array>

#include "slots/mechanism_name.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr auto kBits = GcmIvBits::kEightTimesLength;
constexpr auto kByHost = GcmIv::kHost;
constexpr auto kByToken = GcmIv::kToken;
constexpr auto kWrapped = EdwardsPoint::kOctetString;
constexpr auto kRaw = EdwardsPoint::kRaw;
constexpr auto kOid = EdwardsParams::kOid;

// AES key wrap with zero padding; a mechanism of the vendor's own.
constexpr unsigned long kCloudhsmWrapZeroPad = CKM_VENDOR_DEFINED | 0x216FUL;

// Where nothing is known, a row has what `standard` has.
// clang-format off
constexpr std::array kRows{
    Quirks{"softhsm", "SoftHSM project", "SoftHSM v2", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_PAD,
           "",
           "https://github.com/softhsm/SoftHSMv2/issues/726 https://github.com/softhsm/SoftHSMv2/issues/824"},
    Quirks{"kryoptic", "Kryoptic Project", "", "", kBits, kByHost, kRaw, kOid, CKM_AES_KEY_WRAP_KWP,
           "",
           "https://github.com/latchset/kryoptic/blob/b0141671/src/ec/eddsa.rs "
           "https://github.com/latchset/kryoptic/blob/b0141671/src/ossl/aes.rs"},
    Quirks{"nss", "Mozilla Foundation", "NSS", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "",
           "https://searchfox.org/mozilla-central/source/security/nss/lib/softoken/fips_algorithms.h"},
    Quirks{"opencryptoki", "IBM", "", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "tokens of one master key can share their objects (copy of the token directory)",
           "https://github.com/opencryptoki/opencryptoki/pull/257 "
           "https://www.ibm.com/docs/en/linuxonibm/lxoc/lxoc_tok_ica_mech.html"},
    Quirks{"luna", "", "", "libCryptoki2", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "partitions of one cloning domain (HA group, or lunacm: partition clone)",
           "https://github.com/parallaxsecond/rust-cryptoki/issues/247 https://github.com/pyauth/python-pkcs11/pull/158"},
    Quirks{"cloudhsm", "", "", "libcloudhsm_pkcs11", kBits, kByToken, kWrapped, kOid, kCloudhsmWrapZeroPad,
           "the cluster copies keys between its HSMs by itself",
           "https://docs.aws.amazon.com/cloudhsm/latest/userguide/pkcs11-mechanisms.html "
           "https://docs.aws.amazon.com/cloudhsm/latest/userguide/manage-aes-key-wrapping.html"},
    Quirks{"yubihsm2", "Yubico (www.yubico.com)", "YubiHSM", "", kBits, kByHost, kWrapped, kOid, 0,
           "export under wrap (yubihsm-shell: get wrapped, put wrapped)",
           "https://developers.yubico.com/YubiHSM2/Component_Reference/PKCS_11/"},
    Quirks{"nshield", "nCipher Corp. Ltd", "", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "HSMs of one Security World share its key blobs",
           "https://nshielddocs.entrust.com/security-world-docs/v13.6.3/api-pkcs11/mechanisms.html"},
    Quirks{"utimaco", "Utimaco IS GmbH", "", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "HSMs of one master backup key (MBK): backup and restore", ""},
    // PKCS#11 3.0 and 3.1; the point as tokens of the time of 2.40 have it.
    Quirks{"standard", "", "", "", kBits, kByHost, kWrapped, kOid, CKM_AES_KEY_WRAP_KWP,
           "",
           "https://docs.oasis-open.org/pkcs11/pkcs11-spec/v3.1/os/pkcs11-spec-v3.1-os.html"},
};
// clang-format on

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

} // namespace

std::span<const Quirks> quirks_table() { return kRows; }
const Quirks& standard_quirks() { return kRows.back(); }

const Quirks& quirks_of(const TokenIdentity& token, std::string_view module_path) {
  for (const Quirks& row : kRows) {
    if (token.manufacturer.starts_with(row.manufacturer) && token.model.starts_with(row.model) &&
        file_name(module_path).starts_with(row.module)) {
      return row;
    }
  }
  return standard_quirks();
}

std::string describe(const Quirks& quirks) {
  return fmt::format("AES-GCM IVs by the {} (ulIvBits {}), Ed25519 by {} with points {}, RFC 5649 by {}",
                     quirks.gcm_iv == GcmIv::kHost ? "host" : "token",
                     quirks.gcm_iv_bits == GcmIvBits::kZero ? "0" : "set",
                     quirks.edwards_params == EdwardsParams::kOid ? "OID" : "name",
                     quirks.edwards_point == EdwardsPoint::kRaw ? "raw" : "in an OCTET STRING",
                     quirks.key_wrap == 0 ? "nothing" : mechanism_name(quirks.key_wrap));
}

} // namespace hsmux
