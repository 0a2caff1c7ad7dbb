#include "tools/capacity/limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace hsmux::capacity {

std::string_view limit_name(LimitKind kind) {
  switch (kind) {
  case LimitKind::kUnknown: return "unknown";
  case LimitKind::kToken: return "token";
  case LimitKind::kHostCpu: return "host CPU";
  case LimitKind::kModuleLock: return "module lock";
  case LimitKind::kNetwork: return "network time";
  case LimitKind::kSessions: return "sessions";
  case LimitKind::kEngine: return "hsmux";
  }
  return "";
}

Limit limit_of(const LimitInput& in) {
  if (in.all_slots <= 0) return {LimitKind::kUnknown, "Nothing was done."};
  if (in.cpu_share >= kCpuBusyShare && in.own_cpu_share >= kCpuOwnShareMin * in.cpu_share) {
    return {
        LimitKind::kHostCpu,
        fmt::format("This machine's {:.0f} CPUs were {:.0f} % busy; the HSMs may do more with a stronger or a second "
                    "host.",
                    in.cores, in.cpu_share * 100)};
  }
  const double sum = std::accumulate(in.one_slot.begin(), in.one_slot.end(), 0.0);
  const double network_share = in.service_s > 0 ? std::min(in.round_trip_s * in.calls / in.service_s, 1.0) : 0;
  const bool full = in.sessions > 0 && in.sessions < in.sessions_wanted;
  if (in.still_rising && network_share >= 0.5) {
    return {
        LimitKind::kNetwork,
        fmt::format("{:.0f} % of an operation's {:.2f} ms are the way to the HSM and back ({:.0f} times {:.2f} ms), "
                    "and the rate still rose with the last sessions: more sessions per slot do more{}.",
                    network_share * 100, in.service_s * 1e3, in.calls, in.round_trip_s * 1e3,
                    full ? ", but the token opens no more" : "")};
  }
  if (full || in.still_rising) {
    return {LimitKind::kSessions,
            full ? fmt::format("The token opened {} of {} sessions; each of them was busy.", in.sessions,
                               in.sessions_wanted)
                 : "The rate still rose with the last sessions that were tried: allow more (--sessions-max)."};
  }
  if (in.one_slot.size() > 1 && in.all_slots < kSlotsScaleMin * sum) {
    return {
        LimitKind::kModuleLock,
        fmt::format("Slots that do {:.0f}/s one by one do {:.0f}/s together, with CPU to spare: the module lets its "
                    "calls through one after the other. A second process or host may do more.",
                    sum, in.all_slots)};
  }
  const bool one_at_a_time = in.raw_one > 0 && in.raw_many < kLockScaleMax * in.raw_one;
  if (one_at_a_time && in.own_cpu_share * in.cores > 0.75) {
    return {
        LimitKind::kModuleLock,
        fmt::format("Many threads call the module {:.0f} times a second and one thread {:.0f}, with one CPU busy: it "
                    "lets its calls through one after the other.",
                    in.raw_many, in.raw_one)};
  }
  const double first = in.one_slot.empty() ? in.all_slots : in.one_slot.front();
  if (in.raw_many > 0 && first < kEngineShareMin * in.raw_many) {
    return {LimitKind::kEngine,
            fmt::format("The module alone does {:.0f}/s on the first slot, hsmux {:.0f}/s.", in.raw_many, first)};
  }
  return {LimitKind::kToken,
          fmt::format(
              "More sessions do no more, it takes {:.0f} % of this machine's CPU, and the module alone does no more "
              "({:.0f}/s on the first slot, {:.0f}/s by hsmux): the HSMs' own engines are busy.",
              in.own_cpu_share * 100, in.raw_many, first)};
}

} // namespace hsmux::capacity
