// Keys by name, found once and remembered: which slots hold a replica, and that the replicas are the same key.
// Thread-safe.
#pragma once

#include <oneapi/tbb/concurrent_hash_map.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/request.h"
#include "engine/slot_group.h"

namespace hsmux {

// AES-GCM with random 96-bit IVs: NIST SP 800-38D 8.3 allows 2^32 encryptions per key. Counted per key and process.
class GcmUsage {
public:
  enum class Verdict : std::uint8_t { kFine, kWarn, kExhausted };
  static constexpr std::uint64_t kWarnAt = std::uint64_t{1} << 31, kRefuseAt = std::uint64_t{1} << 32;

  explicit GcmUsage(std::uint64_t used = 0) : used_(used) {}
  // Counts one encryption. kWarn exactly once.
  Verdict use();

private:
  std::atomic<std::uint64_t> used_;
};

// A key that may have replicas. Immutable once found.
struct Key {
  KeyInfo info;
  Bytes id;
  ObjectClass object_class{}; // of the half that the HSM keeps
  std::optional<KeyKind> kind;
  SlotSet slots = 0;         // that hold a replica
  bool complete = true;      // false: a slot that is up did not answer, so the next request looks again
  std::optional<Bytes> spki; // public keys only; nullopt when the token has no public key object
  std::shared_ptr<GcmUsage> gcm_usage;
  bool always_authenticate = false; // each operation wants a login of its own
  FlowId flow = 0;                  // of requests with it, before what they do with it is mixed in
};

// Every private and secret key on the given slots that fits the query, merged by CKA_ID: one entry per key, with the
// slots that hold it.
struct FoundKey {
  KeyObject object; // as the first slot shows it
  SlotSet slots = 0;
  bool twice_in_a_slot = false; // two objects with one id and class in one slot
};
struct FoundKeys {
  std::vector<FoundKey> keys;
  SlotSet unanswered = 0;       // slots that could not be asked: they may hold more
  std::optional<Error> failure; // of one of them
};
FoundKeys find_keys(SlotGroup& group, const KeyQuery& query, SlotSet slots, Deadline deadline, Router::Wait wait);
KeyInfo key_info(const FoundKey& found, const SlotGroup& group);

class KeyIndex {
public:
  explicit KeyIndex(SlotGroup& group) : group_(group) {}

  // The one key of that name. Errors: kInvalidArgument (name), kKeyNotFound, kKeyAmbiguous (lists the candidates),
  // kKeyUnusable (replicas that differ, no CKA_ID), kUnavailable (it may lie in a slot that is down), or a call's.
  Result<std::shared_ptr<const Key>> find(KeyName name, Deadline deadline);
  // The same from memory: nullptr where find() would have to look.
  std::shared_ptr<const Key> known(KeyName name);
  // Everything is looked up anew at its next use.
  void clear() { clears_.fetch_add(1); }

private:
  // What an entry was found under; it is looked up anew when that has changed.
  struct Generation {
    std::uint64_t slots = 0, clears = 0;
    bool operator==(const Generation&) const = default;
  };
  struct Entry {
    Generation generation;
    std::shared_ptr<const Key> key;
  };
  [[nodiscard]] Generation generation() const { return {group_.generation(), clears_.load()}; }
  void remember(const std::string& name, Generation generation, std::shared_ptr<const Key> key);
  // `silent`: the slots that could not be asked.
  Result<std::shared_ptr<const Key>> look_up_once(KeyName name, const KeyQuery& query, const Key* before,
                                                  Deadline deadline, SlotSet& silent);
  Result<std::shared_ptr<const Key>> look_up(KeyName name, const Key* before, Deadline deadline);
  Result<std::shared_ptr<Key>> describe(KeyName name, const FoundKey& found, Deadline deadline);
  Status add_public_half(Key& key, std::size_t slot, Deadline deadline);
  Status compare_secret(const Key& key, std::size_t slot, ReplicaCheck& check, Deadline deadline);
  std::shared_ptr<GcmUsage> usage_of(const Bytes& id);

  static constexpr Generation kStale{~std::uint64_t{0}, 0}; // no generation
  static constexpr std::size_t kEntriesMax = 10'000;        // names come from callers: bounded

  SlotGroup& group_;
  // A look-up by a view makes no string.
  struct ByText {
    using is_transparent = void;
    [[nodiscard]] std::size_t hash(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    [[nodiscard]] bool equal(std::string_view a, std::string_view b) const { return a == b; }
  };
  std::atomic<std::uint64_t> clears_{0};
  // Found, inserted and erased by name only: the map is neither walked nor cleared, which other threads would not
  // survive.
  // Not TBB's own allocator, whose reuse of memory ThreadSanitizer does not see.
  template <class Value, class Compare>
  using Map =
      tbb::concurrent_hash_map<std::string, Value, Compare, std::allocator<std::pair<const std::string, Value>>>;
  Map<Entry, ByText> entries_;
  Map<std::shared_ptr<GcmUsage>, tbb::tbb_hash_compare<std::string>> usages_;
  std::mutex order_mutex_;        // guards order_
  std::deque<std::string> order_; // names in entries_, oldest first
};

} // namespace hsmux
