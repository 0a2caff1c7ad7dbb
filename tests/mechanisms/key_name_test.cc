#include "mechanisms/key_name.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace hsmux {
namespace {

ErrorKind refusal(std::string_view name) {
  const Result<KeyQuery> query = parse_key_name(name);
  EXPECT_FALSE(query.has_value()) << name;
  return query ? ErrorKind::kInternal : query.error().kind;
}

TEST(KeyName, IsALabelAnIdOrAUri) {
  EXPECT_EQ(parse_key_name("orders").value().label, "orders");
  EXPECT_EQ(parse_key_name("id:0A1b").value().id, (Bytes{0x0a, 0x1b}));
  const KeyQuery both = parse_key_name("pkcs11:object=orders%202026;id=%0a").value();
  EXPECT_EQ(both.label, "orders 2026");
  EXPECT_EQ(both.id, Bytes{0x0a});
}

TEST(KeyName, BoundsHoldInEveryForm) {
  const std::string longest(kKeyLabelBytesMax, 'l');
  for (const std::string& prefix : {std::string(), std::string("pkcs11:object=")}) {
    EXPECT_EQ(parse_key_name(prefix + longest).value().label, longest);
    EXPECT_EQ(refusal(prefix + longest + "l"), ErrorKind::kInvalidArgument);
    EXPECT_EQ(refusal(prefix), ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(refusal("id:"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refusal("id:" + std::string(130, '0')), ErrorKind::kInvalidArgument);
}

// Found by tests/fuzz: libp11-kit leaves blanks out, so that this named the key "myorders".
TEST(KeyName, ABlankInAUriIsRefused) {
  EXPECT_EQ(refusal("pkcs11:object=my orders"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refusal("pkcs11:object=orders\n"), ErrorKind::kInvalidArgument);
}

// Found by tests/fuzz: libp11-kit reads up to the NUL, so that the PIN behind it was not seen and the name was another.
TEST(KeyName, ANulByteHidesNothing) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(refusal("a\0b"sv), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refusal("pkcs11:object=a\0?pin-value=1234"sv), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refusal("pkcs11:object=a%00b"), ErrorKind::kInvalidArgument);
}

} // namespace
} // namespace hsmux
