// The spec table: what hsmux can do, one row per algorithm, each with its recipes in order of preference. Data only;
// adding an algorithm edits this table, its recipe's code and one test. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "mechanisms/host_crypto.h"
#include "mechanisms/spki.h"

namespace hsmux {

enum class Algorithm : std::uint8_t {
  kEcdsaP256Sha256,
  kEcdsaP384Sha384,
  kEcdsaSecp256k1Sha256,
  kEd25519,
  kRsaPkcs1Sha256,
  kRsaPssSha256,
  kRsaOaepSha256,
  kEciesP256,
  kAes128Gcm,
  kAes256Gcm,
};
inline constexpr std::size_t kAlgorithmCount = 10;

enum class KeyKind : std::uint8_t {
  kEcP256,
  kEcP384,
  kEcSecp256k1,
  kEd25519,
  kRsa,
  kAes128,
  kAes256,
  kAes, // of a length that the token does not tell: SoftHSM 2.6.1 forgets it of keys that were unwrapped
};
inline constexpr std::size_t kKeyKindCount = 8;
// What kinds have in common: how a key is made, read and used.
enum class KeyFamily : std::uint8_t { kEc, kEdwards, kRsa, kAes };

enum class Operation : std::uint8_t { kSign, kDecrypt, kEncrypt };
std::string_view operation_name(Operation operation); // "sign"

// How an algorithm is carried out with what a token offers.
enum class RecipeId : std::uint8_t {
  kEcdsaHostDigest, // digest on the host, CKM_ECDSA, r‖s to DER
  kEcdsaHashed,     // CKM_ECDSA_SHA256 or _SHA384 over the message, r‖s to DER
  kEddsa,           // CKM_EDDSA over the whole message, 64 bytes as they are (RFC 8032)
  kPkcs1HostDigest, // DigestInfo made on the host, CKM_RSA_PKCS
  kPkcs1Hashed,     // CKM_SHA256_RSA_PKCS over the message
  kPssHostDigest,   // digest on the host, CKM_RSA_PKCS_PSS with SHA-256 for hash and MGF1, a salt of 32 bytes
  kPssHashed,       // CKM_SHA256_RSA_PKCS_PSS over the message, the same parameters
  kOaepToken,       // CKM_RSA_PKCS_OAEP with SHA-256 for hash and MGF1
  kOaepHost,        // CKM_RSA_X_509, then OAEP decoding on the host in constant time
  kEciesHost,       // CKM_ECDH1_DERIVE with the point of the ciphertext, then key derivation, MAC and AES on the host
  kGcmHostIv,       // CKM_AES_GCM with a random IV made on the host
  kGcmTokenIv,      // CKM_AES_GCM with a buffer of zeros that the token writes its IV into
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
  bool agrees;                  // decrypts by a key agreement: its keys permit DERIVE and not DECRYPT
  std::optional<Hash> hash;     // of the message, or of OAEP; none: the token takes the whole message
  std::size_t input_bytes_max;  // of message or plaintext
  std::size_t result_bytes_max; // of a signature; 0 = depends on key and input
  std::span<const RecipeSpec> recipes;
};

std::span<const AlgorithmSpec> spec_table();
const AlgorithmSpec& spec_of(Algorithm algorithm);
// nullptr when there is none of this name.
const AlgorithmSpec* find_spec(std::string_view name);
bool supports(const AlgorithmSpec& spec, Operation operation);
// The same keys serve both: kind and purpose are the same.
bool share_keys(const AlgorithmSpec& a, const AlgorithmSpec& b);
// With the public half, without asking a slot.
bool encrypts_on_host(const AlgorithmSpec& spec);
// May a key of this kind and size (0: not told) serve the algorithm?
bool key_fits(const AlgorithmSpec& spec, KeyKind kind, std::uint32_t bits);
bool key_bits_allowed(const AlgorithmSpec& spec, std::uint32_t bits);

std::string_view key_kind_name(KeyKind kind); // "ec-p256", "ed25519", "rsa", "aes-256"
KeyFamily key_family(KeyKind kind);
Curve curve_of(KeyKind kind); // of KeyFamily::kEc
KeyKind kind_of(Curve curve);
// Of EC, Edwards and AES keys: field or secret, as PKCS#11 counts (Ed25519 has 255). 0 for RSA.
std::uint32_t key_kind_bits(KeyKind kind);
std::optional<KeyKind> aes_kind(std::uint32_t bits); // 0: not told

} // namespace hsmux
