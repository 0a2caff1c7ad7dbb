#include "slots/token_text.h"

#include <gtest/gtest.h>

#include <string_view>

namespace hsmux {
namespace {

std::string trimmed(std::string_view field) {
  return trimmed_text(reinterpret_cast<const unsigned char*>(field.data()), field.size());
}

using namespace std::literals;

TEST(TokenText, PaddingIsRemovedAndInnerBlanksStay) {
  EXPECT_EQ(trimmed("hsm a           "), "hsm a");
  EXPECT_EQ(trimmed("  hsm"), "  hsm");
}

TEST(TokenText, AFieldOfBlanksIsEmpty) { EXPECT_EQ(trimmed("                "), ""); }

TEST(TokenText, AFullFieldHasNoTerminatorAndIsReadToItsEnd) {
  EXPECT_EQ(trimmed("0123456789abcdef"), "0123456789abcdef");
}

TEST(TokenText, TextEndsAtNulWhereAModulePadsWithNul) { EXPECT_EQ(trimmed("hsm\0\0\0garbage"sv), "hsm"); }

TEST(TokenText, ControlCharactersCannotReachATerminal) { EXPECT_EQ(trimmed("\x1b[31mred\n\x7f"), "?[31mred??"); }

TEST(TokenText, Utf8Survives) { EXPECT_EQ(trimmed("Z\xc3\xbcrich  "), "Z\xc3\xbcrich"); }

} // namespace
} // namespace hsmux
