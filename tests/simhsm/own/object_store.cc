#include "tests/simhsm/own/object_store.h"

#include <algorithm>
#include <mutex>

#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

bool matches(const Object& object, const Attributes& wanted) {
  return std::ranges::all_of(wanted, [&](const Attributes::Entry& entry) {
    const Bytes* value = object.attributes.find(entry.first);
    // Values that are not shown are not to be found out by guessing, either.
    return value != nullptr && *value == entry.second && object.reveals(entry.first);
  });
}

} // namespace

ObjectStore::Shared ObjectStore::find(CK_OBJECT_HANDLE handle) const {
  const std::shared_lock lock(mutex_);
  const auto at = visible_.find(handle);
  return at == visible_.end() ? nullptr : at->second;
}

std::vector<CK_OBJECT_HANDLE> ObjectStore::matching(const Attributes& wanted) const {
  std::vector<CK_OBJECT_HANDLE> found;
  {
    const std::shared_lock lock(mutex_);
    for (const auto& [handle, object] : visible_) {
      if (matches(*object, wanted)) found.push_back(handle);
    }
  }
  std::ranges::sort(found);
  return found;
}

std::size_t ObjectStore::size() const {
  const std::shared_lock lock(mutex_);
  return visible_.size() + hidden_.size();
}

std::vector<CK_OBJECT_HANDLE> ObjectStore::insert(std::vector<Object> objects, std::size_t objects_max,
                                                  const std::atomic<bool>& owner_closed) {
  std::vector<Shared> made;
  for (Object& object : objects) made.push_back(std::make_shared<const Object>(std::move(object)));
  const std::unique_lock lock(mutex_);
  require(!owner_closed, CKR_SESSION_HANDLE_INVALID);
  const std::size_t count = visible_.size() + hidden_.size() + made.size();
  require(objects_max == 0 || count <= objects_max, CKR_DEVICE_MEMORY);
  for (const Shared& object : made) require(private_shown_ || !object->is_private(), CKR_USER_NOT_LOGGED_IN);
  std::vector<CK_OBJECT_HANDLE> given;
  for (Shared& object : made) {
    given.push_back(next_);
    visible_.emplace(next_++, std::move(object));
  }
  return given;
}

bool ObjectStore::replace(CK_OBJECT_HANDLE handle, const Shared& old, Object with) {
  auto made = std::make_shared<const Object>(std::move(with));
  const std::unique_lock lock(mutex_);
  const auto at = visible_.find(handle);
  if (at == visible_.end() || at->second != old) return false;
  at->second.swap(made);
  return true;
}

bool ObjectStore::remove(CK_OBJECT_HANDLE handle, const Shared& old) {
  const std::unique_lock lock(mutex_);
  const auto at = visible_.find(handle);
  if (at == visible_.end() || at->second != old) return false;
  visible_.erase(at);
  return true;
}

void ObjectStore::remove_owned_by(CK_SESSION_HANDLE session) {
  const std::unique_lock lock(mutex_);
  std::erase_if(visible_, [&](const auto& entry) { return entry.second->owner == session; });
}

void ObjectStore::clear() {
  const std::unique_lock lock(mutex_);
  visible_.clear();
  hidden_.clear();
}

void ObjectStore::show_private() {
  const std::unique_lock lock(mutex_);
  private_shown_ = true;
  for (auto& [handle, object] : hidden_) visible_.emplace(handle != 0 ? handle : next_++, std::move(object));
  hidden_.clear();
}

void ObjectStore::hide_private() {
  const std::unique_lock lock(mutex_);
  private_shown_ = false;
  for (const CK_OBJECT_HANDLE handle : handles()) {
    const auto at = visible_.find(handle);
    if (!at->second->is_private()) continue;
    if (at->second->on_token()) hidden_.emplace_back(0, std::move(at->second));
    visible_.erase(at);
  }
}

void ObjectStore::renumber() {
  const std::unique_lock lock(mutex_);
  std::vector<Shared> order;
  for (const CK_OBJECT_HANDLE handle : handles()) order.push_back(std::move(visible_.at(handle)));
  visible_.clear();
  next_ = 1;
  // The invisible ones come first, else the second one does: values from before mean other objects.
  for (auto& [handle, object] : hidden_) handle = next_++;
  if (hidden_.empty() && !order.empty()) std::ranges::rotate(order, order.begin() + 1);
  for (Shared& object : order) visible_.emplace(next_++, std::move(object));
}

std::vector<CK_OBJECT_HANDLE> ObjectStore::handles() const {
  std::vector<CK_OBJECT_HANDLE> all;
  all.reserve(visible_.size());
  for (const auto& [handle, object] : visible_) all.push_back(handle);
  std::ranges::sort(all);
  return all;
}

} // namespace hsmux::sim::own
