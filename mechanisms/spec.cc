#include "mechanisms/spec.h"

#include <algorithm>
#include <array>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

// clang-format off
constexpr std::array kEcdsaP256{
    RecipeSpec{RecipeId::kEcdsaHostDigest, "host-digest+CKM_ECDSA", CKM_ECDSA, CKF_SIGN},
    RecipeSpec{RecipeId::kEcdsaHashed, "CKM_ECDSA_SHA256", CKM_ECDSA_SHA256, CKF_SIGN},
};
constexpr std::array kOaep{
    RecipeSpec{RecipeId::kOaepToken, "CKM_RSA_PKCS_OAEP(SHA-256)", CKM_RSA_PKCS_OAEP, CKF_DECRYPT},
    RecipeSpec{RecipeId::kOaepHost, "CKM_RSA_X_509+host-OAEP", CKM_RSA_X_509, CKF_DECRYPT},
};
constexpr std::array kGcm{
    RecipeSpec{RecipeId::kGcmHostIv, "CKM_AES_GCM(host-IV)", CKM_AES_GCM, CKF_ENCRYPT | CKF_DECRYPT},
};

constexpr std::size_t kMessageBytesMax = 64UL << 20; // hashed on the host: a bound, not the token's
constexpr std::size_t kGcmBytesMax = 16'384 - 16;    // AWS CloudHSM takes buffers up to 16 KiB

constexpr std::array kTable{
    AlgorithmSpec{.algorithm = Algorithm::kEcdsaP256Sha256, .name = "ecdsa-p256-sha256", .key = KeyKind::kEcP256,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = true, .decrypts = false, .encrypts = false, .hash = Hash::kSha256,
                  .input_bytes_max = kMessageBytesMax, .result_bytes_max = 72, .recipes = kEcdsaP256},
    AlgorithmSpec{.algorithm = Algorithm::kRsaOaepSha256, .name = "rsa-oaep-sha256", .key = KeyKind::kRsa,
                  .key_bits_default = 2048, .key_bits_min = 2048, .key_bits_max = 4096, .key_bits_step = 1024,
                  .signs = false, .decrypts = true, .encrypts = true, .hash = Hash::kSha256,
                  .input_bytes_max = 4096 / 8 - 66, .result_bytes_max = 0, .recipes = kOaep},
    AlgorithmSpec{.algorithm = Algorithm::kAes256Gcm, .name = "aes-256-gcm", .key = KeyKind::kAes256,
                  .key_bits_default = 256, .key_bits_min = 256, .key_bits_max = 256, .key_bits_step = 1,
                  .signs = false, .decrypts = true, .encrypts = true, .hash = std::nullopt,
                  .input_bytes_max = kGcmBytesMax, .result_bytes_max = 0, .recipes = kGcm},
};
// clang-format on
static_assert(kTable.size() == kAlgorithmCount);

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

std::string_view key_kind_name(KeyKind kind) {
  switch (kind) {
  case KeyKind::kEcP256: return "ec-p256";
  case KeyKind::kRsa: return "rsa";
  case KeyKind::kAes256: return "aes-256";
  }
  return "";
}

} // namespace hsmux
