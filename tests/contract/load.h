// Signatures on several threads until told to stop, each checked on the host: what the tests of failures run beside
// what they break.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "tests/contract/contract.h"

namespace hsmux {

class Load {
public:
  struct Options {
    bool hard = false;   // as if submitted: deadlines hold though the module hangs
    bool verify = false; // each signature
  };
  Load(Engine& engine, int threads) : Load(engine, threads, Options{}) {}
  Load(Engine& engine, int threads, Options options) {
    for (int t = 0; t < threads; ++t) {
      threads_.emplace_back([this, &engine, options] {
        const Bytes message = bytes("the message");
        while (!stop_) {
          const auto signature = engine.sign({.key = "orders",
                                              .algorithm = kEcdsa,
                                              .message = message,
                                              .prehashed = false,
                                              .options = {.deadline = {}, .slot = {}, .hard = options.hard}});
          if (signature && options.verify) check(engine, message, *signature);
          if (signature) {
            ++signed_;
            continue;
          }
          const std::lock_guard lock(mutex_);
          if (!error_) error_ = signature.error();
          ++failed_;
        }
      });
    }
  }
  // So many more signatures; false when that takes too long.
  bool more(int count) {
    const int target = signed_ + count;
    return eventually([&] { return signed_ >= target; });
  }
  void expect_no_error() {
    stop_ = true;
    threads_.clear();
    EXPECT_EQ(failed_, 0) << (error_ ? error_->text() : "");
    EXPECT_EQ(wrong_, 0);
    EXPECT_GT(signed_, 0);
  }

private:
  void check(Engine& engine, const Bytes& message, const Bytes& signature) {
    const Status right = engine.verify({.key = "orders",
                                        .algorithm = kEcdsa,
                                        .message = message,
                                        .prehashed = false,
                                        .signature = signature,
                                        .options = {}});
    if (!right) ++wrong_;
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> signed_{0}, failed_{0}, wrong_{0};
  std::mutex mutex_;
  std::optional<Error> error_;
  std::vector<std::jthread> threads_; // last: joined before what they use ends
};

} // namespace hsmux
