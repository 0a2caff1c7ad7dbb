// Session copies of keys: where a token reads its key store at each Init, working on a C_CopyObject copy of the key in
// memory saves that (docs/performance.md). Copies belong to the slot's anchor session and so end with the epoch; they
// are SENSITIVE and not EXTRACTABLE, and bear an id and a label of their own, so that no search takes them for the key.
// A copy is dropped when hsmux deletes its key, and at the next refresh after somebody else did. Where the token
// refuses a copy, the key itself is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "slots/deadline.h"
#include "slots/key_handles.h"
#include "slots/slot_selector.h"

namespace hsmux {

enum class SessionCopies : std::uint8_t {
  kAuto, // by the token's row in key_copies.cc; without one, none
  kOn,
  kOff,
};
// What kAuto means for a token.
bool gains_by_copies(const TokenIdentity& token);

// Is this the CKA_ID of a copy? Its key's id behind a mark.
bool is_copy_id(ByteView id);

class KeyCopies {
public:
  explicit KeyCopies(KeyHandles& handles) : handles_(handles) {}

  // --- any thread ---
  // A key of `epoch` was found at `handle`: it is to be copied.
  void want(std::uint64_t epoch, ObjectClass object_class, ByteView id, ObjectHandle handle);
  // A copy that nobody is to use any more.
  void drop(std::uint64_t epoch, ObjectHandle copy);
  [[nodiscard]] bool wanted() const;
  [[nodiscard]] std::uint32_t count() const;
  // Grows before and after a copy is made; odd meanwhile. SoftHSM 2.6.1 shows a copy that is being made to searches as
  // what it is a copy of, attribute by attribute: a search that found a key twice while this changed, or was odd, is to
  // be made again.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

  // --- the keeper's thread ---
  // Makes and destroys what was asked for, in the anchor session of `epoch`. Errors: what puts the anchor in doubt.
  Status carry_out(Session& anchor, std::uint64_t epoch);
  // Looks whether the copied keys are still in the token; drops the copies of those that are not.
  Status refresh(Session& anchor, std::uint64_t epoch);
  // The anchor is gone, and with it all copies.
  void forget_all();

private:
  struct Copied {
    std::uint64_t epoch;
    ObjectClass object_class;
    Bytes id;
    ObjectHandle key, copy;
  };

  KeyHandles& handles_;
  std::atomic<std::uint64_t> generation_{0};
  mutable std::mutex mutex_; // guards what follows; never held during a call of the module
  std::vector<Copied> to_make_, made_;
  std::vector<ObjectHandle> to_destroy_;
  std::uint64_t epoch_ = 0; // of to_destroy_
};

} // namespace hsmux
