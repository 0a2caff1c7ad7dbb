// What an Engine owns. Shared, so that calls stuck in a module can be left behind with all that they touch.
#pragma once

#include <atomic>

#include "engine/audit.h"
#include "engine/engine.h"
#include "engine/key_index.h"
#include "engine/key_management.h"
#include "engine/parker.h"
#include "engine/request_runner.h"
#include "engine/workers.h"

namespace hsmux {

struct Engine::Core {
  Core(Config config_, EngineOptions options_)
      : config(std::move(config_)), options(std::move(options_)), index(group),
        management(
            group, index, config.keys, [this](LogLevel level, const std::string& text) { log(level, text); },
            [this](const LeftoverReport& found) { tell_of(found); }),
        runner(group, index, options.events, config.self_check.verify_share),
        workers(threads_max(config), [this](TimePoint now) { return group.router.expire(now); }) {}

  Status open();
  Status open_audit();
  Status connect(std::vector<std::shared_ptr<Module>> modules);
  // What slots tell: to the caller's listener, and to the audit log.
  [[nodiscard]] EventSink slot_events();
  void try_recipes();
  void try_recipes_of(const AlgorithmSpec& spec, std::size_t slot);
  bool close(Deadline deadline);
  Status canary(std::size_t slot, Session& session) const;

  [[nodiscard]] Deadline deadline_of(const RequestOptions& options_) const;
  [[nodiscard]] Deadline generation_deadline(const RequestOptions& options_) const;
  // The slots that may do this with the key; it is checked to fit algorithm and operation.
  Result<SlotSet> usable_slots(const Key& key, KeyName name, const AlgorithmSpec& spec, Operation operation,
                               std::string_view only_slot) const;
  // Finds the key of a blocking request: key, slots and deadline into `work`.
  Status begin(Work& work, KeyName name, Algorithm algorithm, Operation operation, const RequestOptions& options_);
  // The rest of it, of which `work` keeps views.
  Status prepare(Work& work, ByteView data, ByteView aad, ByteView bound_to, bool prehashed) const;
  // Counts an encryption with the key (NIST SP 800-38D).
  Status count_encryption(const Key& key) const;

  // What needs no work of a router's attempts; blocking. As Engine's functions.
  Result<Bytes> encrypt_on_host(const EncryptRequest& request);
  Status verify(const VerifyRequest& request);
  Status random(std::span<std::uint8_t> out, const RequestOptions& options_);
  Result<KeyInfo> generate(const GenerateRequest& request);
  void tell_of(const LeftoverReport& found);
  Result<KeyInfo> remove_key(KeyName name, Deadline deadline);
  // What was done to a key stands in the audit log, however it ended.
  Result<KeyInfo> audited(std::string_view event, std::string_view key, std::string_view algorithm,
                          Result<KeyInfo> info);
  Result<KeyInfo> find_key(KeyName name, const RequestOptions& options_);
  Result<Bytes> public_half(KeyName name, const AlgorithmSpec* spec, const RequestOptions& options_);

  // Tells the listener how a signature, decryption or encryption ended; `error`: null when it worked.
  void tell_request(Operation operation, Algorithm algorithm, Duration took, const Error* error) const;
  // Runs one of a blocking caller and tells how it ended.
  template <class Work> Result<std::size_t> told(Operation operation, Algorithm algorithm, Work work) {
    if (!options.events) return work();
    const TimePoint start = MonotonicClock::now();
    Result<std::size_t> result = work();
    tell_request(operation, algorithm, MonotonicClock::now() - start, result ? nullptr : &result.error());
    return result;
  }

  // A submitted request is to be taken, or so many: until job_ended() for each. Errors: kOverloaded.
  Status take_jobs(std::uint32_t count);
  void job_ended();
  static std::array<std::uint32_t, Workers::kLanes> threads_max(const Config& config);
  void log(LogLevel level, const std::string& text) const {
    if (options.log) options.log(level, text);
  }

  // Counts a call, so that close() can wait for it. Refuses when closed, or in a child process of the one that opened.
  class Call {
  public:
    explicit Call(Core& core);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    Status admitted;

  private:
    Core& core_;
    bool counted_ = false;
  };
  void count_out(std::uint32_t count);

  const Config config;
  const EngineOptions options;
  std::unique_ptr<Audit> audit; // set by open(), before anybody can ask for it
  SlotGroup group;
  KeyIndex index;
  KeyManagement management;
  RequestRunner runner;
  Workers workers;
  const unsigned long fork_generation = hsmux::fork_generation();
  // Is this a child of the process that opened the engine? Then its locks may be held for ever.
  [[nodiscard]] bool forked() const { return fork_generation != hsmux::fork_generation(); }

  // Calls and submitted requests, and whether the engine is closed, in one word: who counts the last one out looks at
  // nothing of the engine after that, since close() may then end it.
  static constexpr std::uint32_t kClosed = 1U << 31;
  Parker::Word active{0};
  [[nodiscard]] bool closed() const { return (active & kClosed) != 0; }
  std::atomic<std::uint32_t> submitted{0}; // of those active
};

} // namespace hsmux
