// Attributes of PKCS#11 objects as plain values, and templates made of them. Values, one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "slots/result.h"

namespace hsmux {

using ObjectHandle = unsigned long; // CK_OBJECT_HANDLE; valid only together with the epoch it was made in

enum class ObjectClass : std::uint8_t { kPrivateKey, kPublicKey, kSecretKey };

struct Attribute {
  unsigned long type; // CKA_
  Bytes value;        // in the module's byte order and widths (CK_BBOOL, CK_ULONG, bytes)
};

// A list of attributes for searching and making objects. Wiped at its end, since it may hold key material.
class Template {
public:
  Template() = default;
  Template(Template&&) noexcept = default;
  Template& operator=(Template&&) noexcept = default;
  ~Template();

  Template& flag(unsigned long type, bool value);
  Template& number(unsigned long type, unsigned long value);
  Template& bytes(unsigned long type, ByteView value);
  Template& text(unsigned long type, std::string_view value);

  [[nodiscard]] std::span<const Attribute> attributes() const { return attributes_; }

private:
  std::vector<Attribute> attributes_;
};

// Reading values back. nullopt when the size does not fit the kind.
std::optional<bool> as_flag(ByteView value);
std::optional<unsigned long> as_number(ByteView value);

} // namespace hsmux
