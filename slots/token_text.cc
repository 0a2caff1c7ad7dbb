#include "slots/token_text.h"

#include <algorithm>

namespace hsmux {

std::string trimmed_text(const unsigned char* field, std::size_t bytes) {
  std::string text(field, field + bytes);
  // Some modules pad with NUL although the standard asks for blanks.
  text.erase(std::find(text.begin(), text.end(), '\0'), text.end());
  text.erase(std::find_if(text.rbegin(), text.rend(), [](char c) { return c != ' '; }).base(), text.end());
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

} // namespace hsmux
