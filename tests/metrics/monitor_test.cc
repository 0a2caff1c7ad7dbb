// hsmux monitor and hsmux demo --metrics as programs, read by a real Prometheus and a real browser.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "metrics/table.h"
#include "tests/metrics/browser.h"
#include "tests/metrics/http.h"
#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

bool within_seconds(int seconds, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// Once to each process, not to whoever has its number later.
class Process {
public:
  Process(const std::vector<std::string>& argv, const Surroundings& around = {}) : pid_(start(folder_, argv, around)) {}
  ~Process() {
    if (pid_ > 0) (void)end(SIGKILL);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  Ended end(int signal) {
    kill(pid_, signal);
    return wait_for(folder_, std::exchange(pid_, 0));
  }
  Ended wait() { return wait_for(folder_, std::exchange(pid_, 0)); }
  [[nodiscard]] std::string out() const { return read_file(folder_.file("stdout")); }
  [[nodiscard]] std::string err() const { return read_file(folder_.file("stderr")); }

private:
  TemporaryFolder folder_;
  pid_t pid_;
};

class Monitor : public Tokens {
protected:
  // hsmux monitor on a port that is free; once it listens.
  std::unique_ptr<Process> monitor(const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{HSMUX_PROGRAM, "--config", config(), "--json", "monitor", "--address", "127.0.0.1:0"};
    argv.insert(argv.end(), more.begin(), more.end());
    auto process = std::make_unique<Process>(argv);
    EXPECT_TRUE(within_seconds(60, [&] { return process->out().ends_with("\n"); })) << process->err();
    port_ = port_of(process->out());
    return process;
  }
  static std::uint16_t port_of(const std::string& text) {
    const std::size_t at = text.find("127.0.0.1:");
    return at == std::string::npos ? std::uint16_t{0} : static_cast<std::uint16_t>(std::atoi(text.c_str() + at + 10));
  }
  HttpAnswer get(const std::string& path) const { return http_get(port_, path); }

  std::uint16_t port_ = 0;
};

TEST_F(Monitor, ServesUntilItIsInterruptedAndEndsCleanly) {
  const auto process = monitor();
  const HttpAnswer ready = get("/readyz");
  EXPECT_EQ(ready.status, 200);
  EXPECT_EQ(ready.body, "ok\n");
  EXPECT_THAT(get("/metrics").body, HasSubstr("hsmux_slot_state{slot=\"hsmux-1\",state=\"healthy\"} 1\n"));
  const Ended ended = process->end(SIGINT);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
}

TEST_F(Monitor, ShowsASlotWithAWrongPinInsteadOfEnding) {
  folder.write("tokens/pins/hsmux-1.pin", "not-the-pin");
  const auto process = monitor();
  const HttpAnswer ready = get("/readyz");
  EXPECT_EQ(ready.status, 200) << "the other slot serves";
  EXPECT_THAT(ready.body, HasSubstr("hsmux-1"));
  const std::string metrics = get("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("hsmux_slot_state{slot=\"hsmux-1\",state=\"latched\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("hsmux_pin_latches_total{slot=\"hsmux-1\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("hsmux_logins_total{slot=\"hsmux-1\",outcome=\"failed\"} 1\n"));
  const std::string page = get("/status.json").body;
  for (const std::string& text : {metrics, page, process->err()}) EXPECT_THAT(text, Not(HasSubstr("not-the-pin")));
  EXPECT_EQ(process->end(SIGTERM).code, 0);
}

TEST_F(Monitor, APortThatIsTakenIsAWarning) {
  const TakenPort taken;
  const std::string address = fmt::format("127.0.0.1:{}", taken.port());
  Process process({HSMUX_PROGRAM, "--config", config(), "--json", "monitor", "--address", address});
  EXPECT_TRUE(within_seconds(60, [&] { return process.out().ends_with("\n"); }));
  EXPECT_THAT(process.err(), HasSubstr("cannot be listened on"));
  EXPECT_EQ(json::parse(process.out()).at("listening"), "");
  EXPECT_EQ(process.end(SIGTERM).code, 0);
}

TEST_F(Monitor, RefusesAnAddressThatOthersReach) {
  const Ended ended = run({"monitor", "--address", "0.0.0.0:0"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("allow-remote"));
}

TEST_F(Monitor, PromtoolHasNothingToSayAgainstTheMetrics) {
  const auto promtool = installed({"promtool"});
  if (!promtool) GTEST_SKIP() << "promtool is not installed (Debian: prometheus)";
  const auto process = monitor();
  const Ended ended = hsmux::run(folder, {*promtool, "check", "metrics"},
                                 {.input = get("/metrics").body, .environment = {}, .terminal = {}});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.out + ended.err, "");
}

TEST(Deploy, PromtoolAgreesWithTheRulesTheirTestsAndTheScrapeConfiguration) {
  const auto promtool = installed({"promtool"});
  if (!promtool) GTEST_SKIP() << "promtool is not installed (Debian: prometheus)";
  const TemporaryFolder folder;
  const std::string files = HSMUX_SOURCE_DIR "/deploy/prometheus/";
  for (const std::vector<std::string>& check :
       {std::vector<std::string>{"check", "rules", files + "hsmux-rules.yml"},
        std::vector<std::string>{"test", "rules", files + "hsmux-rules-test.yml"},
        std::vector<std::string>{"check", "config", files + "prometheus.yml"}}) {
    std::vector<std::string> argv{*promtool};
    argv.insert(argv.end(), check.begin(), check.end());
    const Ended ended = hsmux::run(folder, argv);
    EXPECT_EQ(ended.code, 0) << ended.out << ended.err;
  }
}

TEST(Deploy, TheDashboardHasAQueryInEveryPanel) {
  const json dashboard = json::parse(read_file(HSMUX_SOURCE_DIR "/deploy/grafana/hsmux.json"));
  EXPECT_GT(dashboard.at("panels").size(), 10U);
  for (const json& panel : dashboard.at("panels")) {
    for (const json& target : panel.at("targets"))
      EXPECT_THAT(target.at("expr").get<std::string>(), HasSubstr("hsmux_"));
  }
}

// A real Prometheus that scrapes `target`, with the project's rules.
class Prometheus {
public:
  Prometheus(const TemporaryFolder& folder, const std::string& program, std::uint16_t target) {
    const std::string rules = read_file(HSMUX_SOURCE_DIR "/deploy/prometheus/hsmux-rules.yml");
    folder.write("hsmux-rules.yml", rules);
    const std::string config = folder.write(
        "prometheus.yml", fmt::format("global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\n"
                                      "rule_files: [hsmux-rules.yml]\n"
                                      "scrape_configs:\n"
                                      "  - {{job_name: hsmux, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
                                      target));
    {
      const TakenPort free; // its number, free again in a moment
      port_ = free.port();
    }
    process_.emplace(std::vector<std::string>{program, "--config.file=" + config,
                                              "--storage.tsdb.path=" + folder.file("prometheus-data"),
                                              fmt::format("--web.listen-address=127.0.0.1:{}", port_)});
  }

  // The value of the one series that `query` (URL-encoded) gives; nothing while there is none.
  [[nodiscard]] std::optional<double> value(const std::string& query) const {
    const json result = ask(query);
    if (result.size() != 1) return std::nullopt;
    return std::stod(result.at(0).at("value").at(1).get<std::string>());
  }
  [[nodiscard]] json ask(const std::string& query) const {
    const HttpAnswer answer = http(port_, "GET /api/v1/query?query=" + query +
                                              " HTTP/1.0\r\nHost: 127.0.0.1"); // 1.0: it closes, and is not chunked
    const json parsed = json::parse(answer.body, nullptr, false);
    return answer.status == 200 && !parsed.is_discarded() ? parsed.at("data").at("result") : json::array();
  }
  [[nodiscard]] std::string log() const { return process_->err(); }

private:
  std::uint16_t port_ = 0;
  std::optional<Process> process_;
};

TEST_F(Monitor, ARealPrometheusScrapesADemoAndAnswersQueries) {
  const auto program = installed({"prometheus"});
  if (!program) GTEST_SKIP() << "Prometheus is not installed (Debian: prometheus)";
  Process demo(
      {HSMUX_PROGRAM, "--config", config(), "demo", "--seconds", "120", "--callers", "1", "--metrics", "127.0.0.1:0"});
  ASSERT_TRUE(within_seconds(60, [&] { return port_of(demo.err()) != 0; })) << demo.err();
  const Prometheus prometheus(folder, *program, port_of(demo.err()));
  EXPECT_TRUE(within_seconds(60, [&] { return prometheus.value("up").value_or(0) == 1; })) << prometheus.log();
  EXPECT_TRUE(within_seconds(30, [&] {
    return prometheus.value("sum(rate(hsmux_requests_total{op=%22sign%22,outcome=%22ok%22}[10s]))").value_or(0) > 1;
  }));
  const auto p99 = prometheus.value(
      "histogram_quantile(0.99,sum%20by(le)(rate(hsmux_request_duration_seconds_bucket{op=%22sign%22}[10s])))");
  ASSERT_TRUE(p99);
  EXPECT_GT(*p99, 0);
  EXPECT_EQ(prometheus.value("sum(hsmux_slot_usable)"), 2);
  EXPECT_EQ(prometheus.value("hsmux_health_state{state=%22ok%22}"), 1);
  // Every metric of the table has arrived, those that were never counted too.
  for (const metrics::MetricRow& row : metrics::kTable) {
    const std::string name = std::string(row.name) + (row.type == metrics::Type::kHistogram ? "_count" : "");
    EXPECT_GT(prometheus.value("count(" + name + ")").value_or(0), 0) << name;
  }
  EXPECT_EQ(prometheus.ask("ALERTS{alertstate=%22firing%22}"), json::array());
  EXPECT_EQ(demo.end(SIGINT).code, 130);
}

class Page : public Monitor {
protected:
  void SetUp() override {
    if (!browser()) GTEST_SKIP() << kNoBrowser;
    Monitor::SetUp();
  }
};

TEST_F(Page, ShowsABrowserHealthSlotsAndWhatTheyDo) {
  Process demo(
      {HSMUX_PROGRAM, "--config", config(), "demo", "--seconds", "120", "--callers", "1", "--metrics", "127.0.0.1:0"});
  ASSERT_TRUE(within_seconds(60, [&] { return port_of(demo.err()) != 0; })) << demo.err();
  // Rates need two looks with requests between them: the browser's time runs faster than the demo's.
  std::string page;
  const auto busy = testing::ContainsRegex("<b>[1-9][0-9]*</b>requests/s");
  EXPECT_TRUE(within_seconds(90, [&] {
    page = page_in_browser(port_of(demo.err()), 4000);
    return testing::Matches(busy)(page);
  })) << page;
  EXPECT_THAT(page, HasSubstr("<title>hsmux: ok</title>"));
  EXPECT_THAT(page, HasSubstr("<td>hsmux-0</td><td class=\"good\">healthy</td>"));
  EXPECT_THAT(page, HasSubstr("<td>hsmux-1</td>"));
  EXPECT_THAT(page, HasSubstr("<td>sign</td><td>ecdsa-p256-sha256</td>"));
  EXPECT_THAT(page, testing::ContainsRegex("<b>[0-9.]+ (µs|ms)</b>p99"));
  EXPECT_EQ(demo.end(SIGINT).code, 130);
}

} // namespace
} // namespace hsmux
