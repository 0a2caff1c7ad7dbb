// One operation of C_SignInit or C_VerifyInit. Owned by a session and used by its one thread.
#pragma once

#include "tests/simhsm/own/mechanism_table.h"
#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

class Signing {
public:
  // Refuses with CKR_MECHANISM_PARAM_INVALID. The key fits the mechanism.
  Signing(const CK_MECHANISM& mechanism, const MechanismRow& row, std::shared_ptr<const Object> object);

  [[nodiscard]] std::size_t signature_bytes() const;
  [[nodiscard]] CK_MECHANISM_TYPE mechanism() const { return row_->type; }

  // In one part; may be asked again.
  [[nodiscard]] Bytes sign(View data) const;
  void verify(View data, View signature) const;

  // In parts.
  void update(View part);
  [[nodiscard]] Bytes finish();
  void finish_verify(View signature);

private:
  [[nodiscard]] bool edwards() const { return row_->type == CKM_EDDSA; }
  [[nodiscard]] bool mac() const { return row_->type == CKM_SHA256_HMAC; }
  [[nodiscard]] MacContext new_mac() const;
  [[nodiscard]] Bytes finish_parts();
  // What RSA or ECDSA works on: the digest, or the data padded as the mechanism says.
  [[nodiscard]] Bytes input_of(View data) const;
  void set_rsa_padding(EVP_PKEY_CTX* context) const;
  [[nodiscard]] Bytes sign_input(View input) const;
  void verify_input(View input, View signature) const;

  const MechanismRow* row_;
  std::shared_ptr<const Object> object_; // keeps what key_ points to
  const Key* key_;
  const EVP_MD* hash_ = nullptr; // of the input, or of the parameter of a PSS that gets a digest
  const EVP_MD* mask_ = nullptr; // PSS
  int salt_bytes_ = 0;           // PSS

  // Of an operation in parts.
  DigestContext digest_;
  MacContext mac_;
  Bytes collected_;
};

} // namespace hsmux::sim::own
