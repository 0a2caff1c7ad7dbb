// Which token a slot means. The input's lines: the URI, then what a token says of itself (label, manufacturer, model,
// serial, slot id), then the selector's label and serial.
#include "slots/slot_selector.h"

#include <algorithm>
#include <cctype>

#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

constexpr unsigned long kInitialised = 0x400; // CKF_TOKEN_INITIALIZED

std::string next_line(std::string_view& text) {
  const std::string line(text.substr(0, text.find('\n')));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

bool for_a_terminal(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::string unescaped(std::string_view value) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
  std::string out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const bool escape = value[i] == '%';
    out += escape ? static_cast<char>(digit(value[i + 1]) * 16 + digit(value[i + 2])) : value[i];
    if (escape) i += 2;
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string without_blanks(std::string text) {
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// What an accepted URI says is so of the chosen token.
void check_uri_of(std::string_view uri, const TokenIdentity& chosen) {
  fuzz::promise(uri.find('?') == std::string_view::npos, "a URI with a query is refused");
  uri.remove_prefix(std::string_view("pkcs11:").size());
  while (!uri.empty()) {
    const std::string_view attribute = uri.substr(0, uri.find(';'));
    uri.remove_prefix(std::min(uri.size(), attribute.size() + 1));
    const std::string_view name = attribute.substr(0, attribute.find('='));
    const std::string value = unescaped(attribute.substr(name.size() + 1));
    if (name == "token") fuzz::promise(value == without_blanks(chosen.label), "the label is the URI's");
    if (name == "manufacturer") fuzz::promise(value == without_blanks(chosen.manufacturer), "so is the manufacturer");
    if (name == "model") fuzz::promise(value == without_blanks(chosen.model), "so is the model");
    if (name == "serial") fuzz::promise(value == without_blanks(chosen.serial), "so is the serial");
    if (name == "slot-id") fuzz::promise(std::stoul(value) == chosen.slot_id, "so is the slot id");
    fuzz::promise(!name.starts_with("pin-"), "a URI with a PIN is refused");
  }
}

void check_selection(const SlotSelector& selector, const std::vector<TokenIdentity>& tokens) {
  fuzz::promise(for_a_terminal(selector.describe()), "a selector can be shown");
  const Result<TokenIdentity> chosen = select_token(selector, tokens);
  std::vector<TokenIdentity> turned(tokens.rbegin(), tokens.rend());
  const Result<TokenIdentity> chosen_again = select_token(selector, turned);
  fuzz::promise(chosen.has_value() == chosen_again.has_value(), "the order of tokens does not matter");
  if (!chosen) {
    fuzz::promise(for_a_terminal(chosen.error().message), "an error can be shown");
    fuzz::promise(chosen.error().kind == ErrorKind::kUnavailable || chosen.error().kind == ErrorKind::kInvalidConfig,
                  "it is none of the tokens, or the configuration is wrong");
    return;
  }
  fuzz::promise(chosen->slot_id == chosen_again->slot_id, "the order of tokens does not matter");
  const auto of_the_same = [&](const TokenIdentity& token) { return token.slot_id == chosen->slot_id; };
  fuzz::promise(std::ranges::any_of(tokens, of_the_same), "it is one of the tokens");
  fuzz::promise((chosen->flags & kInitialised) != 0, "it is initialised");
  fuzz::promise(!selector.slot_id || *selector.slot_id == chosen->slot_id, "its slot id fits");
  if (selector.uri) check_uri_of(*selector.uri, *chosen);
}

} // namespace

HSMUX_FUZZ(slot_selector) {
  std::string_view text = fuzz::text_of(input);
  const std::string uri = next_line(text);
  TokenIdentity shown;
  shown.label = next_line(text);
  shown.manufacturer = next_line(text);
  shown.model = next_line(text);
  shown.serial = next_line(text);
  const std::string slot_id = next_line(text);
  shown.slot_id = std::min<std::size_t>(slot_id.size(), 7);
  shown.flags = slot_id.starts_with('-') ? 0 : kInitialised;
  TokenIdentity other{.slot_id = 9,
                      .label = "other",
                      .manufacturer = "m",
                      .model = "o",
                      .serial = "1",
                      .firmware = "",
                      .flags = kInitialised};
  const std::vector<TokenIdentity> tokens{shown, other};
  fuzz::promise(for_a_terminal(shown.describe()), "a token can be shown");

  SlotSelector selector;
  selector.uri = uri;
  check_selection(selector, tokens);
  const std::string label = next_line(text), serial = next_line(text);
  if (!label.empty()) selector.token_label = label;
  if (!serial.empty()) selector.serial = serial;
  check_selection(selector, tokens);
  selector.uri.reset();
  check_selection(selector, tokens);
}

} // namespace hsmux
