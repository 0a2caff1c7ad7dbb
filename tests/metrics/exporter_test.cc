#include "metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "tests/metrics/http.h"

namespace hsmux::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

class ExporterTest : public testing::Test {
protected:
  std::expected<void, std::string> start(const std::string& address = "127.0.0.1:0", bool allow_remote = false) {
    return exporter_.start({.address = address,
                            .allow_remote = allow_remote,
                            .version = "1.2.3",
                            .warn =
                                [this](const std::string& text) {
                                  (void)exporter_.port(); // who is warned may ask
                                  const std::lock_guard lock(mutex_);
                                  warnings_ += text + "\n";
                                }},
                           [this] {
                             const std::lock_guard lock(mutex_);
                             return snapshot_;
                           });
  }
  HttpAnswer get(const std::string& path) { return http_get(exporter_.port(), path); }
  HttpAnswer get_as(const std::string& host) {
    return http(exporter_.port(), "GET /metrics HTTP/1.1\r\nHost: " + host);
  }
  void set_health(const std::string& health) {
    const std::lock_guard lock(mutex_);
    snapshot_->health = health;
    snapshot_->reasons = {"because"};
  }

  std::mutex mutex_; // guards what follows
  std::optional<Snapshot> snapshot_{Snapshot{
      .health = "ok", .reasons = {}, .slots = {{.name = "hsm-a", .state = "healthy", .model = "M", .serial = "S"}}}};
  std::string warnings_;
  Exporter exporter_{{{.operation = "sign", .algorithm = "ecdsa-p256-sha256"}}};
};

TEST_F(ExporterTest, ServesMetricsInPrometheusTextFormat) {
  ASSERT_TRUE(start());
  const HttpAnswer answer = get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer.body, HasSubstr("hsmux_slot_state{slot=\"hsm-a\",state=\"healthy\"} 1\n"));
}

TEST_F(ExporterTest, SaysReadyWhileSomethingCanBeDone) {
  ASSERT_TRUE(start());
  EXPECT_EQ(get("/readyz").status, 200);
  set_health("degraded");
  EXPECT_EQ(get("/readyz").status, 200);
  EXPECT_EQ(get("/readyz").body, "degraded\nbecause\n");
  set_health("failed");
  EXPECT_EQ(get("/readyz").status, 503);
}

TEST_F(ExporterTest, SaysAliveUnlessOnlyARestartHelps) {
  ASSERT_TRUE(start());
  set_health("failed"); // a latched PIN, say: restarting would change nothing
  EXPECT_EQ(get("/healthz").status, 200);
  set_health("fatal");
  EXPECT_EQ(get("/healthz").status, 503);
}

TEST_F(ExporterTest, AnswersWithoutAnEngine) {
  snapshot_.reset();
  ASSERT_TRUE(start());
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_EQ(get("/metrics").status, 200);
  EXPECT_EQ(get("/status.json").status, 200);
}

TEST_F(ExporterTest, ServesThePageWithEverythingThatItNeeds) {
  ASSERT_TRUE(start());
  const HttpAnswer page = get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.head, HasSubstr("Content-Security-Policy: default-src 'none'; script-src 'self'"));
  EXPECT_THAT(page.head, HasSubstr("X-Content-Type-Options: nosniff"));
  EXPECT_THAT(page.body, Not(HasSubstr("http"))) << "nothing comes from elsewhere";
  EXPECT_EQ(get("/status.js").status, 200);
  EXPECT_EQ(get("/status.css").status, 200);
  const auto report = nlohmann::json::parse(get("/status.json").body);
  EXPECT_EQ(report.at("slots").at(0).at("name"), "hsm-a");
  EXPECT_EQ(report.at("version"), "1.2.3");
}

TEST_F(ExporterTest, TheReportCarriesWhatTokensSayAsText) {
  snapshot_->slots[0].model = "\"<script>\xff";
  ASSERT_TRUE(start());
  const auto report = nlohmann::json::parse(get("/status.json").body);
  EXPECT_EQ(report.at("slots").at(0).at("model"), "\"<script>\ufffd");
}

TEST_F(ExporterTest, AnswersNothingButGet) {
  ASSERT_TRUE(start());
  const std::string host = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0";
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    EXPECT_EQ(http(exporter_.port(), std::string(method) + " /metrics" + host).status, 405) << method;
  }
  const HttpAnswer head = http(exporter_.port(), "HEAD /metrics HTTP/1.1\r\nHost: localhost");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(ExporterTest, AnswersOnlyWhoAsksForThisMachine) {
  ASSERT_TRUE(start());
  const std::string port = ":" + std::to_string(exporter_.port());
  EXPECT_EQ(get_as("localhost" + port).status, 200);
  EXPECT_EQ(get_as("127.0.0.1" + port).status, 200);
  EXPECT_EQ(get_as("LOCALHOST").status, 200);
  EXPECT_EQ(get_as("[::1]" + port).status, 200);
  EXPECT_EQ(get_as("evil.example" + port).status, 403) << "a name that was made to point here";
  EXPECT_EQ(get_as("localhost.evil.example").status, 403);
  EXPECT_EQ(http(exporter_.port(), "GET /metrics HTTP/1.0").status, 400);
}

TEST_F(ExporterTest, HasNoFilesToServe) {
  ASSERT_TRUE(start());
  for (const char* path : {"/etc/passwd", "/../../../../etc/passwd", "/..%2f..%2fetc/passwd", "/status", "/page/"}) {
    EXPECT_EQ(get(path).status, 404) << path;
  }
}

TEST_F(ExporterTest, SurvivesRequestsThatAreNone) {
  ASSERT_TRUE(start());
  const std::vector<std::string> bad{"",
                                     "GET",
                                     "\r\n\r\n",
                                     std::string(100'000, 'A'),
                                     "GET /" + std::string(70'000, 'a') + " HTTP/1.1\r\nHost: localhost",
                                     std::string("GET /\0 HTTP/1.1\r\nHost: localhost", 33)};
  for (const std::string& request : bad) EXPECT_NE(http(exporter_.port(), request, 6).status, 200);
  EXPECT_EQ(get("/metrics").status, 200);
}

TEST_F(ExporterTest, ListensToThisMachineOnlyUnlessAllowed) {
  const auto refused = start("0.0.0.0:0");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("allow_remote"));
  ASSERT_TRUE(start("0.0.0.0:0", true));
  EXPECT_EQ(get("/metrics").status, 200);
  EXPECT_EQ(get_as("pod-7.example").status, 200);
  EXPECT_EQ(get("/").status, 404) << "the page is for this machine only";
  EXPECT_EQ(get("/status.json").status, 404);
}

TEST_F(ExporterTest, WantsAnAddress) {
  for (const char* address : {"", "9467", "localhost:9467", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999",
                              "127.0.0.1:1x", "::1:9467", "[::1:9467", "1.2.3:80", "127.0.0.1:80,0.0.0.0:80"}) {
    EXPECT_FALSE(start(address)) << address;
  }
}

TEST_F(ExporterTest, APortThatIsTakenIsWarnedOfAndTriedAgain) {
  auto taken = std::make_unique<TakenPort>();
  const std::uint16_t port = taken->port();
  ASSERT_TRUE(start("127.0.0.1:" + std::to_string(port)));
  EXPECT_EQ(exporter_.port(), 0);
  {
    const std::lock_guard lock(mutex_);
    EXPECT_THAT(warnings_, HasSubstr("cannot be listened on"));
  }
  exporter_.record({.kind = EventKind::kSlotLost, .slot = "hsm-a"}); // nothing else changes
  taken.reset();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (exporter_.port() == 0 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  ASSERT_EQ(exporter_.port(), port);
  EXPECT_THAT(get("/metrics").body, HasSubstr("hsmux_slot_losses_total{slot=\"hsm-a\"} 1"));
}

TEST_F(ExporterTest, InAChildOfForkItEndsWithoutWaitingForThreadsThatAreNotThere) {
  ASSERT_TRUE(start());
  const pid_t child = fork();
  if (child == 0) {
    alarm(20); // a signal is no exit
    exporter_.stop();
    _exit(7);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  EXPECT_EQ(get("/metrics").status, 200) << "the parent's goes on";
}

TEST_F(ExporterTest, AsksNobodyAnyMoreOnceStopped) {
  ASSERT_TRUE(start());
  const std::uint16_t port = exporter_.port();
  exporter_.stop();
  EXPECT_EQ(exporter_.port(), 0);
  EXPECT_EQ(http_get(port, "/metrics").status, 0);
  exporter_.record({.kind = EventKind::kSlotLost, .slot = "hsm-a"});
  exporter_.stop();
}

} // namespace
} // namespace hsmux::metrics
