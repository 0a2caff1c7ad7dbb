// What the metrics say is what happened: an engine over the simhsm, whose faults are counted by the test.
#include <fmt/format.h>

#include <cstdlib>

#include "tests/contract/contract.h"
#include "tests/metrics/http.h"
#include "tools/metrics_service.h"

namespace hsmux {
namespace {

constexpr const char* kSign = "op=\"sign\",spec=\"ecdsa-p256-sha256\"";

class Truth : public Contract {
protected:
  void serve() {
    open("[metrics]\naddress = \"127.0.0.1:0\"\n", "session_copies = 'off'", {.events = service_.events(), .log = {}});
    make_key(kEcdsa, "orders");
    auto serving = service_.start(engine(), *engine().config().metrics, [](LogLevel, const std::string&) {});
    ASSERT_TRUE(serving.has_value()) << why(serving);
    serving_ = std::move(*serving);
    const std::string at = service_.listens_at();
    port_ = static_cast<std::uint16_t>(std::atoi(at.substr(at.rfind(':') + 1).c_str()));
  }
  void TearDown() override {
    if (sim_) sim_->release();
    serving_.reset();
    engine_.reset(); // it may tell of something until then
    Contract::TearDown();
  }
  [[nodiscard]] std::string page(const std::string& path) const { return http_get(port_, path).body; }
  // Of a series, as it is named in /metrics; -1: there is none.
  [[nodiscard]] double value(const std::string& series) const {
    const std::string text = "\n" + page("/metrics");
    const std::size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + series.size() + 2);
  }
  [[nodiscard]] double requests(const std::string& outcome) const {
    return value(fmt::format("hsmux_requests_total{{{},outcome=\"{}\"}}", kSign, outcome));
  }
  // Of both slots.
  [[nodiscard]] double operations(const std::string& outcome) const {
    double sum = 0;
    for (int slot = 0; slot < 2; ++slot) {
      sum += value(fmt::format("hsmux_operations_total{{slot=\"slot-{}\",{},outcome=\"{}\"}}", slot, kSign, outcome));
    }
    return sum;
  }
  [[nodiscard]] double of_slot(const std::string& metric, const std::string& more = "") const {
    return value(fmt::format("{}{{slot=\"slot-0\"{}}}", metric, more));
  }

  MetricsService service_;
  std::unique_ptr<MetricsService::Serving> serving_;
  std::uint16_t port_ = 0;
  const Bytes message_ = bytes("the message");
};

TEST_F(Truth, RequestsAreCountedOnceAndAttemptsEach) {
  serve();
  const double before = operations("ok");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(sign("orders", message_).has_value());
  for (int i = 0; i < 3; ++i) ASSERT_FALSE(sign("nobody", message_).has_value());
  for (int i = 0; i < 5; ++i) {
    sim_->answer("C_Sign", CKR_DEVICE_ERROR);
    ASSERT_TRUE(sign("orders", message_).has_value()); // by another attempt
  }
  EXPECT_EQ(requests("ok"), 25);
  EXPECT_EQ(requests("key"), 3);
  EXPECT_EQ(requests("device"), 0) << "no caller saw one";
  EXPECT_EQ(operations("ok") - before, 25);
  EXPECT_EQ(operations("device"), 5);
  EXPECT_EQ(value(fmt::format("hsmux_request_duration_seconds_count{{{}}}", kSign)), 28);
  EXPECT_EQ(value("hsmux_retries_total{slot=\"slot-0\",reason=\"device\"}") +
                value("hsmux_retries_total{slot=\"slot-1\",reason=\"device\"}"),
            5);
}

TEST_F(Truth, ALossAndAReturnAreSeen) {
  serve();
  EXPECT_EQ(of_slot("hsmux_slot_losses_total"), 0);
  EXPECT_EQ(of_slot("hsmux_logins_total", ",outcome=\"ok\""), 1) << "from before the server was there";
  sim_->kill_sessions(slot_id(0));
  EXPECT_TRUE(eventually([&] {
    EXPECT_TRUE(sign("orders", message_).has_value());
    return of_slot("hsmux_slot_losses_total") == 1 && of_slot("hsmux_slot_usable") == 1;
  }));
  EXPECT_EQ(of_slot("hsmux_slot_epoch"), 2);
  EXPECT_EQ(requests("transient") + requests("device") + requests("timeout"), 0);
}

TEST_F(Truth, AHangingModuleIsShownAndHoldsUpNoScrape) {
  serve();
  sim_->hang("C_Sign", slot_id(0));
  const auto signature = engine().submit_for<Bytes>(
      SignRequest{.key = "orders",
                  .algorithm = kEcdsa,
                  .message = message_,
                  .prehashed = false,
                  .options = {.deadline = Deadline::after(std::chrono::milliseconds(300)), .slot = "slot-0"}});
  ASSERT_TRUE(sim_->wait_hung(1));
  EXPECT_EQ(of_slot("hsmux_sessions", ",state=\"leased\""), 1) << "answered while the module hangs";
  EXPECT_TRUE(eventually([&] { return of_slot("hsmux_sessions", ",state=\"quarantined\"") == 1; }));
  EXPECT_EQ(of_slot("hsmux_overdue_total"), 1);
  EXPECT_EQ(value("hsmux_worker_threads{state=\"quarantined\"}"), 1);
  EXPECT_TRUE(eventually([&] { return requests("timeout") == 1; }));
  sim_->release();
  EXPECT_TRUE(eventually([&] { return of_slot("hsmux_sessions", ",state=\"quarantined\"") == 0; }));
}

TEST_F(Truth, NothingThatIsServedAsksTheModule) {
  serve();
  ASSERT_TRUE(sign("orders", message_).has_value());
  ASSERT_TRUE(eventually([&] { // the keepers have done what there was to do
    sim_->reset_counts();
    for (int i = 0; i < 3; ++i) std::this_thread::yield();
    return sim_->total() == 0;
  }));
  for (const char* path : {"/metrics", "/healthz", "/readyz", "/status.json", "/"}) EXPECT_NE(page(path), "") << path;
  EXPECT_EQ(sim_->total(), 0U);
}

TEST_F(Truth, NoSecretIsServed) {
  serve();
  const std::string id = engine().find_key("orders").value().id;
  ASSERT_TRUE(sign("orders", message_).has_value());
  for (const char* path : {"/metrics", "/readyz", "/status.json", "/"}) {
    const std::string text = page(path);
    EXPECT_EQ(text.find("orders"), std::string::npos) << path;
    EXPECT_EQ(text.find(id), std::string::npos) << path;
    EXPECT_EQ(text.find(tokens_->pin(0)), std::string::npos) << path;
  }
}

} // namespace
} // namespace hsmux
