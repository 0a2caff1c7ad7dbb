// The entry points around objects.
#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/key_codec.h"
#include "tests/simhsm/own/operation.h"
#include "tests/simhsm/own/template_rules.h"

namespace hsmux::sim::own {
namespace {

bool is_key(const Attributes& attributes) {
  const auto kind = attributes.number(CKA_CLASS);
  return kind == CKO_PUBLIC_KEY || kind == CKO_PRIVATE_KEY || kind == CKO_SECRET_KEY;
}

// One row of a C_GetAttributeValue (PKCS#11 2.40, 5.7): fills it and says what is to be said about it.
CK_RV read(const Object& object, CK_ATTRIBUTE& row) {
  const Bytes* value = object.attributes.find(row.type);
  const auto unavailable = [&](CK_RV rv) {
    row.ulValueLen = kUnavailable;
    return rv;
  };
  if (value == nullptr) return unavailable(CKR_ATTRIBUTE_TYPE_INVALID);
  if (!object.reveals(row.type)) return unavailable(CKR_ATTRIBUTE_SENSITIVE);
  if (row.pValue != nullptr) {
    if (row.ulValueLen < value->size()) return unavailable(CKR_BUFFER_TOO_SMALL);
    std::ranges::copy(*value, static_cast<unsigned char*>(row.pValue));
  }
  row.ulValueLen = value->size();
  return CKR_OK;
}

} // namespace

void create_object(Session& session, CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_HANDLE* made) {
  require(made != nullptr, CKR_ARGUMENTS_BAD);
  Attributes given = read_template(list, count);
  check_new(given, Origin::kCreate, session.by_so());
  auto key = is_key(given) ? key_from(given) : nullptr;
  std::vector<Object> objects;
  objects.push_back(complete(std::move(given), std::move(key), {}));
  *made = session.insert(std::move(objects)).front();
}

void copy_object(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count,
                 CK_OBJECT_HANDLE* made) {
  require(made != nullptr, CKR_ARGUMENTS_BAD);
  const auto old = session.object(object, CKR_OBJECT_HANDLE_INVALID);
  const Attributes given = read_template(list, count);
  require(old->attributes.flag(CKA_COPYABLE), CKR_ACTION_PROHIBITED);
  std::vector<Object> objects(1);
  objects.front().attributes = changed(*old, given, Origin::kCopy, session.by_so());
  objects.front().key = old->key;
  *made = session.insert(std::move(objects)).front();
}

void destroy_object(Session& session, CK_OBJECT_HANDLE object) {
  const auto old = session.object(object, CKR_OBJECT_HANDLE_INVALID);
  session.check_writable(*old);
  require(old->attributes.flag(CKA_DESTROYABLE), CKR_ACTION_PROHIBITED);
  // Lost a race against a change: try again with what is there now.
  if (!session.token().objects().remove(object, old)) destroy_object(session, object);
}

void get_object_size(Session& session, CK_OBJECT_HANDLE object, CK_ULONG* size) {
  const auto found = session.object(object, CKR_OBJECT_HANDLE_INVALID);
  require(size != nullptr, CKR_ARGUMENTS_BAD);
  *size = sizeof(Object);
  for (const auto& [type, value] : found->attributes) *size += sizeof type + value.size();
}

void get_attribute_value(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count) {
  const auto found = session.object(object, CKR_OBJECT_HANDLE_INVALID);
  require(list != nullptr || count == 0, CKR_ARGUMENTS_BAD);
  CK_RV answer = CKR_OK;
  for (CK_ATTRIBUTE& row : std::span(list, count)) {
    const CK_RV rv = read(*found, row);
    if (answer == CKR_OK) answer = rv;
  }
  require(answer == CKR_OK, answer);
}

void set_attribute_value(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count) {
  const Attributes given = read_template(list, count);
  for (;;) {
    const auto old = session.object(object, CKR_OBJECT_HANDLE_INVALID);
    session.check_writable(*old);
    require(old->attributes.flag(CKA_MODIFIABLE), CKR_ACTION_PROHIBITED);
    Object with = *old;
    with.attributes = changed(*old, given, Origin::kSet, session.by_so());
    with.canned = std::make_shared<CannedAnswers>(); // a key that got its name is asked anew
    if (session.token().objects().replace(object, old, std::move(with))) return;
  }
}

void find_objects_init(Session& session, CK_ATTRIBUTE* list, CK_ULONG count) {
  require(!session.finding, CKR_OPERATION_ACTIVE);
  session.finding.emplace(session.token().objects().matching(read_template(list, count)), 0);
}

void find_objects(Session& session, CK_OBJECT_HANDLE* objects, CK_ULONG room, CK_ULONG* count) {
  require(session.finding.has_value(), CKR_OPERATION_NOT_INITIALIZED);
  require(count != nullptr && (objects != nullptr || room == 0), CKR_ARGUMENTS_BAD);
  Finding& finding = *session.finding;
  const std::span rest = std::span(finding.found).subspan(finding.told);
  *count = std::min<CK_ULONG>(room, rest.size());
  std::ranges::copy(rest.first(*count), objects);
  finding.told += *count;
}

void find_objects_final(Session& session) {
  require(session.finding.has_value(), CKR_OPERATION_NOT_INITIALIZED);
  session.finding.reset();
}

} // namespace hsmux::sim::own
