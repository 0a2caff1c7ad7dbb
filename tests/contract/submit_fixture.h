// The fixture of the tests of submitted work: an engine with a key that both slots have, and completions that are
// counted.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "tests/contract/contract.h"

namespace hsmux {

// Completions, counted: each request's once.
class Tally {
public:
  Completion<Bytes> next() {
    return [this, number = given_++](Result<Bytes> result) {
      const std::lock_guard lock(mutex_);
      ++times_[number];
      if (result) {
        ++good_;
      } else {
        errors_.push_back(std::move(result).error());
      }
    };
  }
  [[nodiscard]] bool all_ended() const {
    const std::lock_guard lock(mutex_);
    return times_.size() == static_cast<std::size_t>(given_.load());
  }
  [[nodiscard]] std::vector<Error> errors() const {
    const std::lock_guard lock(mutex_);
    return errors_;
  }
  [[nodiscard]] int good() const { return good_; }
  // All that were given out have ended, each once.
  void expect_each_once() {
    EXPECT_TRUE(eventually([&] { return all_ended(); }));
    const std::lock_guard lock(mutex_);
    for (const auto& [number, times] : times_) EXPECT_EQ(times, 1) << number;
  }

private:
  mutable std::mutex mutex_;
  std::atomic<int> given_{0}, good_{0};
  std::map<int, int> times_;
  std::vector<Error> errors_;
};

class Submit : public Contract {
protected:
  void open_with_key(const std::string& extra = "", const std::string& slot_extra = "") {
    open(extra, slot_extra);
    make_key(kEcdsa, "orders");
    for (const std::string_view slot : {"slot-0", "slot-1"}) {
      ASSERT_TRUE(sign("orders", bytes("x"), {.deadline = {}, .slot = slot}).has_value());
    }
  }
  SignRequest request(RequestOptions options = {}) {
    return {.key = "orders", .algorithm = kEcdsa, .message = message_, .prehashed = false, .options = options};
  }
  Result<Job> submit(RequestOptions options = {}) { return engine().submit(request(options), tally_.next()); }
  Result<Bytes> submit_and_wait(RequestOptions options = {}) {
    return engine().submit_for<Bytes>(request(options)).result.get();
  }
  static RequestOptions within(std::chrono::milliseconds time, std::string_view slot = {}) {
    return {.deadline = Deadline::after(time), .slot = slot};
  }
  // No thread of the engine is in the module any more: before the next test, or the end of the process.
  void TearDown() override {
    if (sim_) sim_->release();
    if (engine_) {
      EXPECT_TRUE(eventually([&] { return engine().work().quarantined == 0; }));
    }
    Contract::TearDown();
  }

  const Bytes message_ = bytes("the message");
  Tally tally_;
};

} // namespace hsmux
