#include "metrics/collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/metric_family.h>

#include "engine/hsmux.h"
#include "metrics/exposition.h"
#include "metrics/outcome.h"
#include "slots/error.h"

namespace hsmux::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr unsigned long kDeviceError = 0x30, kEncryptedDataInvalid = 0x40;

std::vector<OperationKind> kinds() {
  return {{.operation = "sign", .algorithm = "ecdsa-p256-sha256"},
          {.operation = "decrypt", .algorithm = "aes-256-gcm"}};
}

Event attempt(ErrorKind status = {}, unsigned long rv = 0) {
  return {.kind = EventKind::kOperation,
          .slot = "hsm-a",
          .call = rv == 0 ? "" : "C_Sign",
          .rv = rv,
          .algorithm = "ecdsa-p256-sha256",
          .duration = std::chrono::microseconds(60),
          .status = status,
          .operation = "sign",
          .waited = std::chrono::microseconds(1)};
}

// Two slots of which only one ever tells of itself.
std::optional<Snapshot> two_slots() {
  Snapshot snapshot;
  snapshot.health = "degraded";
  snapshot.slots = {
      {.name = "hsm-a", .state = "healthy", .model = "M", .firmware = "1", .library = "l", .serial = "S1"},
      {.name = "hsm-b", .state = "latched", .model = "\"\\\n", .firmware = "", .library = "", .serial = ""}};
  snapshot.threads = 5;
  snapshot.threads_idle = 2;
  snapshot.threads_quarantined = 1;
  return snapshot;
}

TEST(Outcomes, EveryErrorKindHasOne) {
  EXPECT_EQ(outcome_of(HSMUX_OK), Outcome::kOk);
  for (std::int32_t status = 1; status <= HSMUX_CANCELLED; ++status) {
    EXPECT_NE(outcome_of(status), Outcome::kOk) << error_kind_name(static_cast<ErrorKind>(status));
  }
  EXPECT_EQ(outcome_of(HSMUX_DECRYPT_FAILED), Outcome::kCaller) << "no fault of the HSM's";
  EXPECT_EQ(outcome_of(HSMUX_OVERLOADED), Outcome::kShed);
  EXPECT_EQ(outcome_of(9999), Outcome::kDevice);
}

TEST(Collector, CountsAnAttemptByItsSlotOperationAndOutcome) {
  Collector collector(kinds());
  collector.record(attempt());
  collector.record(attempt(ErrorKind::kDevice, kDeviceError));
  const std::string text = Exposition(collector, two_slots, "1.2", false).text();
  const std::string series = R"(hsmux_operations_total{slot="hsm-a",op="sign",spec="ecdsa-p256-sha256",outcome=)";
  EXPECT_THAT(text, HasSubstr(series + "\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(series + "\"device\"} 1\n"));
  EXPECT_THAT(
      text, HasSubstr(R"(hsmux_operation_duration_seconds_count{slot="hsm-a",op="sign",spec="ecdsa-p256-sha256"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_wait_duration_seconds_count{slot="hsm-a"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_build_info{version="1.2"} 1)"));
}

TEST(Collector, CountsARequestOnceWhateverItsAttempts) {
  Collector collector(kinds());
  collector.record(attempt(ErrorKind::kDevice, kDeviceError));
  collector.record(attempt());
  Event request = attempt();
  request.kind = EventKind::kRequest;
  request.slot = {};
  collector.record(request);
  const std::string text = Exposition(collector, two_slots, "1", false).text();
  EXPECT_THAT(text, HasSubstr(R"(hsmux_requests_total{op="sign",spec="ecdsa-p256-sha256",outcome="ok"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_request_duration_seconds_count{op="sign",spec="ecdsa-p256-sha256"} 1)"));
}

TEST(Collector, CountsWhatIsRareBySlot) {
  Collector collector(kinds());
  collector.record({.kind = EventKind::kLogin, .slot = "hsm-a", .rv = 0});
  collector.record({.kind = EventKind::kLogin, .slot = "hsm-b", .rv = 0xa0});
  collector.record({.kind = EventKind::kPinLatched, .slot = "hsm-b", .rv = 0xa0});
  collector.record({.kind = EventKind::kSlotLost, .slot = "hsm-a"});
  collector.record({.kind = EventKind::kSessionDiscarded, .slot = "hsm-a", .rv = 0x30, .status = ErrorKind::kDevice});
  collector.record({.kind = EventKind::kOverdue, .slot = "hsm-a"});
  const std::string text = Exposition(collector, two_slots, "1", false).text();
  EXPECT_THAT(text, HasSubstr(R"(hsmux_logins_total{slot="hsm-a",outcome="ok"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_logins_total{slot="hsm-b",outcome="failed"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_pin_latches_total{slot="hsm-b"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_slot_losses_total{slot="hsm-a"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_session_discards_total{slot="hsm-a",reason="device"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_overdue_total{slot="hsm-a"} 1)"));
}

TEST(Collector, BoundsTheSlotsThatItKnows) {
  Collector collector(kinds());
  for (int i = 0; i < 200; ++i) {
    const std::string name = "slot-" + std::to_string(i);
    collector.record({.kind = EventKind::kSlotLost, .slot = name});
  }
  EXPECT_EQ(collector.rare_sums("slot-63").counts[0], 1U);
  EXPECT_EQ(collector.rare_sums("slot-64").counts[0], 0U);
}

TEST(Exposition, HasEverySeriesFromTheStart) {
  const Collector collector(kinds());
  const std::vector<prometheus::MetricFamily> families = Exposition(collector, two_slots, "1", false).Collect();
  std::map<std::string, std::size_t> series;
  for (const prometheus::MetricFamily& family : families) series[family.name] = family.metric.size();
  ASSERT_EQ(series.size(), kTable.size());
  EXPECT_EQ(series["hsmux_operations_total"], 2 * 2 * kOutcomes.size()); // slots, kinds
  EXPECT_EQ(series["hsmux_operation_duration_seconds"], 2U * 2U);
  EXPECT_EQ(series["hsmux_requests_total"], 2 * kOutcomes.size());
  EXPECT_EQ(series["hsmux_slot_state"], 2 * kSlotStates.size());
  EXPECT_EQ(series["hsmux_retries_total"], 2 * (kOutcomes.size() - 1));
}

TEST(Exposition, GivesEachMetricTheLabelsOfItsRow) {
  const Collector collector(kinds());
  const std::vector<prometheus::MetricFamily> families = Exposition(collector, two_slots, "1", false).Collect();
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    for (const prometheus::ClientMetric& series : families.at(i).metric) {
      std::string labels;
      for (const auto& label : series.label) labels += (labels.empty() ? "" : ",") + label.name;
      EXPECT_EQ(labels, kTable[i].labels) << kTable[i].name;
    }
  }
}

TEST(Exposition, ShowsStatesAsOneOfSeveral) {
  const Collector collector(kinds());
  const std::string text = Exposition(collector, two_slots, "1", false).text();
  EXPECT_THAT(text, HasSubstr(R"(hsmux_slot_state{slot="hsm-b",state="latched"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_slot_state{slot="hsm-b",state="healthy"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_health_state{state="degraded"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(hsmux_worker_threads{state="busy"} 2)"));
}

TEST(Exposition, EscapesWhatTokensSay) {
  const Collector collector(kinds());
  EXPECT_THAT(Exposition(collector, two_slots, "1", false).text(), HasSubstr(R"(model="\"\\\n")"));
}

TEST(Exposition, ShowsSerialNumbersOnlyWhereAskedTo) {
  const Collector collector(kinds());
  EXPECT_THAT(Exposition(collector, two_slots, "1", false).text(), Not(HasSubstr("S1")));
  EXPECT_THAT(Exposition(collector, two_slots, "1", true).text(), HasSubstr("serial=\"S1\""));
}

TEST(Exposition, OfNoEngineHasStillWhatWasCounted) {
  Collector collector(kinds());
  collector.record(attempt());
  const std::string text = Exposition(collector, [] { return std::optional<Snapshot>(); }, "1", false).text();
  EXPECT_THAT(text, HasSubstr("hsmux_requests_total"));
  EXPECT_THAT(text, Not(HasSubstr("hsmux_slot_state")));
}

TEST(RecentErrors, AreEachThereOnceWithTheLatestFirst) {
  Collector collector(kinds());
  collector.record(attempt(ErrorKind::kDevice, kDeviceError));
  collector.record({.kind = EventKind::kSlotLost, .slot = "hsm-a"});
  collector.record(attempt(ErrorKind::kDevice, kDeviceError));
  const std::vector<RecentError> errors = collector.recent_errors();
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0].what, "operation");
  EXPECT_EQ(errors[0].count, 2U);
  EXPECT_EQ(errors[0].rv, kDeviceError);
  EXPECT_EQ(errors[1].what, "slot lost");
}

TEST(RecentErrors, DoNotTellWhyACiphertextDidNotDecrypt) {
  Collector collector(kinds());
  Event event = attempt(ErrorKind::kDecryptFailed, kEncryptedDataInvalid);
  event.algorithm = "aes-256-gcm";
  event.operation = "decrypt";
  collector.record(event);
  event.rv = kDeviceError;
  event.call = "C_DecryptInit";
  collector.record(event);
  const std::vector<RecentError> errors = collector.recent_errors();
  ASSERT_EQ(errors.size(), 1U) << "they look alike";
  EXPECT_EQ(errors[0].rv, 0U);
  EXPECT_EQ(errors[0].call, "");
}

TEST(RecentErrors, AreBounded) {
  Collector collector(kinds());
  for (unsigned long rv = 1; rv <= 100; ++rv) collector.record(attempt(ErrorKind::kDevice, rv));
  const std::vector<RecentError> errors = collector.recent_errors();
  ASSERT_EQ(errors.size(), RecentErrors::kMax);
  EXPECT_EQ(errors.front().rv, 100U);
}

TEST(RecentErrors, DoNotHoldWhatWentWell) {
  Collector collector(kinds());
  collector.record(attempt());
  collector.record({.kind = EventKind::kLogin, .slot = "hsm-a"});
  collector.record({.kind = EventKind::kSlotReady, .slot = "hsm-a"});
  EXPECT_TRUE(collector.recent_errors().empty());
}

} // namespace
} // namespace hsmux::metrics
