#include "slots/flight_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "slots/disposition.h"

namespace hsmux {

std::string FlightRecorder::text(TimePoint opened, TimePoint now) const {
  std::string text;
  for (std::uint64_t i = count_ - std::min<std::uint64_t>(count_, kCalls); i < count_; ++i) {
    const Record& record = calls_.at(i % kCalls);
    text += fmt::format("{}{} {} {} us", text.empty() ? "" : ", ", call_name(record.call), rv_name(record.rv),
                        std::chrono::duration_cast<std::chrono::microseconds>(record.took).count());
  }
  return fmt::format("{}{}{} calls in {} s", text, text.empty() ? "" : "; ", count_,
                     std::chrono::duration_cast<std::chrono::seconds>(now - opened).count());
}

} // namespace hsmux
