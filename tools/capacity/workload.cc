#include "tools/capacity/workload.h"

#include <fmt/format.h>
#include <unistd.h>

#include "tools/program.h"

namespace hsmux::capacity {
namespace {

constexpr std::uint8_t kPlainByte = 0x6d;

bool same_keys(const MixEntry& a, const MixEntry& b) {
  return a.key.empty() && b.key.empty() && a.keys == b.keys && share_keys(spec_of(a.algorithm), spec_of(b.algorithm));
}

} // namespace

Status Workload::prepare(Engine& engine, const Preparation& how) {
  for (const MixEntry& entry : mix_.entries) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted while the keys were made");
    items_.push_back(std::make_unique<Item>());
    HSMUX_CHECK(prepare_entry(engine, entry, *items_.back(), how));
  }
  return {};
}

Status Workload::prepare_entry(Engine& engine, const MixEntry& entry, Item& item, const Preparation& how) {
  std::vector<std::string> names;
  if (!entry.key.empty()) {
    HSMUX_TRY(const bool there, engine.exists(entry.key, how.options));
    if (!there) {
      return fail(ErrorKind::kKeyNotFound,
                  fmt::format("no slot holds a key named '{}'; without key= the test makes its own", entry.key));
    }
    names.push_back(entry.key);
  }
  for (std::size_t i = 0; names.empty() && i + 1 < items_.size(); ++i) { // an earlier entry's
    if (!same_keys(mix_.entries[i], entry)) continue;
    for (const Key& key : items_[i]->keys) names.push_back(key.name);
  }
  while (names.size() < entry.keys && entry.key.empty()) {
    if (Program::interrupted()) return fail(ErrorKind::kClosed, "interrupted while the keys were made");
    HSMUX_TRY(names.emplace_back(), make_key(engine, entry, how.software_keys));
  }
  for (std::string& name : names) {
    item.keys.push_back({.name = std::move(name), .input = {}});
    HSMUX_CHECK(try_once(engine, entry, item.keys.back(), how));
  }
  return {};
}

Result<std::string> Workload::make_key(Engine& engine, const MixEntry& entry, bool software_keys) {
  const std::string label = fmt::format("{}-{}-{}", prefix_, getpid(), made_.size() + 1);
  const TimePoint start = MonotonicClock::now();
  Result<KeyInfo> key =
      engine.generate({.label = label,
                       .algorithm = entry.algorithm,
                       .bits = 0,
                       .placement = PlacementConfig{.kind = Placement::kAll, .quorum = 0, .slots = {}},
                       .software_key = software_keys,
                       .options = {}});
  if (!key) {
    key.error().message += "; a key that exists already is named by --work ALGORITHM,key=NAME";
    return fail(std::move(key).error());
  }
  times_.generated.emplace_back(
      fmt::format("{}{}", spec_of(entry.algorithm).name, key->software_key ? " (on the host, imported)" : ""),
      (MonotonicClock::now() - start).count());
  made_.push_back("id:" + key->id);
  return made_.back();
}

// Every operation is right once before it is measured; the rate would say nothing otherwise.
Status Workload::try_once(Engine& engine, const MixEntry& entry, Key& key, const Preparation& how) {
  const RequestOptions& options = how.options;
  const Bytes plain(entry.bytes, kPlainByte);
  if (entry.operation == Operation::kSign) {
    key.input = plain;
    HSMUX_TRY(
        const Bytes signature,
        engine.sign(
            {.key = key.name, .algorithm = entry.algorithm, .message = plain, .prehashed = false, .options = options}));
    if (!how.check) return {};
    return engine.verify({.key = key.name,
                          .algorithm = entry.algorithm,
                          .message = plain,
                          .prehashed = false,
                          .signature = signature,
                          .options = options});
  }
  HSMUX_TRY(Bytes sealed,
            engine.encrypt(
                {.key = key.name, .algorithm = entry.algorithm, .plaintext = plain, .aad = {}, .options = options}));
  HSMUX_TRY(const Bytes opened, engine.decrypt({.key = key.name,
                                                .algorithm = entry.algorithm,
                                                .ciphertext = sealed,
                                                .aad = {},
                                                .bound_to = std::nullopt,
                                                .options = options}));
  if (how.check && opened != plain) return fail(ErrorKind::kDevice, entry.name() + " gives a wrong result");
  key.input = entry.operation == Operation::kDecrypt ? std::move(sealed) : plain;
  return {};
}

Status Workload::remove_keys(Engine& engine) {
  Status first;
  for (const std::string& id : made_) {
    Result<KeyInfo> gone = engine.delete_key(id);
    if (!gone && gone.error().kind != ErrorKind::kKeyNotFound && first) first = fail(std::move(gone).error());
  }
  if (first) made_.clear();
  return first;
}

Result<Job> Workload::submit(Engine& engine, std::size_t entry, const RequestOptions& options,
                             Completion<Bytes> done) const {
  const MixEntry& what = mix_.entries[entry];
  Item& item = *items_[entry];
  const std::size_t turn = item.keys.size() == 1 ? 0 : item.turn.fetch_add(1, std::memory_order_relaxed);
  const Key& key = item.keys[turn % item.keys.size()];
  switch (what.operation) {
  case Operation::kSign:
    return engine.submit(
        SignRequest{
            .key = key.name, .algorithm = what.algorithm, .message = key.input, .prehashed = false, .options = options},
        std::move(done));
  case Operation::kDecrypt:
    return engine.submit(DecryptRequest{.key = key.name,
                                        .algorithm = what.algorithm,
                                        .ciphertext = key.input,
                                        .aad = {},
                                        .bound_to = std::nullopt,
                                        .options = options},
                         std::move(done));
  case Operation::kEncrypt:
    return engine.submit(
        EncryptRequest{
            .key = key.name, .algorithm = what.algorithm, .plaintext = key.input, .aad = {}, .options = options},
        std::move(done));
  }
  return fail(ErrorKind::kInternal, "no such operation");
}

} // namespace hsmux::capacity
