#include "tests/simhsm/own/object.h"

#include <algorithm>
#include <cstring>

namespace hsmux::sim::own {

const Bytes* Attributes::find(CK_ATTRIBUTE_TYPE type) const {
  const auto at = std::ranges::lower_bound(entries_, type, {}, &Entry::first);
  return at == entries_.end() || at->first != type ? nullptr : &at->second;
}

View Attributes::view(CK_ATTRIBUTE_TYPE type) const {
  const Bytes* bytes = find(type);
  return bytes == nullptr ? View() : View(*bytes);
}

bool Attributes::flag(CK_ATTRIBUTE_TYPE type) const {
  const Bytes* bytes = find(type);
  return bytes != nullptr && bytes->size() == sizeof(CK_BBOOL) && bytes->front() != CK_FALSE;
}

std::optional<CK_ULONG> Attributes::number(CK_ATTRIBUTE_TYPE type) const {
  const Bytes* bytes = find(type);
  if (bytes == nullptr || bytes->size() != sizeof(CK_ULONG)) return std::nullopt;
  CK_ULONG number = 0;
  std::memcpy(&number, bytes->data(), sizeof number);
  return number;
}

void Attributes::set(CK_ATTRIBUTE_TYPE type, View bytes) {
  const auto at = std::ranges::lower_bound(entries_, type, {}, &Entry::first);
  if (at != entries_.end() && at->first == type) {
    at->second = copy_of(bytes);
  } else {
    entries_.emplace(at, type, copy_of(bytes));
  }
}

void Attributes::set_flag(CK_ATTRIBUTE_TYPE type, bool flag) {
  const CK_BBOOL value = flag ? CK_TRUE : CK_FALSE;
  set(type, {&value, 1});
}

void Attributes::set_number(CK_ATTRIBUTE_TYPE type, CK_ULONG number) {
  Bytes value(sizeof number);
  std::memcpy(value.data(), &number, sizeof number);
  set(type, value);
}

bool Object::reveals(CK_ATTRIBUTE_TYPE type) const {
  switch (type) {
  case CKA_VALUE:
  case CKA_PRIVATE_EXPONENT:
  case CKA_PRIME_1:
  case CKA_PRIME_2:
  case CKA_EXPONENT_1:
  case CKA_EXPONENT_2:
  case CKA_COEFFICIENT: break;
  default: return true;
  }
  const CK_OBJECT_CLASS kind = object_class();
  if (kind != CKO_PRIVATE_KEY && kind != CKO_SECRET_KEY) return true;
  return !attributes.flag(CKA_SENSITIVE) && attributes.flag(CKA_EXTRACTABLE);
}

} // namespace hsmux::sim::own
