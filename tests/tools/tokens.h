// A folder that the program itself has made: two SoftHSM2 tokens and their configuration. One thread.
#pragma once

#include <gtest/gtest.h>

#include "tests/tools/child.h"

namespace hsmux {

class Tokens : public testing::Test {
protected:
  void SetUp() override {
    const Ended made = hsmux::run(folder, {HSMUX_PROGRAM, "init-softhsm", folder.file("tokens"), "--slots", "2"});
    ASSERT_EQ(made.code, 0) << made.err;
    // RSA keys of 3072 bits take SoftHSM five times as long to make.
    std::string text = read_file(config());
    text.replace(text.find("[keys]\n"), 7, "[keys]\ntransport_bits = 2048\n");
    ASSERT_EQ(folder.write("tokens/hsmux.toml", text), config());
  }

  // The program with --config and these arguments.
  Ended run(std::vector<std::string> arguments, const Surroundings& around = {}) const {
    arguments.insert(arguments.begin(), {HSMUX_PROGRAM, "--config", config()});
    return hsmux::run(folder, arguments, around);
  }

  void generate(const std::string& name, const std::string& algorithm) const {
    const Ended made = run({"keys", "generate", name, "--algorithm", algorithm, "--slots", "all"});
    ASSERT_EQ(made.code, 0) << made.err;
  }

  [[nodiscard]] std::string config() const { return folder.file("tokens/hsmux.toml"); }
  [[nodiscard]] std::string pin(int slot) const {
    return read_file(folder.file("tokens/pins/hsmux-" + std::to_string(slot) + ".pin"));
  }

  const TemporaryFolder folder;
};

inline constexpr const char* kSign = "ecdsa-p256-sha256";
inline constexpr const char* kOaep = "rsa-oaep-sha256";
inline constexpr const char* kGcm = "aes-256-gcm";

} // namespace hsmux
