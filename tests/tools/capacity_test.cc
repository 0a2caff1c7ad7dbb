// hsmux capacity, from the command line to its files: that it counts and keeps what it says, not how fast anything is.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/tools/tokens.h"

namespace hsmux {
namespace {

using nlohmann::json;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Two simulated HSMs whose speed is known, in the memory of the program that loads them.
class CapacityOnSimhsm : public testing::Test {
protected:
  void configure(const std::string& time) const {
    std::string settings = "mode = 'own'\nspare_slot = false\ncontrol = '" + folder.file("sim.%p") +
                           "'\n[[token]]\nlabel = 'sim-0'\n[[token]]\nlabel = 'sim-1'\n" + time;
    folder.write("sim.toml", settings);
    const std::string pin = folder.write("pin", "1234");
    std::filesystem::permissions(pin, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    std::string config = "[module.sim]\npath = '" HSMUX_TEST_SIMHSM "'\nenvironment = { HSMUX_SIM_CONFIG = '" +
                         folder.file("sim.toml") + "' }\n[keys]\ndevelopment_software_keys = true\n";
    for (const std::string slot : {"sim-0", "sim-1"}) {
      config += "[[slot]]\nname = '" + slot + "'\ntoken_label = '" + slot + "'\npin = { file = '" + pin + "' }\n";
    }
    folder.write("hsmux.toml", config);
  }
  Ended capacity(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {HSMUX_PROGRAM, "--config", folder.file("hsmux.toml"), "capacity"});
    return hsmux::run(folder, arguments);
  }
  json result(const std::string& name) const { return json::parse(read_file(folder.file(name)), nullptr, false); }
  // Against docs/capacity.schema.json.
  void expect_valid(const std::string& name) const {
    const Ended checked = hsmux::run(folder, {"/usr/bin/python3", "-m", "jsonschema", "-i", folder.file(name),
                                              HSMUX_SOURCE_DIR "/docs/capacity.schema.json"});
    EXPECT_EQ(checked.code, 0) << checked.out << checked.err.substr(0, 4000);
  }

  const TemporaryFolder folder;
  static constexpr const char* kFast = "[[hsm]]\nengines = 4\n[[time]]\nfunction = 'C_Sign'\nus = 2000\n";
};

std::uint64_t count_of(const json& stage, const char* key) { return stage.at(key).get<std::uint64_t>(); }

TEST_F(CapacityOnSimhsm, CountsEveryRequestOfARateOnceAndWritesItsFiles) {
  configure(kFast);
  const Ended ended =
      capacity({"run", "--rate", "300", "--seconds", "0.6", "--warm-up", "0.1", "--repeats", "2", "--out",
                folder.file("r.json"), "--html", folder.file("r.html"), "--histogram-log", folder.file("r.hlog")});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("rate 300"));
  const json document = result("r.json");
  ASSERT_EQ(document.at("stages").size(), 2);
  for (const json& stage : document.at("stages")) {
    EXPECT_EQ(stage.at("model"), "open");
    EXPECT_EQ(stage.at("latency_from"), "intended start");
    EXPECT_EQ(count_of(stage, "intended"),
              count_of(stage, "completed") + count_of(stage, "errors") + count_of(stage, "not_started"));
    EXPECT_EQ(count_of(stage, "errors"), 0) << stage.at("first_error");
    EXPECT_GT(count_of(stage, "completed"), 50);
    EXPECT_GE(stage.at("latency").at("min_us").get<double>(), 1900); // no signature takes less
  }
  expect_valid("r.json");
  const std::string html = read_file(folder.file("r.html"));
  EXPECT_THAT(html, HasSubstr("Released under the MIT License"));
  EXPECT_THAT(html, Not(AnyOf(HasSubstr(" src="), HasSubstr("<link"), HasSubstr("@DATA@"), HasSubstr("@CHART_JS@"))));

  // HdrHistogram's own reader sees what this program says.
  const Ended read =
      hsmux::run(folder, {"java", "-cp", "/usr/share/java/hdrhistogram.jar",
                          HSMUX_SOURCE_DIR "/tests/tools/capacity/ReadHistogramLog.java", folder.file("r.hlog")});
  ASSERT_EQ(read.code, 0) << read.err;
  std::istringstream lines(read.out);
  for (const json& stage : document.at("stages")) {
    std::string tag;
    std::uint64_t count = 0;
    double p50_ns = 0, p99_ns = 0, max_ns = 0;
    ASSERT_TRUE(lines >> tag >> count >> p50_ns >> p99_ns >> max_ns);
    const json& latency = stage.at("entries").at(0).at("latency");
    EXPECT_THAT(tag, HasSubstr("ecdsa-p256-sha256-sign"));
    EXPECT_EQ(count, latency.at("count").get<std::uint64_t>());
    EXPECT_NEAR(p50_ns, latency.at("p50_us").get<double>() * 1000, 0.5);
    EXPECT_NEAR(p99_ns, latency.at("p99_us").get<double>() * 1000, 0.5);
    EXPECT_NEAR(max_ns, latency.at("max_us").get<double>() * 1000, 0.5);
  }

  const Ended merged =
      capacity({"merge", folder.file("r.json"), folder.file("r.json"), "--out", folder.file("m.json")});
  ASSERT_EQ(merged.code, 0) << merged.err;
  expect_valid("m.json");
  const json both = result("m.json");
  EXPECT_EQ(count_of(both.at("stages").at(0), "completed"), 2 * count_of(document.at("stages").at(0), "completed"));
  EXPECT_EQ(both.at("stages").at(0).at("latency").at("p99_us"), document.at("stages").at(0).at("latency").at("p99_us"));
  EXPECT_EQ(both.at("hosts").size(), 2);

  const Ended same = capacity({"compare", folder.file("r.json"), folder.file("r.json"), "--fail-if-worse"});
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("no difference"));
}

TEST_F(CapacityOnSimhsm, SearchFindsSessionsRateAndLimit) {
  configure(kFast);
  const Ended ended = capacity({"run", "--seconds", "0.2", "--warm-up", "0.05", "--repeats", "2", "--sessions", "2,8",
                                "--goal", "p99<=5s", "--logins-per-minute", "6000", "--opens-per-second", "100000",
                                "--out", folder.file("s.json"), "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json document = result("s.json");
  expect_valid("s.json");
  EXPECT_EQ(document.at("sessions").at("points").size(), 2);
  EXPECT_GT(document.at("capacity").at("mean").get<double>(), 0);
  EXPECT_EQ(document.at("capacity").at("repeats").size(), 2);
  EXPECT_EQ(document.at("limit").at("one_slot").size(), 2);
  EXPECT_FALSE(document.at("goal").at("tried").empty());
  EXPECT_EQ(document.at("raw").size(), 2);
  EXPECT_EQ(document.at("answer").size(), 5);
}

// A stall holds requests up that were meant to start in it. Who sends only when the last one has ended never asks.
TEST_F(CapacityOnSimhsm, StallOfASecondIsInThePercentilesOfTheOpenModelOnly) {
  configure("[[time]]\nfunction = 'C_Sign'\nus = 1000\n"
            "[[fault]]\nslot = 'sim-0'\nfunction = 'C_Sign'\ncall = 100\naction = 'hang'\ntime_us = 1000000\n");
  const std::vector<std::string> common{"--seconds",          "2", "--warm-up", "0",     "--repeats", "1",
                                        "--sessions",         "1", "--slot",    "sim-0", "--force",   "--out",
                                        folder.file("r.json")};
  const auto latency_of = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), common.begin(), common.end());
    const Ended ended = capacity(arguments);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return result("r.json").at("stages").at(0).at("latency");
  };
  // 300 of about 600 requests at 300/s are meant to start in that second: they wait for its end, the first ones
  // longest.
  const json open = latency_of({"run", "--rate", "300", "--arrivals", "constant"});
  EXPECT_GE(open.at("p90_us").get<double>(), 600'000);
  EXPECT_GE(open.at("p99_us").get<double>(), 900'000);
  const json closed = latency_of({"run", "--callers", "1"});
  EXPECT_GE(closed.at("max_us").get<double>(), 900'000); // the one request
  EXPECT_LT(closed.at("p90_us").get<double>(), 600'000);
}

TEST_F(CapacityOnSimhsm, DrillSaysWhatCallersNoticed) {
  configure(kFast);
  const Ended ended = capacity({"run", "--rate", "150", "--seconds", "0.2", "--warm-up", "0.1", "--repeats", "1",
                                "--drill", "pull=sim-1", "--drill-seconds", "0.5", "--sim-socket",
                                folder.file("sim.%p"), "--yes", "--out", folder.file("d.json")});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_valid("d.json");
  const json drill = result("d.json").at("drills").at(0);
  EXPECT_EQ(drill.at("errors"), 0) << drill;
  EXPECT_GE(drill.at("end_s").get<double>() - drill.at("fault_s").get<double>(), 0.5);
  EXPECT_THAT(ended.out, HasSubstr("Drill pull sim-1 at 150 a second: callers saw 0 errors"));
}

TEST_F(CapacityOnSimhsm, SaysWhatIsWrongBeforeItMeasures) {
  configure(kFast);
  folder.write("there.json", "{}");
  struct Row {
    std::vector<std::string> arguments;
    int code;
    std::string text;
  };
  for (const Row& row : std::vector<Row>{
           {{"--rate", "0"}, 2, "--rate 0"},
           {{"--rate", "-5"}, 2, "--rate"},
           {{"--rate", "1e9"}, 2, "merge"},
           {{"--rate", "10", "--callers", "3"}, 2, "open model"},
           {{"--work", "rsa-1024"}, 2, "ecdsa-p256-sha256"},
           {{"--work", "ecdsa-p256-sha256,key=absent", "--rate", "10"}, 4, "absent"},
           {{"--goal", "fast"}, 2, "p99<=10ms"},
           {{"--mix", "validator"}, 2, "sequencer"},
           {{"--rate", "10", "--out", folder.file("there.json")}, 2, "there.json"},
           {{"--rate", "10", "--drill", "pull=sim-1"}, 2, "--yes"},
           {{"--rate", "10", "--drill", "pull=sim-9", "--yes"}, 2, "sim-9"},
           {{"--rate", "10", "--start-at", "yesterday"}, 2, "--start-at"},
           {{"--rate", "10", "--slot", "sim-7"}, 2, "sim-7"},
       }) {
    std::vector<std::string> arguments = row.arguments;
    arguments.insert(arguments.begin(), "run");
    const Ended ended = capacity(arguments);
    EXPECT_EQ(ended.code, row.code) << row.text << ": " << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(row.text));
  }
  EXPECT_EQ(read_file(folder.file("there.json")), "{}");
  const Ended none = capacity({"compare", folder.file("there.json"), folder.file("there.json")});
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("not a result"));
}

TEST_F(CapacityOnSimhsm, NamesASlotThatCannotBeReached) {
  configure(kFast);
  folder.write("hsmux.toml", read_file(folder.file("hsmux.toml")) + "[[slot]]\nname = 'gone'\ntoken_label = 'gone'\n");
  const Ended ended = capacity({"run", "--rate", "10", "--timeout", "500"});
  EXPECT_EQ(ended.code, 6) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("gone"));
}

TEST_F(CapacityOnSimhsm, KeepsWhatWasMeasuredWhenTheDiskIsFull) {
  configure(kFast);
  const Ended ended = hsmux::run(folder,
                                 {HSMUX_PROGRAM, "--config", folder.file("hsmux.toml"), "capacity", "run", "--rate",
                                  "50", "--seconds", "0.2", "--warm-up", "0", "--repeats", "1", "--out", "/dev/full"},
                                 {.input = {}, .environment = {{"TMPDIR", folder.path()}}, .terminal = {}});
  EXPECT_EQ(ended.code, 10) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("rate 50"));
  std::vector<std::string> kept;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().filename().string().starts_with("hsmux-capacity-")) kept.push_back(entry.path());
  }
  ASSERT_EQ(kept.size(), 1) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr(kept[0]));
  EXPECT_EQ(json::parse(read_file(kept[0]), nullptr, false).value("format", ""), "hsmux-capacity");
}

TEST_F(Tokens, LoseTheKeysOfACapacityRunThatIsInterrupted) {
  const std::string fifo = folder.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int reader = open(fifo.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  const pid_t child = start(folder,
                            {HSMUX_PROGRAM, "--config", config(), "capacity", "run", "--callers", "1", "--seconds",
                             "600", "--warm-up", "0", "--repeats", "1", "--out", folder.file("r.json")},
                            {.input = {}, .environment = {}, .terminal = fifo});
  // Its first line of progress says that it measures.
  std::string shown;
  while (shown.find("under way") == std::string::npos) {
    std::array<char, 4096> block{};
    const ssize_t count = read(reader, block.data(), block.size());
    ASSERT_GT(count, 0) << shown;
    shown.append(block.data(), static_cast<std::size_t>(count));
  }
  ASSERT_EQ(::kill(child, SIGINT), 0);
  const Ended ended = wait_for(folder, child);
  close(reader);
  EXPECT_EQ(ended.code, 130) << shown;
  const json document = json::parse(read_file(folder.file("r.json")), nullptr, false);
  ASSERT_TRUE(document.is_object()) << shown;
  EXPECT_TRUE(document.at("interrupted").get<bool>());
  EXPECT_GT(document.at("stages").at(0).at("latency").at("count").get<std::uint64_t>(), 0);
  EXPECT_THAT(json::parse(run({"keys", "list", "--json"}).out).at("keys"), IsEmpty());
}

TEST_F(Tokens, AreMeasuredByEveryAlgorithmThatTheyHave) {
  const Ended ended = run({"capacity", "run", "--mix", "all", "--rate", "60", "--seconds", "1", "--warm-up", "0",
                           "--repeats", "1", "--slot", "hsmux-0", "--out", folder.file("r.json")});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json stage = json::parse(read_file(folder.file("r.json"))).at("stages").at(0);
  EXPECT_EQ(stage.at("errors"), 0) << stage.at("first_error");
  EXPECT_EQ(stage.at("entries").size(), 12);
}

TEST_F(Tokens, KeepOtherKeysWhenCapacityCleans) {
  generate("hsmux-capacity-1-1", kSign);
  generate("orders", kSign);
  const Ended shown = run({"capacity", "clean"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_THAT(shown.err, HasSubstr("would delete hsmux-capacity-1-1"));
  EXPECT_THAT(run({"keys", "list"}).out, HasSubstr("hsmux-capacity-1-1"));
  EXPECT_EQ(run({"capacity", "clean", "--yes"}).code, 0);
  EXPECT_THAT(run({"keys", "list"}).out, AllOf(HasSubstr("orders"), Not(HasSubstr("hsmux-capacity"))));
}

} // namespace
} // namespace hsmux
