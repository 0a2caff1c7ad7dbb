// The objects of one token and their handles. Owned by the token; any thread. Finding takes a shared lock.
#pragma once

#include <atomic>
#include <shared_mutex>
#include <unordered_map>

#include "tests/simhsm/own/object.h"

namespace hsmux::sim::own {

class ObjectStore {
public:
  using Shared = std::shared_ptr<const Object>;

  // nullptr: no such handle, or it is of a private object and the user is not logged in.
  [[nodiscard]] Shared find(CK_OBJECT_HANDLE handle) const;
  // In the order of the handles.
  [[nodiscard]] std::vector<CK_OBJECT_HANDLE> matching(const Attributes& wanted) const;
  [[nodiscard]] std::size_t size() const;

  // All of them or, when one is refused, none: CKR_DEVICE_MEMORY above `objects_max` (0: no limit),
  // CKR_USER_NOT_LOGGED_IN for private ones, CKR_SESSION_HANDLE_INVALID when `owner_closed`.
  std::vector<CK_OBJECT_HANDLE> insert(std::vector<Object> objects, std::size_t objects_max,
                                       const std::atomic<bool>& owner_closed);
  // False when `handle` does not mean `old` any more.
  bool replace(CK_OBJECT_HANDLE handle, const Shared& old, Object with);
  bool remove(CK_OBJECT_HANDLE handle, const Shared& old);
  void remove_owned_by(CK_SESSION_HANDLE session);
  void clear();

  // At login and logout. Hiding ends private session objects, and the handles of private token objects for good.
  void show_private();
  void hide_private();

  // See renumber_objects() in hsm.h.
  void renumber();

private:
  [[nodiscard]] std::vector<CK_OBJECT_HANDLE> handles() const; // sorted; the caller holds the lock

  mutable std::shared_mutex mutex_; // guards all below
  std::unordered_map<CK_OBJECT_HANDLE, Shared> visible_;
  // Private token objects, while the user is not logged in, with the handles kept for them (0: the next one).
  std::vector<std::pair<CK_OBJECT_HANDLE, Shared>> hidden_;
  bool private_shown_ = false;
  CK_OBJECT_HANDLE next_ = 1;
};

} // namespace hsmux::sim::own
