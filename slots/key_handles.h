// Object handles of keys, found once per slot and epoch: searching on every operation is what makes clients slow. Never
// returns a handle of another epoch. Thread-safe.
#pragma once

#include <oneapi/tbb/concurrent_hash_map.h>

#include <array>
#include <cstdint>
#include <optional>

#include "slots/session.h"

namespace hsmux {

inline constexpr std::size_t kKeyIdBytesMax = 64; // of CKA_ID; longer ones are refused

// The template that fits exactly the token object of this class with this CKA_ID.
Template key_template_by_id(ObjectClass object_class, ByteView id);

struct KeyHandle {
  ObjectHandle handle;
  bool is_copy;          // of the key's session copy
  bool verified = false; // a result of this very handle was found right
};

class KeyHandles {
public:
  // The key's copy where there is one and `copies` is wanted, else the key.
  [[nodiscard]] std::optional<KeyHandle> lookup(std::uint64_t epoch, ObjectClass object_class, ByteView id,
                                                bool copies = true) const;
  // True when the key was not known before in this epoch.
  bool store(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle);
  // A session copy of the key at `handle` (slots/key_copies.h). False when that is not what is known of the key any
  // more.
  bool store_copy(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle, ObjectHandle copy);
  // A result of this handle was found right. Without effect when it is not what is known of the key any more.
  void mark_verified(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle);
  // The copy that was in use, if there was one.
  struct Copy {
    std::uint64_t epoch;
    ObjectHandle handle;
  };
  std::optional<Copy> forget(ObjectClass object_class, ByteView id);

private:
  struct Key { // fixed size, so that a look-up allocates nothing
    std::array<std::uint8_t, kKeyIdBytesMax> id{};
    std::uint8_t id_bytes = 0;
    ObjectClass object_class{};
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    static std::size_t hash(const Key& key);
    static bool equal(const Key& a, const Key& b) { return a == b; }
  };
  struct Entry {
    std::uint64_t epoch;
    ObjectHandle handle;
    ObjectHandle copy; // CK_INVALID_HANDLE: none
    bool verified = false, copy_verified = false;
  };
  static Key make_key(ObjectClass object_class, ByteView id);

  // Not TBB's own allocator, whose reuse of memory ThreadSanitizer does not see.
  tbb::concurrent_hash_map<Key, Entry, Hash, std::allocator<std::pair<const Key, Entry>>> handles_;
};

} // namespace hsmux
