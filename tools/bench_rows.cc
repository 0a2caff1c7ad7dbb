#include "tools/bench_rows.h"

#include <fmt/format.h>

#include <array>

namespace hsmux {
namespace {

constexpr std::string_view kP256 = "ecdsa-p256-sha256", kEd25519 = "ed25519", kOaep = "rsa-oaep-sha256",
                           kGcm = "aes-256-gcm";

constexpr BenchRow calls(std::string_view name, std::string_view algorithm, std::uint32_t callers,
                         std::string_view locks, std::string_view copies, double ratio_min) {
  return {.name = name,
          .module = BenchModule::kSofthsm,
          .algorithm = algorithm,
          .callers = callers,
          .locks = locks,
          .copies = copies,
          .ratio_min = ratio_min};
}

constexpr BenchRow submitted(std::string_view name, std::string_view locks, std::string_view copies,
                             std::uint32_t raw_callers, double ratio_min) {
  BenchRow row = calls(name, kP256, 64, locks, copies, ratio_min);
  row.mode = BenchMode::kSubmit;
  row.raw_callers = raw_callers;
  return row;
}

constexpr BenchRow simulated(BenchRow row) {
  row.module = BenchModule::kSimhsm;
  row.algorithm = kP256;
  row.copies = "off";
  return row;
}

// clang-format off
constexpr auto kRows = std::to_array<BenchRow>({
    // The engine beside the module alone, all else the same.
    calls("p256", kP256, 1, "os", "off", 0.98),
    calls("p256", kP256, 2, "os", "off", 0.98),
    calls("p256", kP256, 8, "os", "off", 0.98),
    calls("p256", kP256, 64, "os", "off", 0.98),
    calls("ed25519", kEd25519, 1, "os", "off", 0.98),
    calls("ed25519", kEd25519, 2, "os", "off", 0.98),
    calls("ed25519", kEd25519, 8, "os", "off", 0.98),
    calls("ed25519", kEd25519, 64, "os", "off", 0.98),
    calls("oaep", kOaep, 1, "os", "off", 0.98),
    calls("oaep", kOaep, 2, "os", "off", 0.98),
    calls("oaep", kOaep, 8, "os", "off", 0.98),
    calls("oaep", kOaep, 64, "os", "off", 0.98),
    calls("gcm", kGcm, 1, "os", "off", 0.97),
    calls("gcm", kGcm, 2, "os", "off", 0.97),
    calls("gcm", kGcm, 8, "os", "off", 0.97),
    // With the engine's locks, against the module with the system's.
    calls("p256 locks", kP256, 2, "engine", "off", 1.04),
    calls("p256 locks", kP256, 8, "engine", "off", 1.04),
    calls("gcm locks", kGcm, 2, "engine", "off", 1.05),
    calls("gcm locks", kGcm, 8, "engine", "off", 1.05),
    // With both, which is what SoftHSM2 gets by default.
    calls("p256 locks+copies", kP256, 1, "engine", "on", 1.3),
    calls("p256 locks+copies", kP256, 2, "engine", "on", 1.4),
    calls("gcm locks+copies", kGcm, 1, "engine", "on", 2.5),
    calls("gcm locks+copies", kGcm, 2, "engine", "on", 2.2),
    // Submitted, 64 in flight, beside the module alone with few and with many threads.
    submitted("p256 submit", "os", "off", 2, 0.93),
    submitted("p256 submit", "os", "off", 8, 0.93),
    submitted("p256 submit locks+copies", "engine", "on", 2, 0.93),
    submitted("p256 submit locks+copies", "engine", "on", 8, 0.93),
    // HSMs that are bound by their engines, not by this machine.
    simulated({.name = "sim 8x1ms", .hsm = "1ms", .slots = 1, .sessions = 16, .callers = 16, .ratio_min = 0.97}),
    simulated({.name = "sim 8x1ms", .hsm = "1ms", .slots = 2, .sessions = 16, .callers = 32, .ratio_min = 0.97}),
    simulated({.name = "sim 8x1ms", .hsm = "1ms", .slots = 4, .sessions = 16, .callers = 64, .ratio_min = 0.97,
               .cpu_ratio_max = 1.5}),
    simulated({.name = "sim 8x4ms", .hsm = "4ms", .slots = 8, .sessions = 16, .callers = 128, .ratio_min = 0.97}),
    simulated({.name = "sim 1ms and 4ms", .hsm = "1ms-4ms", .slots = 2, .sessions = 16, .callers = 32,
               .rate_min = 9'700}),
    simulated({.name = "sim one of four slow", .hsm = "one-slow", .slots = 4, .sessions = 16, .callers = 16,
               .rate_min = 15'500, .p99_max_us = 1'200}),
    simulated({.name = "sim after a stall", .hsm = "one-slow", .slots = 4, .sessions = 16, .callers = 16,
               .stall = true, .ratio_min = 0.97}),
    // Beside as many raw callers as sessions: what eight sessions can do at best.
    simulated({.name = "sim few sessions", .hsm = "1ms", .slots = 1, .sessions = 8, .callers = 64, .raw_callers = 8,
               .rate_min = 7'760, .p99_max_us = 8'800}),
    simulated({.name = "sim many callers", .hsm = "1ms", .slots = 1, .sessions = 16, .callers = 256,
               .p999_of_mean_max = 3}),
    // 80 % of what two slots can do; the M/D/16 queue's own p99 is 1.53 times the service time.
    simulated({.name = "sim poisson", .hsm = "1ms", .slots = 2, .sessions = 16, .callers = 64,
               .mode = BenchMode::kPoissonCalls, .rate = 12'800, .raw_callers = 1, .p99_max_us = 1'730,
               .own_p50_max_us = 10}),
    simulated({.name = "sim poisson submit", .hsm = "1ms", .slots = 2, .sessions = 16, .callers = 1,
               .mode = BenchMode::kPoissonSubmit, .rate = 12'800, .raw_callers = 1, .p99_max_us = 1'730,
               .own_p50_max_us = 10}),
});
// clang-format on

std::string time_row(std::string_view slot, int us) {
  const std::string of = slot.empty() ? "" : fmt::format("slot = '{}'\n", slot);
  return fmt::format("[[time]]\n{}function = 'C_Sign'\nus = {}\n", of, us);
}

} // namespace

std::span<const BenchRow> bench_rows() { return kRows; }

std::string hsm_settings(std::string_view hsm, const std::string& control) {
  std::string text = "mode = 'own'\nanswers = 'canned'\nspare_slot = false\n";
  if (!control.empty()) text += fmt::format("control = '{}'\n", control);
  for (int i = 0; i < 8; ++i) text += fmt::format("[[token]]\nlabel = 'sim-{}'\n", i);
  text += "[[hsm]]\nengines = 8\n";
  // The first row that fits counts.
  if (hsm == "1ms-4ms") text += time_row("sim-1", 4000);
  if (hsm == "one-slow") text += time_row("sim-3", 5000);
  return text + time_row("", hsm == "4ms" ? 4000 : 1000);
}

std::string stall_settings(bool stall) { return time_row("sim-3", stall ? 50'000 : 5000) + time_row("", 1000); }

} // namespace hsmux
