#include "slots/disposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

// Every `#define CKR_NAME (number)` of p11-kit's header, as it is installed here.
std::map<std::string, unsigned long> codes_of_the_header() {
  std::ifstream header(HSMUX_P11KIT_INCLUDE "/p11-kit/pkcs11.h");
  EXPECT_TRUE(header.is_open()) << HSMUX_P11KIT_INCLUDE;
  static const std::regex define(
      R"(^#define\s+(CKR_[A-Z0-9_]+)\s+\((?:\(unsigned long\) \()?(0x[0-9a-fA-F]+|[0-9]+)UL( << ([0-9]+))?)");
  std::map<std::string, unsigned long> codes;
  std::smatch match;
  for (std::string line; std::getline(header, line);) {
    if (!std::regex_search(line, match, define)) continue;
    const unsigned long shift = match[4].matched ? std::stoul(match[4]) : 0;
    codes.emplace(match[1], std::stoul(match[2], nullptr, 0) << shift);
  }
  return codes;
}

bool in_table(unsigned long rv) {
  return std::ranges::any_of(disposition_table(), [&](const Disposition& row) { return row.rv == rv; });
}

TEST(Disposition, EveryCodeOfTheHeaderHasARowUnderItsName) {
  const auto codes = codes_of_the_header();
  ASSERT_GT(codes.size(), 80U);
  ASSERT_EQ(codes.at("CKR_VENDOR_DEFINED"), CKR_VENDOR_DEFINED);
  for (const auto& [name, rv] : codes) {
    EXPECT_TRUE(in_table(rv)) << name << " has no row";
    EXPECT_EQ(rv_name(rv), name);
  }
}

TEST(Disposition, TheTableIsOrderedAndEndsWithTheRowForUnknownCodes) {
  const auto table = disposition_table();
  EXPECT_TRUE(std::ranges::is_sorted(table, {}, &Disposition::rv));
  EXPECT_EQ(table.back().rv, CKR_VENDOR_DEFINED);
}

TEST(Disposition, EveryFailureThatACallerMaySeeHasAKindAndAName) {
  for (const Disposition& row : disposition_table()) {
    EXPECT_TRUE(row.name.starts_with("CKR_")) << row.rv;
    EXPECT_FALSE(row.advice.ends_with('.')) << row.name;
    // Internal errors are our own doing: nothing that a token reports at will may be one.
    if (row.slot == SlotFate::kFailure || row.slot == SlotFate::kLost || row.slot == SlotFate::kLatch) {
      EXPECT_NE(row.kind, ErrorKind::kInternal) << row.name;
    }
  }
}

TEST(Disposition, UnknownAndVendorCodesAreADeviceFailureThatAnotherSlotMayNotHave) {
  for (const unsigned long rv : {CKR_VENDOR_DEFINED + 0x12UL, 0x999UL, ~0UL}) {
    const Disposition row = disposition({Call::kSign, rv});
    EXPECT_EQ(row.kind, ErrorKind::kDevice);
    EXPECT_EQ(row.retry, Retry::kElsewhere);
    EXPECT_EQ(row.session, SessionFate::kDiscard);
    EXPECT_EQ(row.slot, SlotFate::kFailure);
  }
}

TEST(Disposition, NamesOfUnknownCodesShowTheNumber) {
  EXPECT_EQ(rv_name(CKR_VENDOR_DEFINED + 0x12UL), "CKR_VENDOR_DEFINED+0x12");
  EXPECT_EQ(rv_name(0x999), "CK_RV 0x999");
}

// Promise 4 and 8 of the design: whatever bytes a caller sends to decrypt.
TEST(Disposition, NothingThatACiphertextCanCauseCountsAgainstTheSlot) {
  int causes = 0;
  for (const Disposition& known : disposition_table()) {
    const CallStatus status{Call::kDecrypt, known.rv};
    if (!caused_by_ciphertext(status)) continue;
    ++causes;
    const Disposition row = disposition(status);
    EXPECT_EQ(row.kind, ErrorKind::kDecryptFailed) << known.name;
    EXPECT_EQ(row.retry, Retry::kNever) << known.name;
    EXPECT_TRUE(row.slot == SlotFate::kNothing || row.slot == SlotFate::kCanary) << known.name;
    // Refused arguments leave SoftHSM's operation active; no ciphertext that passes our own checks causes them there.
    if (known.rv != CKR_ARGUMENTS_BAD) {
      EXPECT_EQ(row.session, SessionFate::kKeep) << known.name;
    }
    EXPECT_EQ(call_error(status, "a").message, call_error({Call::kDecrypt, CKR_ENCRYPTED_DATA_INVALID}, "a").message)
        << known.name;
  }
  EXPECT_GE(causes, 7);
}

TEST(Disposition, TheCodesThatModulesGiveForBadPaddingOrTagsAreTheCiphertextsDoing) {
  for (const unsigned long rv : {CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_DATA_INVALID,
                                 CKR_DATA_LEN_RANGE, CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR, CKR_AEAD_DECRYPT_FAILED}) {
    EXPECT_TRUE(caused_by_ciphertext({Call::kDecrypt, rv})) << rv_name(rv);
    EXPECT_FALSE(caused_by_ciphertext({Call::kDecryptInit, rv})) << rv_name(rv);
    EXPECT_FALSE(caused_by_ciphertext({Call::kSign, rv})) << rv_name(rv);
  }
}

TEST(Disposition, ALostDeviceIsNoFaultOfTheCiphertext) {
  for (const unsigned long rv : {CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID, CKR_HOST_MEMORY,
                                 CKR_USER_NOT_LOGGED_IN, CKR_KEY_HANDLE_INVALID}) {
    EXPECT_FALSE(caused_by_ciphertext({Call::kDecrypt, rv})) << rv_name(rv);
  }
}

TEST(Disposition, UnspecificFailuresCountOutsideOfDecryption) {
  EXPECT_EQ(disposition({Call::kSign, CKR_GENERAL_ERROR}).slot, SlotFate::kFailure);
  EXPECT_EQ(disposition({Call::kDecrypt, CKR_GENERAL_ERROR}).slot, SlotFate::kCanary);
  EXPECT_EQ(disposition({Call::kSign, CKR_GENERAL_ERROR}).retry, Retry::kElsewhere);
}

TEST(Disposition, RefusedArgumentsDiscardTheSessionOnlyAfterTheInit) {
  for (const Call operation : {Call::kSign, Call::kDecrypt, Call::kEncrypt}) {
    EXPECT_EQ(disposition({operation, CKR_ARGUMENTS_BAD}).session, SessionFate::kDiscard);
  }
  for (const Call init : {Call::kSignInit, Call::kDecryptInit, Call::kEncryptInit, Call::kFindObjectsInit}) {
    EXPECT_EQ(disposition({init, CKR_ARGUMENTS_BAD}).session, SessionFate::kKeep);
  }
}

TEST(Disposition, CallersMistakesKeepTheSessionAndSayNothingAboutTheSlot) {
  for (const unsigned long rv : {CKR_DATA_INVALID, CKR_DATA_LEN_RANGE, CKR_KEY_TYPE_INCONSISTENT, CKR_MECHANISM_INVALID,
                                 CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID}) {
    const Disposition row = disposition({Call::kSignInit, rv});
    EXPECT_EQ(row.session, SessionFate::kKeep) << row.name;
    EXPECT_EQ(row.slot, SlotFate::kNothing) << row.name;
    EXPECT_EQ(row.retry, Retry::kNever) << row.name;
  }
}

TEST(Disposition, PinProblemsLatchAndAreNeverRetried) {
  for (const unsigned long rv : {CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED, CKR_PIN_LOCKED,
                                 CKR_USER_PIN_NOT_INITIALIZED}) {
    const Disposition row = disposition({Call::kLogin, rv});
    EXPECT_EQ(row.slot, SlotFate::kLatch) << row.name;
    EXPECT_EQ(row.kind, ErrorKind::kCredentials) << row.name;
    EXPECT_EQ(row.retry, Retry::kNever) << row.name;
  }
}

TEST(Disposition, LostSessionsAndTokensAreDiscardedAndRetriedElsewhere) {
  for (const unsigned long rv : {CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_DEVICE_REMOVED,
                                 CKR_TOKEN_NOT_PRESENT, CKR_SLOT_ID_INVALID, CKR_USER_NOT_LOGGED_IN}) {
    const Disposition row = disposition({Call::kSign, rv});
    EXPECT_EQ(row.session, SessionFate::kDiscard) << row.name;
    EXPECT_EQ(row.retry, Retry::kElsewhere) << row.name;
    EXPECT_EQ(row.kind, ErrorKind::kUnavailable) << row.name;
  }
}

TEST(Disposition, OneLostSessionIsNotYetALostToken) {
  EXPECT_EQ(disposition({Call::kSign, CKR_SESSION_HANDLE_INVALID}).slot, SlotFate::kProbeAnchor);
  EXPECT_EQ(disposition({Call::kSign, CKR_DEVICE_REMOVED}).slot, SlotFate::kLost);
}

TEST(Disposition, AFullTokenIsBusyAndNotFaulty) {
  for (const unsigned long rv : {CKR_SESSION_COUNT, CKR_DEVICE_MEMORY, CKR_HOST_MEMORY, CKR_TOKEN_RESOURCE_EXCEEDED}) {
    const Disposition row = disposition({Call::kOpenSession, rv});
    EXPECT_EQ(row.slot, SlotFate::kBusy) << row.name;
    EXPECT_NE(row.retry, Retry::kNever) << row.name;
  }
}

TEST(Disposition, SuccessKeepsTheSession) {
  EXPECT_EQ(disposition({Call::kSign, CKR_OK}).session, SessionFate::kKeep);
  EXPECT_EQ(disposition({Call::kSign, CKR_OK}).slot, SlotFate::kSuccess);
  EXPECT_EQ(disposition({}).session, SessionFate::kKeep);
}

} // namespace
} // namespace hsmux
