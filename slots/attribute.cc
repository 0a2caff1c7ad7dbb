#include "slots/attribute.h"

#include <openssl/crypto.h>

#include <cstring>

#include "slots/pkcs11.h"

namespace hsmux {

Template::~Template() {
  for (Attribute& attribute : attributes_) OPENSSL_cleanse(attribute.value.data(), attribute.value.size());
}

Template& Template::flag(unsigned long type, bool value) {
  attributes_.push_back({type, {value ? std::uint8_t{CK_TRUE} : std::uint8_t{CK_FALSE}}});
  return *this;
}

Template& Template::number(unsigned long type, unsigned long value) {
  Bytes raw(sizeof(CK_ULONG));
  std::memcpy(raw.data(), &value, sizeof value);
  attributes_.push_back({type, std::move(raw)});
  return *this;
}

Template& Template::bytes(unsigned long type, ByteView value) {
  attributes_.push_back({type, Bytes(value.begin(), value.end())});
  return *this;
}

Template& Template::text(unsigned long type, std::string_view value) {
  attributes_.push_back({type, Bytes(value.begin(), value.end())});
  return *this;
}

std::optional<bool> as_flag(ByteView value) {
  if (value.size() != sizeof(CK_BBOOL)) return std::nullopt;
  return value[0] != CK_FALSE;
}

std::optional<unsigned long> as_number(ByteView value) {
  if (value.size() != sizeof(CK_ULONG)) return std::nullopt;
  CK_ULONG number = 0;
  std::memcpy(&number, value.data(), sizeof number);
  return number;
}

} // namespace hsmux
