#include "slots/flight_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr TimePoint kOpened = TimePoint(std::chrono::seconds(100));

TEST(FlightRecorderOfASession, TellsTheLastCallsOldestFirst) {
  FlightRecorder recorder;
  recorder.note(Call::kSignInit, CKR_OK, std::chrono::microseconds(12));
  recorder.note(Call::kSign, CKR_DEVICE_ERROR, std::chrono::milliseconds(3));
  EXPECT_EQ(recorder.text(kOpened, kOpened + std::chrono::seconds(7)),
            "C_SignInit CKR_OK 12 us, C_Sign CKR_DEVICE_ERROR 3000 us; 2 calls in 7 s");
}

TEST(FlightRecorderOfASession, KeepsAFewAndCountsAll) {
  FlightRecorder recorder;
  for (unsigned long i = 0; i < 1000; ++i) recorder.note(Call::kSign, i < 998 ? CKR_OK : CKR_GENERAL_ERROR, {});
  const std::string text = recorder.text(kOpened, kOpened);
  EXPECT_TRUE(text.ends_with("C_Sign CKR_GENERAL_ERROR 0 us, C_Sign CKR_GENERAL_ERROR 0 us; 1000 calls in 0 s"))
      << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), ','), static_cast<long>(FlightRecorder::kCalls) - 1);
}

TEST(FlightRecorderOfASession, OneThatNeverCalledSaysSo) {
  EXPECT_EQ(FlightRecorder().text(kOpened, kOpened), "0 calls in 0 s");
}

} // namespace
} // namespace hsmux
