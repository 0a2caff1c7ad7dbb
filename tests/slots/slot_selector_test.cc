#include "slots/slot_selector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TokenIdentity token(unsigned long slot_id, const std::string& label, const std::string& serial) {
  TokenIdentity identity;
  identity.slot_id = slot_id;
  identity.label = label;
  identity.serial = serial;
  identity.manufacturer = "Maker";
  identity.model = "Model 1";
  identity.flags = CKF_TOKEN_INITIALIZED;
  return identity;
}

const std::vector<TokenIdentity> kTokens = {token(1, "hsm-a", "A1"), token(2, "hsm-b", "B2"), token(3, "hsm-b", "C3")};

SlotSelector by_label(const std::string& label) {
  SlotSelector selector;
  selector.token_label = label;
  return selector;
}
SlotSelector by_slot_id(unsigned long slot_id) {
  SlotSelector selector;
  selector.slot_id = slot_id;
  return selector;
}
SlotSelector by_uri(const std::string& uri) {
  SlotSelector selector;
  selector.uri = uri;
  return selector;
}

// The slot id of the token that is selected, 0 for an error.
unsigned long selected(const SlotSelector& selector, const std::vector<TokenIdentity>& tokens = kTokens) {
  const auto identity = select_token(selector, tokens);
  return identity ? identity->slot_id : 0;
}

Error refused(const SlotSelector& selector, const std::vector<TokenIdentity>& tokens = kTokens) {
  const auto identity = select_token(selector, tokens);
  return identity ? make_error(ErrorKind::kInternal, "not refused") : identity.error();
}

TEST(SlotSelector, ALabelASerialOrASlotIdIsEnough) {
  EXPECT_EQ(selected(by_label("hsm-a")), 1U);
  EXPECT_EQ(selected(by_slot_id(2)), 2U);
  SlotSelector selector;
  selector.serial = "C3";
  EXPECT_EQ(selected(selector), 3U);
}

TEST(SlotSelector, EveryFieldThatIsSetMustFit) {
  SlotSelector selector = by_label("hsm-b");
  selector.serial = "C3";
  EXPECT_EQ(selected(selector), 3U);
  selector.slot_id = 2;
  EXPECT_EQ(refused(selector).kind, ErrorKind::kUnavailable);
}

TEST(SlotSelector, TrailingBlanksDoNotTellLabelsApart) {
  EXPECT_EQ(selected(by_label("hsm-a  ")), 1U);
  EXPECT_EQ(selected(by_label("x"), {token(9, "x                               ", "1")}), 9U);
  EXPECT_EQ(selected(by_label(" hsm-a")), 0U);
}

TEST(SlotSelector, LabelsAreComparedWhole) {
  EXPECT_EQ(selected(by_label("hsm")), 0U);
  EXPECT_EQ(selected(by_label("HSM-A")), 0U);
}

TEST(SlotSelector, AnAmbiguousSelectionListsTheCandidatesOnly) {
  const Error error = refused(by_label("hsm-b"));
  EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(error.message, AllOf(HasSubstr("fits 2 tokens"), HasSubstr("serial B2"), HasSubstr("slot id 3"),
                                   Not(HasSubstr("hsm-a"))));
}

TEST(SlotSelector, AMissingTokenListsWhatIsThere) {
  const Error error = refused(by_label("hsm-c"));
  EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
  EXPECT_EQ(error.retry, Retry::kLater);
  EXPECT_THAT(error.message, AllOf(HasSubstr("'hsm-c'"), HasSubstr("'hsm-a'"), HasSubstr("serial C3")));
}

TEST(SlotSelector, AModuleWithoutTokensSaysSo) {
  EXPECT_THAT(refused(by_label("hsm-a"), {}).message, HasSubstr("the module shows no token"));
}

TEST(SlotSelector, ALongListIsCut) {
  std::vector<TokenIdentity> tokens;
  for (unsigned long id = 1; id <= 1000; ++id) tokens.push_back(token(id, "t", "s"));
  EXPECT_THAT(refused(by_label("x"), tokens).message,
              AllOf(HasSubstr("slot id 16;"), Not(HasSubstr("slot id 17")), HasSubstr("and 984 more")));
}

TEST(SlotSelector, ASelectorWithoutAnyFieldIsRefused) {
  const Error error = refused(SlotSelector{}, {token(1, "only", "1")});
  EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig);
  EXPECT_THAT(error.message, HasSubstr("token_label, serial, slot_id or uri"));
}

TEST(SlotSelector, AnUninitialisedTokenNeverFitsByLabel) {
  TokenIdentity blank = token(7, "", "");
  blank.flags = 0;
  EXPECT_THAT(refused(by_label(""), {blank}).message, HasSubstr("no token with"));
}

TEST(SlotSelector, AnUninitialisedTokenByItsSlotIdSaysWhatIsWrong) {
  TokenIdentity blank = token(7, "", "");
  blank.flags = 0;
  for (const SlotSelector& selector : {by_slot_id(7), by_uri("pkcs11:slot-id=7")}) {
    const Error error = refused(selector, {blank});
    EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
    EXPECT_THAT(error.message, HasSubstr("the token is not initialised"));
  }
}

TEST(SlotSelector, AUriSelectsByEachOfItsAttributes) {
  std::vector<TokenIdentity> tokens = kTokens;
  tokens[2].manufacturer = "Other";
  tokens[1].model = "Model 2";
  EXPECT_EQ(selected(by_uri("pkcs11:token=hsm-a"), tokens), 1U);
  EXPECT_EQ(selected(by_uri("pkcs11:serial=B2"), tokens), 2U);
  EXPECT_EQ(selected(by_uri("pkcs11:manufacturer=Other"), tokens), 3U);
  EXPECT_EQ(selected(by_uri("pkcs11:model=Model%202"), tokens), 2U);
  EXPECT_EQ(selected(by_uri("pkcs11:slot-id=3"), tokens), 3U);
}

TEST(SlotSelector, AllAttributesOfAUriMustFit) {
  EXPECT_EQ(selected(by_uri("pkcs11:token=hsm-b;serial=C3")), 3U);
  EXPECT_EQ(selected(by_uri("pkcs11:token=hsm-a;serial=C3")), 0U);
  EXPECT_EQ(selected(by_uri("pkcs11:token=hsm-a;slot-id=2")), 0U);
}

TEST(SlotSelector, AUriOfNoTokenIsRefused) {
  for (const std::string uri :
       {"pkcs11:", "pkcs11:token=a;object=k", "pkcs11:type=private", "pkcs11:id=%01", "pkcs11:library-manufacturer=x",
        "pkcs11:slot-description=x", "pkcs11:slot-manufacturer=x", "pkcs11:token=a;x-vendor=1",
        "pkcs11:token=a;token=b", "pkcs11:token=a?module-path=/x", "pkcs11:token=a?module-name=x",
        "pkcs11:token=a?x=1"}) {
    const Error error = refused(by_uri(uri));
    EXPECT_EQ(error.kind, ErrorKind::kInvalidConfig) << uri;
    EXPECT_THAT(error.message, HasSubstr("the URI of a slot: ")) << uri;
  }
}

TEST(SlotSelector, TextThatIsNoPkcs11UriIsRefused) {
  for (const std::string uri : {"", "token=a", "http:token=a", "pkcs11:token", "pkcs11:token=%zz"}) {
    EXPECT_EQ(refused(by_uri(uri)).kind, ErrorKind::kInvalidConfig) << uri;
  }
  EXPECT_EQ(refused(by_uri(std::string("pkcs11:token=a\0b", 16))).kind, ErrorKind::kInvalidConfig);
}

// Found by tests/fuzz: to libp11-kit a value that begins with NUL is none, so that it fitted every token.
TEST(SlotSelector, AnEscapedNulByteIsRefusedAndFitsNoToken) {
  for (const std::string uri : {"pkcs11:token=%00", "pkcs11:token=%00hsm-b", "pkcs11:serial=B2%00;token=hsm-b"}) {
    const Result<TokenIdentity> chosen = select_token(by_uri(uri), std::span(kTokens).first(1));
    ASSERT_FALSE(chosen.has_value()) << uri;
    EXPECT_EQ(chosen.error().kind, ErrorKind::kInvalidConfig) << uri;
    EXPECT_THAT(chosen.error().message, HasSubstr("holds a NUL byte")) << uri;
  }
}

// libp11-kit leaves blanks out: "my token" would be "mytoken".
TEST(SlotSelector, ABlankInAUriIsRefusedWithWhatToWrite) {
  for (const std::string uri : {"pkcs11:token=hsm -a", "pkcs11:token=hsm-a ", " pkcs11:token=hsm-a",
                                "pkcs11:token=hsm-a\n", "pkcs11:token=hsm\t-a"}) {
    EXPECT_EQ(refused(by_uri(uri)).kind, ErrorKind::kInvalidConfig) << uri;
    EXPECT_THAT(refused(by_uri(uri)).message, HasSubstr("write a blank as %20")) << uri;
  }
}

TEST(SlotSelector, ASlotIdThatIsTooLargeIsRefusedAndNotWrapped) {
  for (const std::string id :
       {"18446744073709551615", "18446744073709551617", "99999999999999999999999", "-1", "x", ""}) {
    EXPECT_EQ(refused(by_uri("pkcs11:slot-id=" + id)).kind, ErrorKind::kInvalidConfig) << id;
  }
}

TEST(SlotSelector, AnAttributeLongerThanItsFieldIsRefused) {
  EXPECT_THAT(refused(by_uri("pkcs11:token=" + std::string(33, 'a'))).message, HasSubstr("longer than PKCS#11 allows"));
}

TEST(SlotSelector, APinInAUriIsRefusedAndNeverShown) {
  for (const std::string uri :
       {"pkcs11:token=a?pin-value=73501", "pkcs11:token=a;pin-value=73501", "pkcs11:pin-value=73501?x=1",
        "pkcs11:token=a?pin-source=73501", "pkcs11:token=a?x=1&pin-value=73501", "pkcs11:73501?pin-value=73501"}) {
    const SlotSelector selector = by_uri(uri);
    EXPECT_EQ(refused(selector).kind, ErrorKind::kInvalidConfig);
    EXPECT_THAT(refused(selector).message, Not(HasSubstr("73501")));
  }
  EXPECT_THAT(refused(by_uri("pkcs11:token=a?pin-value=1")).message,
              HasSubstr("pin-value in a URI is refused: it would be a PIN in clear"));
}

TEST(SlotSelector, ItsDescriptionNamesWhatIsSetButNoPin) {
  SlotSelector selector = by_label("hsm-a");
  selector.slot_id = 4;
  EXPECT_EQ(selector.describe(), "label 'hsm-a', slot id 4");
  EXPECT_EQ(by_uri("pkcs11:token=a").describe(), "URI pkcs11:token=a");
  EXPECT_EQ(by_uri("pkcs11:token=a?pin-value=73501").describe(), "URI pkcs11:token=a...");
  EXPECT_EQ(by_uri("pkcs11:token=a;PIN-value=73501").describe(), "URI pkcs11:token=a;...");
}

TEST(SlotSelector, ControlCharactersOfALabelDoNotReachAMessage) {
  EXPECT_EQ(token(7, "a\nb\x1b[2J ", "1234").describe(), "label 'a?b?[2J', serial 1234, slot id 7");
}

} // namespace
} // namespace hsmux
