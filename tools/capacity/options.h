// What the command line of `hsmux capacity run` says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hsmux::capacity {

struct Options {
  // What is asked.
  std::string mix = "sequencer";
  std::vector<std::string> work; // entries in place of a preset
  // How: with neither, the capacity is searched.
  std::optional<double> rate;           // open model at this rate
  std::optional<std::uint32_t> callers; // closed model
  std::string arrivals = "poisson";
  double seconds = 3, warm_up_seconds = 1;
  std::uint32_t repeats = 5;
  std::string goal = "p99<=10ms";
  std::uint32_t sessions_max = 64;     // of a search
  std::vector<std::uint32_t> sessions; // steps of a search; else the first is used
  std::string start_at;                // seconds since 1970, or empty
  std::uint64_t seed = 1;
  bool unchecked = false; // each key's first result is not checked: simulated HSMs may give canned answers
  std::uint32_t in_flight_max = 100'000;
  // Drills.
  std::vector<std::string> drills; // "pull=SLOT", "kill-sessions=SLOT", "slow=SLOT"
  std::string sim_socket, drill_script;
  double drill_seconds = 5;
  // Safety.
  std::string prefix = "hsmux-capacity";
  bool yes = false;
  std::uint32_t logins_per_minute = 30, opens_per_second = 100;
  // Output.
  std::string out, html, histogram_log, metrics;
  bool force = false;
};

// Rates beyond this the generator cannot send from one process.
inline constexpr double kRateMax = 200'000;

} // namespace hsmux::capacity
