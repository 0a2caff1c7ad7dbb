// Making, importing, replicating, listing and deleting keys over the slots. Never repeated blindly: a lost answer may
// have made a key. What is to be in several slots gets there by replicate.h, one run at a time. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/key_index.h"
#include "engine/key_source.h"
#include "engine/leftovers.h"
#include "engine/log.h"
#include "engine/replicate.h"

namespace hsmux {

class KeyManagement {
public:
  // Told of each leftover of a crashed run that was found, and what became of it.
  using LeftoverSink = std::function<void(const LeftoverReport&)>;

  KeyManagement(SlotGroup& group, KeyIndex& index, const KeysConfig& config, LogSink log, LeftoverSink leftover)
      : group_(group), index_(index), config_(config), log_(std::move(log)), leftover_(std::move(leftover)) {}

  // Errors: kInvalidArgument (label, bits), kUnsupported (a slot that does not make or wrap such keys), kUnavailable (a
  // chosen slot is down). Whatever was made before a failure is removed.
  Result<KeyInfo> generate(const GenerateRequest& request, Deadline deadline);
  Result<KeyInfo> import(const ImportRequest& request, Deadline deadline);
  // Errors: kConflict (it is in all these slots), kKeyUnusable (it does not permit to leave its token; says what does),
  // and those of generate().
  Result<KeyInfo> replicate(const ReplicateRequest& request, Deadline deadline);
  // All keys, or those that the query fits. `slot` may be empty.
  Result<std::vector<KeyInfo>> list(std::string_view name, std::string_view slot, Deadline deadline);
  // Every replica and its public half. Refused, changing nothing, while a configured slot is down: a replica may be
  // there.
  Result<KeyInfo> remove(KeyName name, Deadline deadline);

private:
  Result<Replication::Plan> choose(const std::optional<PlacementConfig>& placement) const;
  Status check_up(std::span<const std::size_t> slots) const;
  // One run at a time: two could wait for each other's sessions. It lasts as long as the Run.
  struct EndOfRun {
    void operator()(KeyManagement* management) const;
  };
  using Run = std::unique_ptr<KeyManagement, EndOfRun>;
  Result<Run> begin(Deadline deadline);
  Result<SlotSet> make_in_one(const Replication::Plan& chosen, const KeyRequest& key, Deadline deadline);
  Result<std::unique_ptr<TokenSource>> make_source(std::size_t slot, const KeyRequest& key, Deadline deadline);
  Result<SlotSet> make_by_wrapping(const Replication::Plan& chosen, const KeyRequest& key, Deadline deadline);
  Result<SlotSet> place_from_host(const Replication::Plan& chosen, const KeyRequest& key, SoftwareKey material,
                                  Deadline deadline);
  struct Leaving {
    std::unique_ptr<KeySource> source;
    bool by_trusted_key = false; // and so are its copies
  };
  Result<Leaving> source_of(std::unique_ptr<HeldLease> lease, const Key& key, KeyName trusted_key);
  Result<KeyInfo> read_back(SlotSet made, ByteView id, Deadline deadline);
  [[nodiscard]] const Quirks& quirks_of_slot(std::size_t slot) const;

  SlotGroup& group_;
  KeyIndex& index_;
  const KeysConfig& config_;
  const LogSink log_;
  const LeftoverSink leftover_;
  std::mutex run_mutex_; // guards running_
  std::condition_variable run_ended_;
  bool running_ = false;
};

} // namespace hsmux
