#include "tests/simhsm/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "slots/disposition.h"
#include "tests/simhsm/sim_slot.h"

namespace hsmux::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

Settings read(const std::string& text, Settings base = {}, bool running = false) {
  auto settings = read_settings(text, "sim.toml", std::move(base), running);
  EXPECT_TRUE(settings.has_value()) << settings.error();
  return settings.value_or(Settings{});
}

std::string error_of(const std::string& text, bool running = false) {
  const auto settings = read_settings(text, "sim.toml", {}, running);
  EXPECT_FALSE(settings.has_value()) << text;
  return settings ? "" : settings.error();
}

TEST(SimSettings, NothingIsAWrappedModuleAsItIs) {
  const Settings settings = read("");
  EXPECT_FALSE(settings.own);
  EXPECT_TRUE(settings.times.empty());
  EXPECT_EQ(settings.limits.sessions_max, 0U);
  EXPECT_EQ(settings.limits.sessions_reported.kind, ReportedSessions::Kind::kModule);
}

TEST(SimSettings, EverythingIsRead) {
  const Settings settings = read(R"(
mode = 'own'
answers = 'canned'
gcm_iv = 'hsm'
seed = 17
strict = ['two-threads', 'pin-try']
reuse_handles = true
spare_slot = false
control = '/tmp/x.sock'
log = '/tmp/x.toml'
[[token]]
label = 'sim-0'
user_pin = '4711'
[limits]
sessions_max = 16
sessions_per = 'library'
sessions_reported = 'infinite'
session_idle_us = 1e6
objects_max = 100
[[hsm]]
slot = 'sim-0'
engines = 8
round_trip_us = 300.5
local = ['C_SignInit']
throttle = { per_second = 1000, burst = 50, answer = 'CKR_DEVICE_MEMORY' }
[[time]]
function = 'C_Sign'
mechanism = 'CKM_ECDSA'
kind = 'heavy-tail'
us = 1000
slow_us = 50000
sigma = 0.8
[[fault]]
slot = 3
function = 'C_Sign'
every = 100
action = 'answer'
rv = 0x80000001
)");
  EXPECT_TRUE(settings.own);
  EXPECT_TRUE(settings.canned);
  EXPECT_TRUE(settings.makes_iv);
  EXPECT_TRUE(settings.reuse_handles);
  EXPECT_FALSE(settings.spare_slot);
  EXPECT_EQ(settings.seed, 17U);
  EXPECT_THAT(settings.strict, ElementsAre(Violation::kTwoThreads, Violation::kPinTry));
  EXPECT_EQ(settings.control_path, "/tmp/x.sock");
  ASSERT_EQ(settings.tokens.size(), 1U);
  EXPECT_EQ(settings.tokens[0].user_pin, "4711");
  EXPECT_TRUE(settings.limits.sessions_per_library);
  EXPECT_EQ(settings.limits.sessions_reported.kind, ReportedSessions::Kind::kInfinite);
  EXPECT_EQ(settings.limits.session_idle, seconds(1));
  ASSERT_EQ(settings.hsms.size(), 1U);
  EXPECT_EQ(settings.hsms[0].round_trip, Nanoseconds(300'500));
  EXPECT_TRUE(settings.hsms[0].local.contains(Function::C_SignInit));
  EXPECT_EQ(settings.hsms[0].throttle.answer, CKR_DEVICE_MEMORY);
  ASSERT_EQ(settings.times.size(), 1U);
  EXPECT_EQ(settings.times[0].mechanism, CKM_ECDSA);
  EXPECT_EQ(settings.times[0].service.slow, milliseconds(50));
  ASSERT_EQ(settings.faults.size(), 1U);
  EXPECT_EQ(settings.faults[0].rv, 0x80000001U);
  EXPECT_EQ(settings.faults[0].times, 0U); // "every" goes on
  EXPECT_TRUE(selects(settings.faults[0].match.slot, 3, "any"));
}

TEST(SimSettings, WhatIsNotGivenStaysAsItWas) {
  const Settings before = read("[limits]\nsessions_max = 5\n[[time]]\nus = 1");
  const Settings after = read("[[hsm]]\nengines = 2\n[limits]\nsession_idle_us = 7", before, true);
  EXPECT_EQ(after.limits.sessions_max, 5U);
  EXPECT_EQ(after.limits.session_idle, microseconds(7));
  EXPECT_EQ(after.times.size(), 1U);
  EXPECT_EQ(after.hsms.size(), 1U);
}

TEST(SimSettings, EveryCodeOfTheDispositionTableCanBeAnswered) {
  for (const Disposition& row : disposition_table()) {
    if (!row.name.starts_with("CKR_")) continue; // the last row stands for all others
    const Settings settings = read("[[fault]]\naction = 'answer'\nrv = '" + std::string(row.name) + "'");
    ASSERT_EQ(settings.faults.size(), 1U);
    EXPECT_EQ(settings.faults[0].rv, row.rv) << row.name;
  }
}

TEST(SimSettings, MistakesAreToldWithTheirLineAndWhatIsAllowed) {
  EXPECT_THAT(error_of("\nspeed = 3"), HasSubstr("sim.toml:2: speed: unknown key; allowed:"));
  EXPECT_THAT(error_of("mode = 'fast'"), HasSubstr("'own', 'wrap'"));
  EXPECT_THAT(error_of("[[hsm]]\nengines = 0"), HasSubstr("sim.toml:2: hsm.engines: 1 to 4096"));
  EXPECT_THAT(error_of("[[time]]\nkind = 'slow'"), HasSubstr("constant, jitter, bimodal, heavy-tail, drifting"));
  EXPECT_THAT(error_of("[[time]]\nkind = 'bimodal'\nus = 1"), HasSubstr("slow_us: is missing"));
  EXPECT_THAT(error_of("[[time]]\nus = -1"), HasSubstr("time.us"));
  EXPECT_THAT(error_of("[[time]]\nus = nan"), HasSubstr("time.us"));
  EXPECT_THAT(error_of("[[time]]\nmechanism = 'CKM_NOTHING'"), HasSubstr("given as numbers"));
  EXPECT_THAT(error_of("[[fault]]\nrv = 'CKR_DEVICE_ERROR'"), HasSubstr("fault.action: is missing"));
  EXPECT_THAT(error_of("[[fault]]\naction = 'answer'"), HasSubstr("fault.rv"));
  EXPECT_THAT(error_of("[[fault]]\naction = 'answer'\nrv = 'CKR_NOTHING'"), HasSubstr("docs/errors.md"));
  EXPECT_THAT(error_of("[[fault]]\naction = 'delay'"), HasSubstr("time_us"));
  EXPECT_THAT(error_of("[[fault]]\naction = 'crash'\nfunction = 'C_Nothing'"), HasSubstr("C_Nothing"));
  EXPECT_THAT(error_of("[[token]]\nlabel = ''\n"), HasSubstr("token.label"));
  EXPECT_THAT(error_of("answers = 'canned'"), HasSubstr("need mode = 'own'"));
  EXPECT_THAT(error_of("gcm_iv = 'hsm'"), HasSubstr("need mode = 'own'"));
  EXPECT_THAT(error_of("strict = ['x']"), HasSubstr("two-threads"));
  EXPECT_THAT(error_of("limits = 3"), HasSubstr("[limits] is wanted"));
  EXPECT_THAT(error_of("[[hsm]"), HasSubstr("sim.toml:1:"));
  EXPECT_THAT(error_of("[[time]]\nkind = 'constant'"), HasSubstr("time.us: is missing"));
  EXPECT_THAT(error_of("[[hsm]]\nseed = 3"), HasSubstr("above the first [table]"));
}

TEST(SimSettings, WaysToSayWhenExcludeEachOther) {
  const std::string row = "[[fault]]\naction = 'corrupt'\n";
  EXPECT_THAT(error_of(row + "every = 2\nskip = 4"), HasSubstr("one of call, every, probability and skip"));
  EXPECT_THAT(error_of(row + "call = 2\nprobability = 0.5"), HasSubstr("one of"));
  EXPECT_THAT(error_of(row + "call = 0"), HasSubstr("counts from 1"));
  EXPECT_THAT(error_of(row + "call = 3\ntimes = 2"), HasSubstr("once"));
  EXPECT_THAT(error_of(row + "every = 0"), HasSubstr("fault.every"));
  EXPECT_THAT(error_of(row + "probability = 0"), HasSubstr("fault.probability"));
  EXPECT_THAT(error_of(row + "at_us = 5\nuntil_us = 5"), HasSubstr("fault.until_us"));
  EXPECT_THAT(error_of(row + "time_us = 5"), HasSubstr("fault.time_us"));
  EXPECT_THAT(error_of(row + "slot_id = 5"), HasSubstr("fault.slot_id"));
  EXPECT_THAT(error_of(row + "function = 'C_GenerateRandom'"), HasSubstr("outputs are those of"));
}

TEST(SimSettings, WhatIsFixedAtTheStartIsRefusedWhileItRuns) {
  for (const char* text : {"mode = 'own'", "module = 'x'", "control = 'x'", "log = 'x'", "spare_slot = true"}) {
    EXPECT_THAT(error_of(text, true), HasSubstr("is fixed when the module is loaded")) << text;
  }
}

TEST(SimSettings, TheFirstRowThatFitsASlotAndAFunctionCounts) {
  const Settings settings =
      read("[[hsm]]\nslot = 'sim-1'\nengines = 2\n[[hsm]]\nslot = 7\nengines = 3\nround_trip_us = 5\n"
           "local = ['C_SignInit']\n[[hsm]]\nengines = 4\n"
           "[[time]]\nslot = 'sim-1'\nfunction = 'C_Sign'\nus = 10\n[[time]]\nus = 20\n");
  const auto first_time = [&](const SlotProfile& profile, Function function) {
    return profile.times.at(static_cast<std::size_t>(function)).at(0).service.time;
  };
  const SlotProfile by_label = profile_of(settings, 9, "sim-1"), by_id = profile_of(settings, 7, "sim-2"),
                    other = profile_of(settings, 8, "sim-3");
  EXPECT_EQ(by_label.hsm.engines, 2U);
  EXPECT_EQ(by_id.hsm.engines, 3U);
  EXPECT_EQ(other.hsm.engines, 4U);
  EXPECT_EQ(first_time(by_label, Function::C_Sign), microseconds(10));
  EXPECT_EQ(first_time(by_label, Function::C_Decrypt), microseconds(20));
  EXPECT_EQ(first_time(other, Function::C_Sign), microseconds(20));
  EXPECT_EQ(by_id.round_trip.at(static_cast<std::size_t>(Function::C_Sign)), microseconds(5));
  EXPECT_EQ(by_id.round_trip.at(static_cast<std::size_t>(Function::C_SignInit)), microseconds(0));
}

} // namespace
} // namespace hsmux::sim
