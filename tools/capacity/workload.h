// The requests that are sent: for each entry of a mix its keys and inputs, ready to be submitted. Keys that it made
// itself are removed by it. Submitting: any thread; the rest: one thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tools/capacity/mix.h"

namespace hsmux::capacity {

struct KeyTimes {                                              // of what preparing cost, in nanoseconds
  std::vector<std::pair<std::string, std::int64_t>> generated; // algorithm, time
};

class Workload {
public:
  Workload(Mix mix, std::string prefix) : mix_(std::move(mix)), prefix_(std::move(prefix)) {}

  struct Preparation {
    bool software_keys = false;
    bool check = true; // each operation's first result
    RequestOptions options = {};
  };
  // Looks for named keys, makes the others ("PREFIX-RUN-1", ...), makes the inputs, and does every operation once. What
  // was made is remembered even where it fails. Errors: those of the engine; kDevice (a result is wrong).
  Status prepare(Engine& engine, const Preparation& how);
  // Deletes what prepare() made; the first error, after trying all.
  Status remove_keys(Engine& engine);

  [[nodiscard]] const Mix& mix() const { return mix_; }
  [[nodiscard]] const KeyTimes& key_times() const { return times_; }
  [[nodiscard]] std::size_t keys_made() const { return made_.size(); }
  // Of an entry: the key and the input that raw loops use, too.
  [[nodiscard]] const std::string& key_of(std::size_t entry) const { return items_.at(entry)->keys.front().name; }
  [[nodiscard]] const Bytes& input_of(std::size_t entry) const { return items_.at(entry)->keys.front().input; }

  Result<Job> submit(Engine& engine, std::size_t entry, const RequestOptions& options, Completion<Bytes> done) const;

private:
  struct Key {
    std::string name;
    Bytes input;
  };
  struct Item {
    std::vector<Key> keys;
    std::atomic<std::size_t> turn{0};
  };
  Status prepare_entry(Engine& engine, const MixEntry& entry, Item& item, const Preparation& how);
  Result<std::string> make_key(Engine& engine, const MixEntry& entry, bool software_keys);
  static Status try_once(Engine& engine, const MixEntry& entry, Key& key, const Preparation& how);

  Mix mix_;
  std::string prefix_;
  std::vector<std::unique_ptr<Item>> items_;
  std::vector<std::string> made_; // "id:..."
  KeyTimes times_;
};

} // namespace hsmux::capacity
