// Objects: a set of attributes and, of keys, the key for OpenSSL. An object is never changed: C_SetAttributeValue puts
// another one in its place. Shared by the token and by the operations that use it; any thread.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/simhsm/own/canned_answers.h"
#include "tests/simhsm/own/openssl_objects.h"

namespace hsmux::sim::own {

// CK_UNAVAILABLE_INFORMATION, without the header's cast.
constexpr CK_ULONG kUnavailable = ~CK_ULONG{0};

class Attributes {
public:
  using Entry = std::pair<CK_ATTRIBUTE_TYPE, Bytes>;

  // nullptr: there is none.
  [[nodiscard]] const Bytes* find(CK_ATTRIBUTE_TYPE type) const;
  [[nodiscard]] bool contains(CK_ATTRIBUTE_TYPE type) const { return find(type) != nullptr; }
  [[nodiscard]] View view(CK_ATTRIBUTE_TYPE type) const; // empty when there is none
  [[nodiscard]] bool flag(CK_ATTRIBUTE_TYPE type) const; // false when there is none
  [[nodiscard]] std::optional<CK_ULONG> number(CK_ATTRIBUTE_TYPE type) const;

  void set(CK_ATTRIBUTE_TYPE type, View bytes);
  void set_flag(CK_ATTRIBUTE_TYPE type, bool flag);
  void set_number(CK_ATTRIBUTE_TYPE type, CK_ULONG number);

  [[nodiscard]] auto begin() const { return entries_.begin(); }
  [[nodiscard]] auto end() const { return entries_.end(); }

private:
  std::vector<Entry> entries_; // in the order of the types
};

struct Curve;

// What OpenSSL computes with. Public and private keys have a pkey, secret ones bytes.
struct Key {
  CK_KEY_TYPE type = 0;
  PKey pkey;
  KeyContext signer; // of EC: ready to sign, to be duplicated; spares OpenSSL a look-up under its locks at every use
  Bytes secret;
  std::size_t bits = 0;         // of an RSA modulus
  const Curve* curve = nullptr; // of EC and Edwards keys
};

struct Object {
  Attributes attributes;
  std::shared_ptr<const Key> key; // of keys
  std::shared_ptr<CannedAnswers> canned = std::make_shared<CannedAnswers>();
  CK_SESSION_HANDLE owner = CK_INVALID_HANDLE; // of session objects: the session that dies with it

  [[nodiscard]] CK_OBJECT_CLASS object_class() const { return attributes.number(CKA_CLASS).value_or(CKO_DATA); }
  [[nodiscard]] bool on_token() const { return attributes.flag(CKA_TOKEN); }
  [[nodiscard]] bool is_private() const { return attributes.flag(CKA_PRIVATE); }
  // May `type` be shown (PKCS#11 2.40, 4.8 and 4.9: CKA_SENSITIVE and CKA_EXTRACTABLE)?
  [[nodiscard]] bool reveals(CK_ATTRIBUTE_TYPE type) const;
};

} // namespace hsmux::sim::own
