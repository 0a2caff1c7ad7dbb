// One operation of C_EncryptInit or C_DecryptInit; wrapping keys uses it, too. Owned by a session and used by its one
// thread.
#pragma once

#include <optional>

#include "tests/simhsm/own/mechanism_table.h"
#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

class Cipher {
public:
  enum class Direction : std::uint8_t { kEncrypt, kDecrypt };

  // Refuses with CKR_MECHANISM_PARAM_INVALID. The key fits the mechanism.
  Cipher(Direction direction, const CK_MECHANISM& mechanism, const MechanismRow& row,
         std::shared_ptr<const Object> object);

  [[nodiscard]] CK_MECHANISM_TYPE mechanism() const { return row_->type; }

  // In one part; may be asked again. The bound is no less than what comes out.
  [[nodiscard]] std::size_t bound(std::size_t input_bytes) const;
  [[nodiscard]] Bytes process(View input) const;

  // In parts. update_bytes() is what an update() of so much gives.
  [[nodiscard]] std::size_t update_bytes(std::size_t input_bytes) const;
  [[nodiscard]] Bytes update(View part);
  [[nodiscard]] std::size_t finish_bound() const;
  [[nodiscard]] const Bytes& finish(); // asked again it answers the same

private:
  [[nodiscard]] bool encrypts() const { return direction_ == Direction::kEncrypt; }
  [[nodiscard]] bool rsa() const { return row_->key_type == CKK_RSA; }
  [[nodiscard]] bool gcm() const { return row_->type == CKM_AES_GCM; }
  [[nodiscard]] bool pads() const { return row_->type == CKM_AES_CBC_PAD; }
  // Does it need all input before it gives any output?
  [[nodiscard]] bool collects() const { return rsa() || (gcm() && !encrypts()); }
  [[nodiscard]] std::size_t modulus_bytes() const { return (key_->bits + 7) / 8; }
  [[nodiscard]] std::size_t put_out(std::size_t put_in) const; // of AES, before the end

  void read_gcm(const CK_MECHANISM& mechanism);
  void read_oaep(const CK_MECHANISM& mechanism);
  [[nodiscard]] CipherContext begin_aes() const;
  void check_blocks(std::size_t input_bytes) const;
  [[nodiscard]] Bytes end_aes(EVP_CIPHER_CTX* context) const;
  [[nodiscard]] Bytes process_aes(View input) const;
  [[nodiscard]] Bytes process_rsa(View input) const;

  Direction direction_;
  const MechanismRow* row_;
  std::shared_ptr<const Object> object_; // keeps what key_ points to
  const Key* key_;
  Bytes start_;                                    // the initialisation vector
  Bytes associated_;                               // GCM: authenticated only. OAEP: the label
  std::size_t tag_bytes_ = 0;                      // GCM
  const EVP_MD *hash_ = nullptr, *mask_ = nullptr; // OAEP

  // Of an operation in parts.
  CipherContext context_;
  std::size_t input_bytes_ = 0;
  Bytes collected_;
  std::optional<Bytes> finished_;
};

} // namespace hsmux::sim::own
