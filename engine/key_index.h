// Keys by name, found once and remembered: which slots hold a replica, and that the replicas are the same key.
// Thread-safe.
#pragma once

#include <oneapi/tbb/concurrent_hash_map.h>

#include <atomic>
#include <memory>
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
  std::optional<Bytes> spki; // public keys only; nullopt when the token has no public key object
  std::shared_ptr<GcmUsage> gcm_usage;
};

class KeyIndex {
public:
  explicit KeyIndex(SlotGroup& group) : group_(group) {}

  // The one key of that name. Errors: kInvalidArgument (name), kKeyNotFound, kKeyAmbiguous (lists the candidates),
  // kKeyUnusable (replicas that differ, no CKA_ID), kUnavailable (it may lie in a slot that is down), or a call's.
  Result<std::shared_ptr<const Key>> find(KeyName name, Deadline deadline);
  // Everything is looked up anew at its next use.
  void clear();

private:
  struct Entry {
    std::uint64_t generation;
    std::shared_ptr<const Key> key;
  };
  Result<std::shared_ptr<const Key>> look_up(KeyName name, const Key* before, Deadline deadline);
  Status add_public_half(Key& key, SlotSet slots, Deadline deadline);
  Status compare_secret_replicas(const Key& key, SlotSet slots, Deadline deadline);
  std::shared_ptr<GcmUsage> usage_of(const Bytes& id);

  static constexpr std::size_t kEntriesMax = 10'000; // names come from callers: bounded

  SlotGroup& group_;
  tbb::concurrent_hash_map<std::string, Entry> entries_;
  tbb::concurrent_hash_map<std::string, std::shared_ptr<GcmUsage>> usages_;
};

// Every private and secret key on the given slots that fits the query, merged by CKA_ID: one entry per key, with the
// slots that hold it.
struct FoundKey {
  KeyObject object; // as the first slot shows it
  SlotSet slots = 0;
  bool twice_in_a_slot = false; // two objects with one id and class in one slot
};
Result<std::vector<FoundKey>> find_keys(SlotGroup& group, const KeyQuery& query, SlotSet slots, Deadline deadline);
KeyInfo key_info(const FoundKey& found, const SlotGroup& group);

} // namespace hsmux
