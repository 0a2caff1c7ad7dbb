// One token behind the simhsm, for tests of single units of slots/: sessions of it, and a bounded wait for conditions
// that a slot's keeper thread brings about. One thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "slots/deadline.h"
#include "slots/session.h"
#include "tests/simhsm/control.h"
#include "tests/token_folder.h"

namespace hsmux {

// True as soon as the condition holds, false after ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(10));
  while (!condition()) {
    if (deadline.passed(MonotonicClock::now())) return false;
    std::this_thread::yield();
  }
  return true;
}

// A variable of the environment for the time of one test.
class Variable {
public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Variable() { unsetenv(name_.c_str()); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

private:
  std::string name_;
};

class SimToken : public testing::Test {
protected:
  SimToken() {
    sim_.reset();
    Result<std::shared_ptr<Module>> module = Module::load({.name = "simhsm",
                                                           .path = HSMUX_TEST_SIMHSM,
                                                           .environment = {},
                                                           .init_args = {},
                                                           .init_timeout = std::chrono::seconds(30),
                                                           .set_environment = false});
    if (!module)
      ADD_FAILURE() << module.error().text();
    else
      module_ = *module;
  }
  ~SimToken() override {
    // Whatever a test found, this is what hsmux promises of every session: one thread at a time, no size query, no
    // logout.
    EXPECT_EQ(sim_.violations(), 0U) << sim_.last_violation();
    sim_.reset();
  }

  [[nodiscard]] unsigned long slot_id() const { return tokens_.slot_id(0); }
  [[nodiscard]] Session open(bool read_write = true) const {
    Result<Session> session = Session::open(module_, slot_id(), slot_name_, read_write);
    if (!session) {
      ADD_FAILURE() << session.error().text();
      std::abort();
    }
    return std::move(*session);
  }
  // With the token logged in.
  [[nodiscard]] Session open_logged_in() const {
    Session session = open();
    const Status status = session.login(tokens_.pin(0));
    EXPECT_TRUE(status.has_value()) << status.error().text();
    return session;
  }

  TokenFolder tokens_{1, HSMUX_TEST_SIMHSM};
  SimControl sim_{HSMUX_TEST_SIMHSM};
  std::shared_ptr<Module> module_;
  std::shared_ptr<const std::string> slot_name_ = std::make_shared<const std::string>("hsm-a");
};

} // namespace hsmux
