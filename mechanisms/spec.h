// The spec table: what hsmux can do, one row per algorithm, each with its recipes in order of preference. Data only;
// adding an algorithm edits this table, its recipe's code and one test. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "mechanisms/host_crypto.h"

namespace hsmux {

enum class Algorithm : std::uint8_t { kEcdsaP256Sha256, kRsaOaepSha256, kAes256Gcm };
inline constexpr std::size_t kAlgorithmCount = 3;

enum class KeyKind : std::uint8_t { kEcP256, kRsa, kAes256 };

enum class Operation : std::uint8_t { kSign, kDecrypt, kEncrypt };
std::string_view operation_name(Operation operation); // "sign"

// How an algorithm is carried out with what a token offers.
enum class RecipeId : std::uint8_t {
  kEcdsaHostDigest, // digest on the host, CKM_ECDSA, r‖s to DER
  kEcdsaHashed,     // CKM_ECDSA_SHA256 over the message, r‖s to DER
  kOaepToken,       // CKM_RSA_PKCS_OAEP with SHA-256 for hash and MGF1
  kOaepHost,        // CKM_RSA_X_509, then OAEP decoding on the host in constant time
  kGcmHostIv,       // CKM_AES_GCM with a random IV made on the host
};

struct RecipeSpec {
  RecipeId id;
  std::string_view name;   // in `hsmux slots` and docs/algorithms.md
  unsigned long mechanism; // CKM_
  unsigned long flags;     // CKF_ that the token must offer for it
};

struct AlgorithmSpec {
  Algorithm algorithm;
  std::string_view name; // as in configuration, command line, C ABI and metrics
  KeyKind key;
  std::uint32_t key_bits_default, key_bits_min, key_bits_max;
  std::uint32_t key_bits_step; // sizes allowed: min, min + step, ... max
  bool signs, decrypts, encrypts;
  std::optional<Hash> hash;     // of the message, or of OAEP
  std::size_t input_bytes_max;  // of message or plaintext
  std::size_t result_bytes_max; // of a signature; 0 = depends on key and input
  std::span<const RecipeSpec> recipes;
};

std::span<const AlgorithmSpec> spec_table();
const AlgorithmSpec& spec_of(Algorithm algorithm);
// nullptr when there is none of this name.
const AlgorithmSpec* find_spec(std::string_view name);
bool supports(const AlgorithmSpec& spec, Operation operation);
bool key_bits_allowed(const AlgorithmSpec& spec, std::uint32_t bits);

std::string_view key_kind_name(KeyKind kind); // "ec-p256", "rsa", "aes-256"

} // namespace hsmux
