// Making, listing and deleting keys over the slots. Never repeated blindly: a lost answer may have made a key.
// Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/key_index.h"
#include "mechanisms/key_template.h"

namespace hsmux {

class KeyManagement {
public:
  KeyManagement(SlotGroup& group, KeyIndex& index, const KeysConfig& config)
      : group_(group), index_(index), config_(config) {}

  // Errors: kInvalidArgument (label, bits), kUnsupported (several slots without a way to give them the same key; a slot
  // that does not make such keys), kUnavailable (a chosen slot is down). Whatever was made before a failure is removed.
  Result<KeyInfo> generate(const GenerateRequest& request, Deadline deadline);
  // All keys, or those that the query fits. `slot` may be empty.
  Result<std::vector<KeyInfo>> list(std::string_view name, std::string_view slot, Deadline deadline);
  // Every replica and its public half. Refused, changing nothing, while a configured slot is down: a replica may be
  // there.
  Result<KeyInfo> remove(KeyName name, Deadline deadline);

private:
  struct Chosen {
    std::vector<std::size_t> slots; // in order of preference
    std::size_t needed;             // how many of them must succeed
  };
  Result<Chosen> choose(const GenerateRequest& request) const;
  Result<SlotSet> make_everywhere(const Chosen& chosen, const KeyRequest& key, bool software, Deadline deadline);
  // Removes what was made, and says where that was not possible.
  std::string undo(SlotSet made, ByteView id);
  Status destroy_in(std::size_t slot, ByteView id, Deadline deadline);

  SlotGroup& group_;
  KeyIndex& index_;
  const KeysConfig& config_;
};

} // namespace hsmux
