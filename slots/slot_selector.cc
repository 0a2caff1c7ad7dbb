#include "slots/slot_selector.h"

#include "slots/pkcs11.h"

#include <p11-kit/uri.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace hsmux {
namespace {

// Enough to see what is there; a module may list thousands.
constexpr std::size_t kListedMax = 16;

// libp11-kit's answer when a URI has no slot-id.
constexpr CK_SLOT_ID kNoSlotId = ~CK_SLOT_ID{0};

// Blanks pad PKCS#11's fixed fields, so one at the end never tells two tokens apart.
std::string_view trimmed(std::string_view text) {
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// A token chooses its label: control characters of it must not reach a terminal or split a line of a log.
std::string printable(std::string_view text) {
  std::string out(trimmed(text));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return out;
}

// A URI as it may be shown: without whatever could be a PIN that somebody put into it.
std::string uri_for_people(std::string_view uri) {
  static constexpr std::string_view kPin = "pin-";
  const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  const auto pin = std::ranges::search(uri, kPin, same).begin();
  const auto query = std::ranges::find(uri, '?');
  const auto shown = static_cast<std::size_t>(std::min(pin, query) - uri.begin());
  return printable(uri.substr(0, shown)) + (shown < uri.size() ? "..." : "");
}

std::string list(std::span<const TokenIdentity> tokens) {
  std::string out;
  for (std::size_t i = 0; i < std::min(tokens.size(), kListedMax); ++i) {
    out += (i == 0 ? "" : "; ") + tokens[i].describe();
  }
  if (tokens.size() > kListedMax) out += fmt::format("; and {} more", tokens.size() - kListedMax);
  return out;
}

struct FreeUri {
  void operator()(P11KitUri* uri) const { p11_kit_uri_free(uri); }
};
using Uri = std::unique_ptr<P11KitUri, FreeUri>;

// What a slot's URI may say. libp11-kit reads more than that, takes the last of two values, and wraps a slot id that
// is too large, so the attributes' names and the slot id are checked here; it decodes and compares.
constexpr auto kUriAttributes =
    std::to_array<std::string_view>({"token", "manufacturer", "model", "serial", "slot-id"});

std::unexpected<Error> refuse_uri(std::string_view reason) {
  return fail(ErrorKind::kInvalidConfig, fmt::format("the URI of a slot: {}", reason));
}

bool is_slot_id(std::string_view text) {
  unsigned long value = 0;
  const auto end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stop == end && value != kNoSlotId;
}

Status check_uri_path(std::string_view path) {
  std::array<bool, kUriAttributes.size()> seen{};
  while (!path.empty()) {
    const std::string_view attribute = path.substr(0, path.find(';'));
    path.remove_prefix(std::min(path.size(), attribute.size() + 1));
    const std::string_view name = attribute.substr(0, attribute.find('='));
    if (name == "pin-value") return refuse_uri("pin-value in a URI is refused: it would be a PIN in clear");
    if (name == "pin-source") return refuse_uri("pin-source in a URI is refused: use the slot's own key pin");
    const auto row = std::ranges::find(kUriAttributes, name);
    if (row == kUriAttributes.end()) {
      return refuse_uri(fmt::format("it may only name a token, by {}", fmt::join(kUriAttributes, ", ")));
    }
    if (std::exchange(seen.at(static_cast<std::size_t>(row - kUriAttributes.begin())), true)) {
      return refuse_uri(fmt::format("{} is there twice", name));
    }
    // libp11-kit takes a value that begins with NUL for one that is not there: it would fit every token.
    if (attribute.find("%00") != std::string_view::npos) return refuse_uri(fmt::format("{} holds a NUL byte", name));
    if (name == "slot-id" && !is_slot_id(attribute.substr(name.size() + 1))) {
      return refuse_uri(fmt::format("slot-id must be a number, 0 to {}", kNoSlotId - 1));
    }
  }
  if (std::ranges::none_of(seen, std::identity{})) {
    return refuse_uri(fmt::format("it names no token: give at least one of {}", fmt::join(kUriAttributes, ", ")));
  }
  return {};
}

Status check_uri_query(std::string_view query) {
  if (query.find("pin-value") != std::string_view::npos) {
    return refuse_uri("pin-value in a URI is refused: it would be a PIN in clear");
  }
  if (query.find("pin-source") != std::string_view::npos) {
    return refuse_uri("pin-source in a URI is refused: use the slot's own key pin");
  }
  return refuse_uri("it must have no query (from the question mark on): the slot's own keys say module and PIN");
}

Result<Uri> parse_uri(const std::string& text) {
  // libp11-kit leaves blanks out, which would name another token, and ends at a NUL byte.
  if (std::ranges::any_of(text, [](unsigned char c) { return c <= 0x20 || c == 0x7f; })) {
    return refuse_uri("it holds a blank or a control character: write a blank as %20");
  }
  Uri uri(p11_kit_uri_new());
  const auto parts = static_cast<P11KitUriType>(P11_KIT_URI_FOR_OBJECT | P11_KIT_URI_FOR_TOKEN | P11_KIT_URI_FOR_SLOT);
  if (const int code = p11_kit_uri_parse(text.c_str(), parts, uri.get()); code != P11_KIT_URI_OK) {
    return refuse_uri(
        fmt::format("it is not an RFC 7512 URI such as pkcs11:token=hsm-a ({})", p11_kit_uri_message(code)));
  }
  const std::string_view attributes = std::string_view(text).substr(P11_KIT_URI_SCHEME_LEN + 1);
  const std::size_t question = attributes.find('?');
  if (question != std::string_view::npos) HSMUX_CHECK(check_uri_query(attributes.substr(question)));
  HSMUX_CHECK(check_uri_path(attributes));
  if (p11_kit_uri_any_unrecognized(uri.get()) != 0) {
    return refuse_uri(
        "an attribute is longer than PKCS#11 allows: token and manufacturer 32 bytes, model and serial 16");
  }
  return uri;
}

// One of CK_TOKEN_INFO's fields; false when the text cannot be a token's.
template <std::size_t kSize> bool pad(CK_UTF8CHAR (&field)[kSize], std::string_view text) {
  text = trimmed(text);
  std::memset(field, ' ', kSize);
  std::memcpy(field, text.data(), std::min(text.size(), kSize));
  return text.size() <= kSize;
}

bool uri_fits(P11KitUri* uri, const TokenIdentity& token) {
  const CK_SLOT_ID slot_id = p11_kit_uri_get_slot_id(uri);
  if (slot_id != kNoSlotId && slot_id != token.slot_id) return false;
  CK_TOKEN_INFO info{};
  return pad(info.label, token.label) && pad(info.manufacturerID, token.manufacturer) && pad(info.model, token.model) &&
         pad(info.serialNumber, token.serial) && p11_kit_uri_match_token_info(uri, &info) == 1;
}

bool text_fits(const std::optional<std::string>& wanted, const std::string& found) {
  return !wanted || trimmed(*wanted) == trimmed(found);
}

bool fits(const SlotSelector& selector, P11KitUri* uri, const TokenIdentity& token) {
  return text_fits(selector.token_label, token.label) && text_fits(selector.serial, token.serial) &&
         (!selector.slot_id || *selector.slot_id == token.slot_id) && (uri == nullptr || uri_fits(uri, token));
}

} // namespace

std::string TokenIdentity::describe() const {
  const std::string_view state = (flags & CKF_TOKEN_INITIALIZED) != 0 ? "" : " (not initialised)";
  return fmt::format("label '{}', serial {}, slot id {}{}", printable(label), printable(serial), slot_id, state);
}

std::string SlotSelector::describe() const {
  std::string out;
  const auto add = [&out](const std::string& part) { out += (out.empty() ? "" : ", ") + part; };
  if (token_label) add(fmt::format("label '{}'", printable(*token_label)));
  if (serial) add(fmt::format("serial {}", printable(*serial)));
  if (slot_id) add(fmt::format("slot id {}", *slot_id));
  if (uri) add(fmt::format("URI {}", uri_for_people(*uri)));
  return out.empty() ? "no selector" : out;
}

Result<TokenIdentity> select_token(const SlotSelector& selector, std::span<const TokenIdentity> tokens) {
  if (!selector.token_label && !selector.serial && !selector.slot_id && !selector.uri) {
    return fail(ErrorKind::kInvalidConfig, "nothing says which token: give token_label, serial, slot_id or uri");
  }
  Uri uri;
  if (selector.uri) {
    HSMUX_TRY(uri, parse_uri(*selector.uri));
  }
  const bool by_slot_id = selector.slot_id || (uri && p11_kit_uri_get_slot_id(uri.get()) != kNoSlotId);
  std::vector<TokenIdentity> found;
  for (const TokenIdentity& token : tokens) {
    if (!fits(selector, uri.get(), token)) continue;
    if ((token.flags & CKF_TOKEN_INITIALIZED) != 0) {
      found.push_back(token);
    } else if (by_slot_id) {
      return fail(ErrorKind::kUnavailable,
                  fmt::format("the token is not initialised ({}): initialise it and set its PIN "
                              "with the vendor's tool first",
                              token.describe()));
    }
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return fail(ErrorKind::kInvalidConfig, fmt::format("{} fits {} tokens: {}: add serial or slot_id to mean one",
                                                       selector.describe(), found.size(), list(found)));
  }
  if (tokens.empty()) {
    return fail(ErrorKind::kUnavailable,
                fmt::format("no token with {}: the module shows no token", selector.describe()), Retry::kLater);
  }
  return fail(ErrorKind::kUnavailable,
              fmt::format("no token with {}: the module shows {}", selector.describe(), list(tokens)), Retry::kLater);
}

} // namespace hsmux
