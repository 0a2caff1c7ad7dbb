#include "slots/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "slots/disposition.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr auto kLastKind = static_cast<std::uint8_t>(ErrorKind::kIo);

TEST(Error, EveryTextOfACallNamesCallCodeAndSlot) {
  for (std::size_t call = 1; call < kCallNames.size(); ++call) {
    for (const Disposition& row : disposition_table()) {
      if (row.rv == CKR_OK) continue;
      const Error error = call_error({static_cast<Call>(call), row.rv}, "hsm-a");
      EXPECT_THAT(error.text(), HasSubstr("slot hsm-a: "));
      EXPECT_THAT(error.text(), HasSubstr(std::string(kCallNames[call]) + " answered " + rv_name(row.rv)));
      EXPECT_FALSE(error.message.empty()) << row.name;
    }
  }
}

TEST(Error, TextOfAnErrorWithoutACallNamesNone) {
  const std::string text = make_error(ErrorKind::kTimeout, "the deadline passed").text();
  EXPECT_EQ(text, "the deadline passed [timeout]");
}

TEST(Error, TextSaysWhenARetryMakesSense) {
  EXPECT_THAT(make_error(ErrorKind::kOverloaded, "full", Retry::kLater).text(), HasSubstr("[overloaded, retryable]"));
  EXPECT_THAT(make_error(ErrorKind::kOverloaded, "full", Retry::kNever).text(), Not(HasSubstr("retryable")));
}

TEST(Error, EveryKindHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (std::uint8_t kind = 1; kind <= kLastKind; ++kind) names.insert(error_kind_name(static_cast<ErrorKind>(kind)));
  EXPECT_EQ(names.size(), kLastKind);
  EXPECT_FALSE(names.contains(""));
}

TEST(Error, ARetryElsewhereOrLaterIsRetryable) {
  EXPECT_TRUE(make_error(ErrorKind::kDevice, "x", Retry::kElsewhere).retryable());
  EXPECT_TRUE(make_error(ErrorKind::kDevice, "x", Retry::kLater).retryable());
  EXPECT_FALSE(make_error(ErrorKind::kDevice, "x").retryable());
}

TEST(Error, StatusGivesCallAndCodeBack) {
  const Error error = call_error({Call::kSign, CKR_DEVICE_ERROR}, "");
  EXPECT_EQ(error.status().call, Call::kSign);
  EXPECT_EQ(error.status().rv, CKR_DEVICE_ERROR);
  EXPECT_THAT(error.text(), Not(HasSubstr("slot ")));
}

} // namespace
} // namespace hsmux
