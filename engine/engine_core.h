// What an Engine owns. Shared, so that calls stuck in a module can be left behind with all that they touch.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "engine/engine.h"
#include "engine/key_index.h"
#include "engine/key_management.h"
#include "engine/request_runner.h"

namespace hsmux {

struct Engine::Core {
  Core(Config config_, EngineOptions options_)
      : config(std::move(config_)), options(std::move(options_)), index(group), management(group, index, config.keys),
        runner(group, index, options.events) {}

  Status open();
  Status connect(std::vector<std::shared_ptr<Module>> modules);
  void try_recipes();
  void try_recipes_of(const AlgorithmSpec& spec, std::size_t slot);
  bool close(Deadline deadline);

  [[nodiscard]] Deadline deadline_of(const RequestOptions& options_) const;
  [[nodiscard]] Deadline generation_deadline(const RequestOptions& options_) const;
  // The key, checked to fit algorithm and operation, and the slots that may do it.
  struct Target {
    std::shared_ptr<const Key> key;
    SlotSet slots;
  };
  Result<Target> target(KeyName name, const AlgorithmSpec& spec, Operation operation, const RequestOptions& options_,
                        Deadline deadline);
  // The key's public half, for what the host does.
  Result<Bytes> public_half(KeyName name, const AlgorithmSpec* spec, const RequestOptions& options_);
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

  const Config config;
  const EngineOptions options;
  SlotGroup group;
  KeyIndex index;
  KeyManagement management;
  RequestRunner runner;
  const unsigned long fork_generation = hsmux::fork_generation();

  std::atomic<std::uint32_t> active{0};
  std::atomic<bool> closed{false};
  std::mutex close_mutex; // guards only the wait of close()
  std::condition_variable idle;
};

} // namespace hsmux
