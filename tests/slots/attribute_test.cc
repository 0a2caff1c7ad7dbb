#include "slots/attribute.h"

#include <gtest/gtest.h>

#include <cstring>

#include "slots/pkcs11.h"

namespace hsmux {
namespace {

TEST(Template, AFlagIsOneByteThatPkcs11TakesForABool) {
  Template list;
  list.flag(CKA_SIGN, true).flag(CKA_WRAP, false);
  ASSERT_EQ(list.attributes().size(), 2U);
  EXPECT_EQ(list.attributes()[0].value, Bytes{CK_TRUE});
  EXPECT_EQ(list.attributes()[1].value, Bytes{CK_FALSE});
}

TEST(Template, ANumberHasTheWidthAndByteOrderOfTheModule) {
  Template list;
  list.number(CKA_VALUE_LEN, 0x0102030405UL);
  const Bytes& value = list.attributes().front().value;
  ASSERT_EQ(value.size(), sizeof(CK_ULONG));
  CK_ULONG read = 0;
  std::memcpy(&read, value.data(), sizeof read);
  EXPECT_EQ(read, 0x0102030405UL);
}

TEST(Template, KeepsTypesAndOrder) {
  const Bytes id{1, 0, 2};
  Template list;
  list.bytes(CKA_ID, id).text(CKA_LABEL, "a\xc3\xa4");
  EXPECT_EQ(list.attributes()[0].type, CKA_ID);
  EXPECT_EQ(list.attributes()[0].value, id);
  EXPECT_EQ(list.attributes()[1].type, CKA_LABEL);
  EXPECT_EQ(list.attributes()[1].value, (Bytes{'a', 0xc3, 0xa4}));
}

TEST(Attribute, AFlagOfAnotherSizeIsNoFlag) {
  EXPECT_EQ(as_flag(Bytes{1}), true);
  EXPECT_EQ(as_flag(Bytes{0}), false);
  EXPECT_EQ(as_flag(Bytes{0xff}), true); // some modules answer ~0 for true
  EXPECT_EQ(as_flag(Bytes{}), std::nullopt);
  EXPECT_EQ(as_flag(Bytes{1, 0}), std::nullopt);
}

TEST(Attribute, ANumberOfAnotherSizeIsNoNumber) {
  Template list;
  list.number(CKA_VALUE_LEN, 32);
  Bytes value = list.attributes().front().value;
  EXPECT_EQ(as_number(value), 32UL);
  value.push_back(0);
  EXPECT_EQ(as_number(value), std::nullopt);
  value.resize(4);
  EXPECT_EQ(as_number(value), std::nullopt);
}

} // namespace
} // namespace hsmux
