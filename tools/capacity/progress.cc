#include "tools/capacity/progress.h"

#include <fmt/format.h>

namespace hsmux::capacity {

void LoadDisplay::show(const LoadProgress& progress) {
  const TimePoint now = MonotonicClock::now();
  const bool terminal = stderr_is_terminal();
  if (!terminal && now < next_plain_) return;
  next_plain_ = now + std::chrono::seconds(2);
  std::string text = fmt::format("{}: {:.0f}/s   p50 {}   p99 {}   errors {}   under way {}   {:.0f} s left",
                                 progress.plan->name, progress.rate, time_text(static_cast<double>(progress.p50_ns)),
                                 time_text(static_cast<double>(progress.p99_ns)), progress.errors, progress.waiting,
                                 progress.seconds_left);
  for (std::size_t i = 0; slots_.size() > 1 && i < slots_.size() && i < progress.slot_share.size(); ++i) {
    text += fmt::format("   {} {:.0f} %", slots_[i], progress.slot_share[i] * 100);
  }
  if (terminal) {
    line_.show(text);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

} // namespace hsmux::capacity
