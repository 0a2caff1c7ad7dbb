// Other people's PKCS#11 clients work on the simulator's own HSM, and `hsmux sim` controls one that runs.
#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/tools/child.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true; // foreign programs do not start with an instrumented module
#else
constexpr bool kSanitized = false;
#endif

constexpr const char* kOwn = "mode = 'own'\ncontrol = './sim.sock'\n[[token]]\nlabel = 'sim-0'\nuser_pin = '4711'\n"
                             "[[token]]\nlabel = 'sim-1'\nuser_pin = '4711'\n";

class Clients : public testing::Test {
protected:
  [[nodiscard]] Ended run(const std::vector<std::string>& argv, const std::string& settings = kOwn) const {
    Surroundings around;
    around.environment = {{"HSMUX_SIM_CONFIG", folder_.write("sim.toml", with_control(settings))}, {"SIM_PIN", "4711"}};
    return hsmux::run(folder_, argv, around);
  }
  [[nodiscard]] std::string socket() const { return folder_.file("sim.sock"); }
  [[nodiscard]] std::string with_control(std::string settings) const {
    const std::size_t at = settings.find("./sim.sock");
    if (at != std::string::npos) settings.replace(at, 10, socket());
    return settings;
  }

  TemporaryFolder folder_;
};

TEST_F(Clients, Pkcs11ToolFindsEverythingRight) {
  if (kSanitized) GTEST_SKIP() << "pkcs11-tool cannot load an instrumented module";
  const Ended ended = run(
      {"pkcs11-tool", "--module", HSMUX_TEST_SIMHSM, "--token-label", "sim-0", "--login", "--pin", "4711", "--test"});
  EXPECT_EQ(ended.code, 0) << ended.out << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("No errors"));
  EXPECT_THAT(ended.out, Not(HasSubstr("ERR")));
}

// In one process: keys live as long as that. --test signs, verifies and decrypts with the key that was just made.
TEST_F(Clients, Pkcs11ToolFindsKeysThatItMakesRight) {
  if (kSanitized) GTEST_SKIP() << "pkcs11-tool cannot load an instrumented module";
  for (const char* type : {"rsa:2048", "EC:prime256v1", "EC:secp384r1", "EC:edwards25519"}) {
    const Ended ended = run({"pkcs11-tool", "--module", HSMUX_TEST_SIMHSM, "--token-label", "sim-1", "--login", "--pin",
                             "4711", "--keypairgen", "--key-type", type, "--id", "01", "--label", "k", "--test"});
    EXPECT_EQ(ended.code, 0) << type << ended.out << ended.err;
    EXPECT_THAT(ended.out, HasSubstr("No errors")) << type;
  }
}

TEST_F(Clients, SunPkcs11MakesKeysSignsAndDecrypts) {
  if (kSanitized) GTEST_SKIP() << "a JVM cannot load an instrumented module";
  const Ended ended = run({"java", HSMUX_SOURCE_DIR "/tests/simhsm/SunPkcs11.java", HSMUX_TEST_SIMHSM, "0"});
  EXPECT_EQ(ended.code, 0) << ended.out << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("right: AES-GCM"));
  EXPECT_THAT(ended.out, HasSubstr("right: KeyStore"));
}

// --- hsmux sim ---

class SimCommand : public Clients {
protected:
  // A process that has the module loaded and waits: hsmux itself, whose C_Login hangs.
  void SetUp() override {
    std::filesystem::permissions(folder_.write("pin", "4711\n"), std::filesystem::perms::owner_read);
    const std::string config = folder_.write("hsmux.toml", "[module.sim]\npath = '" HSMUX_TEST_SIMHSM
                                                           "'\n[[slot]]\nname = 'a'\nmodule = 'sim'\n"
                                                           "token_label = 'sim-0'\npin = { file = '" +
                                                               folder_.file("pin") + "' }\n");
    Surroundings around;
    around.environment = {
        {"HSMUX_SIM_CONFIG",
         folder_.write("sim.toml", with_control(std::string(kOwn) + "[[fault]]\nfunction = 'C_Login'\naction = 'hang'\n"
                                                                    "times = 0\n"))},
        {"HSMUX_CONFIG", config}};
    running_ = hsmux::start(host_, {HSMUX_PROGRAM, "slots", "--json"}, around);
    const auto start = std::chrono::steady_clock::now();
    while (sim({"status"}).code != 0 && std::chrono::steady_clock::now() - start < std::chrono::seconds(10)) {
      std::this_thread::yield();
    }
  }
  void TearDown() override {
    (void)sim({"release"});
    const Ended ended = wait_for(host_, running_);
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_FALSE(exists(socket())); // it goes with the process
  }
  [[nodiscard]] Ended sim(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.insert(arguments.begin(), {HSMUX_PROGRAM, "sim", "--socket", socket()});
    Surroundings around;
    around.input = input;
    return hsmux::run(folder_, arguments, around);
  }
  [[nodiscard]] nlohmann::json status() const {
    const Ended ended = sim({"status", "--json"});
    EXPECT_EQ(ended.code, 0) << ended.err;
    return nlohmann::json::parse(ended.out);
  }

  TemporaryFolder host_;
  pid_t running_ = 0;
};

TEST_F(SimCommand, ShowsWhatTheModuleDoes) {
  EXPECT_EQ(mode_of(socket()), 0600U);
  EXPECT_EQ(status().at("slots").at(0).at("label"), "sim-0");
  const Ended ended = sim({"status"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("sim-1"));
}

TEST_F(SimCommand, ChangesSettingsAndPlaysFaults) {
  EXPECT_EQ(sim({"apply"}, "[[hsm]]\nslot = 'sim-1'\nengines = 7\n").code, 0);
  EXPECT_EQ(sim({"play", "pin-state", "sim-1", "--pin", "count-low"}).code, 0);
  EXPECT_EQ(sim({"play", "remove-token", "1"}).code, 0);
  const nlohmann::json slot = status().at("slots").at(1);
  EXPECT_EQ(slot.at("engines"), 7);
  EXPECT_EQ(slot.at("pin"), "count-low");
  EXPECT_EQ(slot.at("present"), false);
  EXPECT_EQ(sim({"reset"}).code, 0);
  EXPECT_EQ(status().at("slots").at(1).at("present"), true);
}

TEST_F(SimCommand, TellsMistakes) {
  const Ended unknown = sim({"play", "explode"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("action"));
  const Ended settings = sim({"apply"}, "engines = 3");
  EXPECT_EQ(settings.code, 2);
  EXPECT_THAT(settings.err, HasSubstr("unknown key"));
  const Ended slot = sim({"play", "logout", "nobody"});
  EXPECT_EQ(slot.code, 2);
}

TEST(SimCommandAlone, SaysThatNobodyListens) {
  const TemporaryFolder folder;
  Ended ended = run(folder, {HSMUX_PROGRAM, "sim", "--socket", folder.file("none"), "status"});
  EXPECT_EQ(ended.code, 10);
  EXPECT_THAT(ended.err, HasSubstr("nobody listens there"));
  ended = run(folder, {HSMUX_PROGRAM, "sim", "status"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("HSMUX_SIM_SOCKET"));
}

} // namespace
} // namespace hsmux
