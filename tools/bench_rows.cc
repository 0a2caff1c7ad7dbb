#include "tools/bench_rows.h"

#include <fmt/format.h>

#include <array>

namespace hsmux {
namespace {

constexpr std::string_view kP256 = "ecdsa-p256-sha256", kEd25519 = "ed25519", kOaep = "rsa-oaep-sha256",
                           kGcm = "aes-256-gcm";
constexpr auto kSoft = BenchModule::kSofthsm;
constexpr auto kSim = BenchModule::kSimhsm;

// clang-format off
constexpr auto kRows = std::to_array<BenchRow>({
    // The engine beside the module alone, all else the same.
    {"p256", kSoft, "", kP256, 1, 64, 1, "os", "off", 0.98},
    {"p256", kSoft, "", kP256, 1, 64, 2, "os", "off", 0.98},
    {"p256", kSoft, "", kP256, 1, 64, 8, "os", "off", 0.98},
    {"p256", kSoft, "", kP256, 1, 64, 64, "os", "off", 0.98},
    {"ed25519", kSoft, "", kEd25519, 1, 64, 1, "os", "off", 0.98},
    {"ed25519", kSoft, "", kEd25519, 1, 64, 2, "os", "off", 0.98},
    {"ed25519", kSoft, "", kEd25519, 1, 64, 8, "os", "off", 0.98},
    {"ed25519", kSoft, "", kEd25519, 1, 64, 64, "os", "off", 0.98},
    {"oaep", kSoft, "", kOaep, 1, 64, 1, "os", "off", 0.98},
    {"oaep", kSoft, "", kOaep, 1, 64, 2, "os", "off", 0.98},
    {"oaep", kSoft, "", kOaep, 1, 64, 8, "os", "off", 0.98},
    {"oaep", kSoft, "", kOaep, 1, 64, 64, "os", "off", 0.98},
    {"gcm", kSoft, "", kGcm, 1, 64, 1, "os", "off", 0.97},
    {"gcm", kSoft, "", kGcm, 1, 64, 2, "os", "off", 0.97},
    {"gcm", kSoft, "", kGcm, 1, 64, 8, "os", "off", 0.97},
    // With the engine's locks, against the module with the system's.
    {"p256 locks", kSoft, "", kP256, 1, 64, 2, "engine", "off", 1.04},
    {"p256 locks", kSoft, "", kP256, 1, 64, 8, "engine", "off", 1.04},
    {"gcm locks", kSoft, "", kGcm, 1, 64, 2, "engine", "off", 1.05},
    {"gcm locks", kSoft, "", kGcm, 1, 64, 8, "engine", "off", 1.05},
    // With both, which is what SoftHSM2 gets by default.
    {"p256 locks+copies", kSoft, "", kP256, 1, 64, 1, "engine", "on", 1.3},
    {"p256 locks+copies", kSoft, "", kP256, 1, 64, 2, "engine", "on", 1.4},
    {"gcm locks+copies", kSoft, "", kGcm, 1, 64, 1, "engine", "on", 2.5},
    {"gcm locks+copies", kSoft, "", kGcm, 1, 64, 2, "engine", "on", 2.2},
    // HSMs that are bound by their engines, not by this machine.
    {"sim 8x1ms", kSim, "1ms", kP256, 1, 16, 16, "", "off", 0.97},
    {"sim 8x1ms", kSim, "1ms", kP256, 2, 16, 32, "", "off", 0.97},
    {"sim 8x1ms", kSim, "1ms", kP256, 4, 16, 64, "", "off", 0.97},
    {"sim 8x4ms", kSim, "4ms", kP256, 8, 16, 128, "", "off", 0.97},
    {"sim 1ms and 4ms", kSim, "1ms-4ms", kP256, 2, 16, 32, "", "off", 0, 9'700},
    {"sim one of four slow", kSim, "one-slow", kP256, 4, 16, 16, "", "off", 0, 15'500, 1'200},
    {"sim few sessions", kSim, "1ms", kP256, 1, 8, 64, "", "off", 0, 7'760, 8'800},
    {"sim many callers", kSim, "1ms", kP256, 1, 16, 256, "", "off", 0, 0, 0, 3},
});
// clang-format on

std::string time_row(std::string_view slot, int us) {
  const std::string of = slot.empty() ? "" : fmt::format("slot = '{}'\n", slot);
  return fmt::format("[[time]]\n{}function = 'C_Sign'\nus = {}\n", of, us);
}

} // namespace

std::span<const BenchRow> bench_rows() { return kRows; }

std::string hsm_settings(std::string_view hsm) {
  std::string text = "mode = 'own'\nanswers = 'canned'\nspare_slot = false\n";
  for (int i = 0; i < 8; ++i) text += fmt::format("[[token]]\nlabel = 'sim-{}'\n", i);
  text += "[[hsm]]\nengines = 8\n";
  // The first row that fits counts.
  if (hsm == "1ms-4ms") text += time_row("sim-1", 4000);
  if (hsm == "one-slow") text += time_row("sim-3", 5000);
  return text + time_row("", hsm == "4ms" ? 4000 : 1000);
}

} // namespace hsmux
