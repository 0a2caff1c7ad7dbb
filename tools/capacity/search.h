// What to measure next, and what the measurements so far say: sessions per slot up to the knee, and the highest rate
// that keeps a goal. Pure: told each result, they say the next step. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hsmux::capacity {

struct SessionsPoint {
  std::uint32_t sessions = 0; // per slot
  double rate = 0;            // operations a second, saturated
};

// Doubles the sessions until two steps in a row gain less than kGainMin, then looks once between the knee and the step
// below it.
class SessionsSearch {
public:
  static constexpr double kGainMin = 0.03;
  static constexpr double kKneeShare = 0.95;    // of the best rate: the fewest sessions that reach it are the knee
  static constexpr double kEnoughShare = 0.985; // the same for what is recommended

  // 1 to `sessions_max`; or exactly `given` (ascending), when that is not empty.
  explicit SessionsSearch(std::uint32_t sessions_max, std::vector<std::uint32_t> given = {});

  [[nodiscard]] std::optional<std::uint32_t> next() const;
  void add(SessionsPoint point);

  [[nodiscard]] const std::vector<SessionsPoint>& points() const { return points_; } // ascending
  [[nodiscard]] double best_rate() const;
  [[nodiscard]] std::uint32_t knee() const;        // 0 before the first point
  [[nodiscard]] std::uint32_t recommended() const; // the fewest that reach kEnoughShare
  // The last step up still gained: more sessions than were tried may do more.
  [[nodiscard]] bool still_rising() const;

private:
  [[nodiscard]] std::uint32_t fewest_with(double share) const;
  [[nodiscard]] bool settled() const;
  std::uint32_t sessions_max_;
  std::vector<std::uint32_t> given_;
  std::vector<SessionsPoint> points_;
  bool refined_ = false;
};

struct RatePoint {
  double rate = 0; // intended
  bool kept = false;
};

// The highest rate that keeps the goal: up through shares of the capacity until one fails, then by halves down to
// kResolution, then `repeats` times at the rate found; a repetition that fails takes one step down.
class RateSearch {
public:
  static constexpr double kResolution = 0.02; // of the capacity
  static constexpr std::uint32_t kStepsDownMax = 8;

  RateSearch(double capacity, std::uint32_t repeats);

  enum class Phase : std::uint8_t { kUp, kBetween, kRepeat, kDone };
  [[nodiscard]] Phase phase() const;
  [[nodiscard]] std::optional<double> next() const; // nothing: done
  void add(bool kept);                              // of the rate that next() said

  // 0: the goal is kept at no rate that was tried.
  [[nodiscard]] double rate() const { return found_; }
  [[nodiscard]] bool confirmed() const { return found_ > 0 && repeated_ >= repeats_; }

private:
  double capacity_;
  std::uint32_t repeats_;
  std::size_t share_ = 0;
  double kept_ = 0, broken_ = 0; // 0 = none yet
  double found_ = 0;
  std::uint32_t repeated_ = 0, steps_down_ = 0;
  bool given_up_ = false;
};

} // namespace hsmux::capacity
