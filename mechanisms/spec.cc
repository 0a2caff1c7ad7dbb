#include "mechanisms/spec.h"

#include <algorithm>
#include <array>

#include "mechanisms/ecdsa_der.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

// clang-format off
constexpr std::array kEcdsaSha256{
    RecipeSpec{RecipeId::kEcdsaHostDigest, "host-digest+CKM_ECDSA", CKM_ECDSA, CKF_SIGN},
    RecipeSpec{RecipeId::kEcdsaHashed, "CKM_ECDSA_SHA256", CKM_ECDSA_SHA256, CKF_SIGN},
};
constexpr std::array kEcdsaSha384{
    RecipeSpec{RecipeId::kEcdsaHostDigest, "host-digest+CKM_ECDSA", CKM_ECDSA, CKF_SIGN},
    RecipeSpec{RecipeId::kEcdsaHashed, "CKM_ECDSA_SHA384", CKM_ECDSA_SHA384, CKF_SIGN},
};
constexpr std::array kEddsa{
    RecipeSpec{RecipeId::kEddsa, "CKM_EDDSA", CKM_EDDSA, CKF_SIGN},
};
constexpr std::array kPkcs1{
    RecipeSpec{RecipeId::kPkcs1HostDigest, "host-digest+CKM_RSA_PKCS", CKM_RSA_PKCS, CKF_SIGN},
    RecipeSpec{RecipeId::kPkcs1Hashed, "CKM_SHA256_RSA_PKCS", CKM_SHA256_RSA_PKCS, CKF_SIGN},
};
constexpr std::array kPss{
    RecipeSpec{RecipeId::kPssHostDigest, "host-digest+CKM_RSA_PKCS_PSS", CKM_RSA_PKCS_PSS, CKF_SIGN},
    RecipeSpec{RecipeId::kPssHashed, "CKM_SHA256_RSA_PKCS_PSS", CKM_SHA256_RSA_PKCS_PSS, CKF_SIGN},
};
constexpr std::array kOaep{
    RecipeSpec{RecipeId::kOaepToken, "CKM_RSA_PKCS_OAEP(SHA-256)", CKM_RSA_PKCS_OAEP, CKF_DECRYPT},
    RecipeSpec{RecipeId::kOaepHost, "CKM_RSA_X_509+host-OAEP", CKM_RSA_X_509, CKF_DECRYPT},
};
constexpr std::array kEcies{
    RecipeSpec{RecipeId::kEciesHost, "CKM_ECDH1_DERIVE+host-ECIES", CKM_ECDH1_DERIVE, CKF_DERIVE},
};
constexpr std::array kGcm{
    RecipeSpec{RecipeId::kGcmHostIv, "CKM_AES_GCM(host-IV)", CKM_AES_GCM, CKF_ENCRYPT | CKF_DECRYPT},
    RecipeSpec{RecipeId::kGcmTokenIv, "CKM_AES_GCM(token-IV)", CKM_AES_GCM, CKF_ENCRYPT | CKF_DECRYPT},
};

constexpr std::size_t kMessageBytesMax = 64UL << 20; // hashed on the host: a bound, not the token's
constexpr std::size_t kEddsaBytesMax = 64UL << 10;   // the token gets all of it
constexpr std::size_t kEciesBytesMax = 16UL << 10;   // all on the host: a bound
constexpr std::size_t kGcmBytesMax = 16'384 - 16;    // AWS CloudHSM takes buffers up to 16 KiB

constexpr std::array kTable{
    AlgorithmSpec{.algorithm = Algorithm::kEcdsaP256Sha256, .name = "ecdsa-p256-sha256", .key = KeyKind::kEcP256,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = Hash::kSha256,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = ecdsa_der_bytes_max(32), .recipes = kEcdsaSha256},
    AlgorithmSpec{.algorithm = Algorithm::kEcdsaP384Sha384, .name = "ecdsa-p384-sha384", .key = KeyKind::kEcP384,
                  .key_bits_default = 384, .key_bits_min = 384, .key_bits_max = 384, .key_bits_step = 1,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = Hash::kSha384,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = ecdsa_der_bytes_max(48), .recipes = kEcdsaSha384},
    AlgorithmSpec{.algorithm = Algorithm::kEcdsaSecp256k1Sha256, .name = "ecdsa-secp256k1-sha256", .key = KeyKind::kEcSecp256k1,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = Hash::kSha256,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = ecdsa_der_bytes_max(32), .recipes = kEcdsaSha256},
    AlgorithmSpec{.algorithm = Algorithm::kEd25519, .name = "ed25519", .key = KeyKind::kEd25519,
                  .key_bits_default = 255, .key_bits_min = 255, .key_bits_max = 255, .key_bits_step = 1,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = std::nullopt,
                  .input_bytes_max = kEddsaBytesMax, .result_bytes_max = 64, .recipes = kEddsa},
    AlgorithmSpec{.algorithm = Algorithm::kRsaPkcs1Sha256, .name = "rsa-pkcs1-sha256", .key = KeyKind::kRsa,
                  .key_bits_default = 2048, .key_bits_min = 2048, .key_bits_max = 4096, .key_bits_step = 1024,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = Hash::kSha256,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = 4096 / 8, .recipes = kPkcs1},
    AlgorithmSpec{.algorithm = Algorithm::kRsaPssSha256, .name = "rsa-pss-sha256", .key = KeyKind::kRsa,
                  .key_bits_default = 2048, .key_bits_min = 2048, .key_bits_max = 4096, .key_bits_step = 1024,
                  .signs = true, .decrypts = false, .encrypts = false, .agrees = false, .hash = Hash::kSha256,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = 4096 / 8, .recipes = kPss},
    AlgorithmSpec{.algorithm = Algorithm::kRsaOaepSha256, .name = "rsa-oaep-sha256", .key = KeyKind::kRsa,
                  .key_bits_default = 2048, .key_bits_min = 2048, .key_bits_max = 4096, .key_bits_step = 1024,
                  .signs = false, .decrypts = true, .encrypts = true, .agrees = false, .hash = Hash::kSha256,
                  .input_bytes_max = 4096 / 8 - 66, .result_bytes_max = 0, .recipes = kOaep},
    AlgorithmSpec{.algorithm = Algorithm::kEciesP256, .name = "ecies-p256", .key = KeyKind::kEcP256,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = false, .decrypts = true, .encrypts = true, .agrees = true, .hash = Hash::kSha256,
                  .input_bytes_max = kEciesBytesMax, .result_bytes_max = 0, .recipes = kEcies},
    AlgorithmSpec{.algorithm = Algorithm::kAes128Gcm, .name = "aes-128-gcm", .key = KeyKind::kAes128,
                  .key_bits_default = 128, .key_bits_min = 128, .key_bits_max = 128, .key_bits_step = 1,
                  .signs = false, .decrypts = true, .encrypts = true, .agrees = false, .hash = std::nullopt,
                  .input_bytes_max = kGcmBytesMax, .result_bytes_max = 0, .recipes = kGcm},
    AlgorithmSpec{.algorithm = Algorithm::kAes256Gcm, .name = "aes-256-gcm", .key = KeyKind::kAes256,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = false, .decrypts = true, .encrypts = true, .agrees = false, .hash = std::nullopt,
                  .input_bytes_max = kGcmBytesMax, .result_bytes_max = 0, .recipes = kGcm},
};

struct KeyKindRow {
  KeyKind kind;
  std::string_view name;
  KeyFamily family;
  std::optional<Curve> curve;
  std::uint32_t bits;
};
constexpr std::array kKinds{
    KeyKindRow{KeyKind::kEcP256, "ec-p256", KeyFamily::kEc, Curve::kP256, 256},
    KeyKindRow{KeyKind::kEcP384, "ec-p384", KeyFamily::kEc, Curve::kP384, 384},
    KeyKindRow{KeyKind::kEcSecp256k1, "ec-secp256k1", KeyFamily::kEc, Curve::kSecp256k1, 256},
    KeyKindRow{KeyKind::kEd25519, "ed25519", KeyFamily::kEdwards, std::nullopt, 255},
    KeyKindRow{KeyKind::kRsa, "rsa", KeyFamily::kRsa, std::nullopt, 0},
    KeyKindRow{KeyKind::kAes128, "aes-128", KeyFamily::kAes, std::nullopt, 128},
    KeyKindRow{KeyKind::kAes256, "aes-256", KeyFamily::kAes, std::nullopt, 256},
    KeyKindRow{KeyKind::kAes, "aes", KeyFamily::kAes, std::nullopt, 0},
};
// clang-format on
static_assert(kTable.size() == kAlgorithmCount && kKinds.size() == kKeyKindCount);

const KeyKindRow& row(KeyKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

} // namespace

std::span<const AlgorithmSpec> spec_table() { return kTable; }

const AlgorithmSpec& spec_of(Algorithm algorithm) { return kTable[static_cast<std::size_t>(algorithm)]; }

const AlgorithmSpec* find_spec(std::string_view name) {
  const auto* found = std::find_if(kTable.begin(), kTable.end(), [&](const auto& spec) { return spec.name == name; });
  return found == kTable.end() ? nullptr : found;
}

bool supports(const AlgorithmSpec& spec, Operation operation) {
  switch (operation) {
  case Operation::kSign: return spec.signs;
  case Operation::kDecrypt: return spec.decrypts;
  case Operation::kEncrypt: return spec.encrypts;
  }
  return false;
}

bool share_keys(const AlgorithmSpec& a, const AlgorithmSpec& b) {
  return a.key == b.key && a.signs == b.signs && a.decrypts == b.decrypts && a.encrypts == b.encrypts &&
         a.agrees == b.agrees;
}

bool encrypts_on_host(const AlgorithmSpec& spec) { return spec.encrypts && key_family(spec.key) != KeyFamily::kAes; }

bool key_bits_allowed(const AlgorithmSpec& spec, std::uint32_t bits) {
  return bits >= spec.key_bits_min && bits <= spec.key_bits_max && (bits - spec.key_bits_min) % spec.key_bits_step == 0;
}

std::string_view operation_name(Operation operation) {
  switch (operation) {
  case Operation::kSign: return "sign";
  case Operation::kDecrypt: return "decrypt";
  case Operation::kEncrypt: return "encrypt";
  }
  return "";
}

std::string_view key_kind_name(KeyKind kind) { return row(kind).name; }
KeyFamily key_family(KeyKind kind) { return row(kind).family; }
Curve curve_of(KeyKind kind) { return *row(kind).curve; }
std::uint32_t key_kind_bits(KeyKind kind) { return row(kind).bits; }

KeyKind kind_of(Curve curve) { return std::ranges::find(kKinds, std::optional(curve), &KeyKindRow::curve)->kind; }

std::optional<KeyKind> aes_kind(std::uint32_t bits) {
  const auto* found = std::ranges::find_if(
      kKinds, [bits](const KeyKindRow& each) { return each.family == KeyFamily::kAes && each.bits == bits; });
  if (found == kKinds.end()) return std::nullopt;
  return found->kind;
}

bool key_fits(const AlgorithmSpec& spec, KeyKind kind, std::uint32_t bits) {
  if (kind == KeyKind::kAes) return key_family(spec.key) == KeyFamily::kAes;
  return kind == spec.key && key_bits_allowed(spec, bits);
}

} // namespace hsmux
