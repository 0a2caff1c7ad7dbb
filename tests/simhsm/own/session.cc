#include "tests/simhsm/own/session.h"

#include <algorithm>
#include <cstring>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

bool allows(const Object& object, CK_MECHANISM_TYPE mechanism) {
  const View list = object.attributes.view(CKA_ALLOWED_MECHANISMS);
  if (list.empty()) return true;
  for (View rest = list; rest.size() >= sizeof mechanism; rest = rest.subspan(sizeof mechanism)) {
    if (std::memcmp(rest.data(), &mechanism, sizeof mechanism) == 0) return true;
  }
  return false;
}

} // namespace

void check_key_use(const Object& object, const MechanismRow& row, CK_OBJECT_CLASS pair_class, CK_ATTRIBUTE_TYPE usage) {
  const bool secret = row.key_type == CKK_AES || row.key_type == CKK_GENERIC_SECRET;
  require(object.key && object.key->type == row.key_type, CKR_KEY_TYPE_INCONSISTENT);
  require(object.object_class() == (secret ? CKO_SECRET_KEY : pair_class), CKR_KEY_TYPE_INCONSISTENT);
  require(object.attributes.flag(usage), CKR_KEY_FUNCTION_NOT_PERMITTED);
  require(allows(object, row.type), CKR_MECHANISM_INVALID);
  const std::size_t size = secret ? object.key->secret.size() : object.key->bits;
  const bool ranged = row.key_type != CKK_EC && row.key_type != CKK_EC_EDWARDS; // the curves are checked before
  require(!ranged || (size >= row.min && size <= row.max), CKR_KEY_SIZE_RANGE);
}

CK_SESSION_INFO Session::info() const {
  CK_SESSION_INFO info{};
  info.slotID = token_.slot();
  info.flags = CKF_SERIAL_SESSION | (read_write_ ? CKF_RW_SESSION : 0);
  switch (token_.login()) {
  case Login::kNobody: info.state = read_write_ ? CKS_RW_PUBLIC_SESSION : CKS_RO_PUBLIC_SESSION; break;
  case Login::kUser: info.state = read_write_ ? CKS_RW_USER_FUNCTIONS : CKS_RO_USER_FUNCTIONS; break;
  case Login::kOfficer: info.state = CKS_RW_SO_FUNCTIONS; break;
  }
  return info;
}

void Session::close() {
  closed_ = true;
  token_.objects().remove_owned_by(handle_);
  token_.session_closed(read_write_);
}

std::shared_ptr<const Object> Session::object(CK_OBJECT_HANDLE handle, CK_RV otherwise) const {
  auto found = token_.objects().find(handle);
  require(found != nullptr, otherwise);
  return found;
}

std::shared_ptr<const Object> Session::key_for(const MechanismRow& row, CK_OBJECT_HANDLE handle,
                                               CK_OBJECT_CLASS pair_class, CK_ATTRIBUTE_TYPE usage) const {
  auto found = object(handle, CKR_KEY_HANDLE_INVALID);
  check_key_use(*found, row, pair_class, usage);
  return found;
}

std::vector<CK_OBJECT_HANDLE> Session::insert(std::vector<Object> objects) const {
  for (Object& object : objects) {
    check_writable(object);
    if (!object.on_token()) object.owner = handle_;
  }
  return token_.objects().insert(std::move(objects), token_.policy().objects_max, closed_);
}

void Session::check_writable(const Object& object) const {
  require(!object.on_token() || read_write_, CKR_SESSION_READ_ONLY);
  require(!object.is_private() || token_.login() == Login::kUser, CKR_USER_NOT_LOGGED_IN);
}

} // namespace hsmux::sim::own
