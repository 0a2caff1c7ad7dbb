#include "mechanisms/key_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "mechanisms/host_crypto.h"
#include "slots/key_handles.h"
#include "slots/pkcs11.h"

#include <p11-kit/uri.h>

namespace hsmux {
namespace {

constexpr std::string_view kIdPrefix = "id:";
constexpr std::string_view kUriPrefix = "pkcs11:";
constexpr std::size_t kUriBytesMax = 4096;

Error bad_name(std::string why) { return make_error(ErrorKind::kInvalidArgument, "key name: " + std::move(why)); }

Status check_id(const Bytes& id) {
  if (!id.empty() && id.size() <= kKeyIdBytesMax) return {};
  return fail(bad_name(fmt::format("an id has 1 to {} bytes", kKeyIdBytesMax)));
}

Status check_label(std::string_view label) {
  if (label.empty() || label.size() > kKeyLabelBytesMax) {
    return fail(bad_name(fmt::format("a label has 1 to {} bytes", kKeyLabelBytesMax)));
  }
  if (label.find('\0') != std::string_view::npos) return fail(bad_name("a label has no NUL byte"));
  return {};
}

Result<KeyQuery> from_uri(std::string_view text) {
  // libp11-kit leaves blanks out, which would name another key, and ends at a NUL byte.
  if (std::ranges::any_of(text, [](unsigned char c) { return c <= 0x20 || c == 0x7f; })) {
    return fail(bad_name("a URI has no blank or control character: write a blank as %20"));
  }
  if (text.size() > kUriBytesMax) return fail(bad_name(fmt::format("a URI has at most {} bytes", kUriBytesMax)));
  const std::unique_ptr<P11KitUri, decltype(&p11_kit_uri_free)> uri(p11_kit_uri_new(), p11_kit_uri_free);
  const int answer = p11_kit_uri_parse(std::string(text).c_str(), P11_KIT_URI_FOR_ANY, uri.get());
  if (answer != P11_KIT_URI_OK)
    return fail(bad_name(fmt::format("not a PKCS#11 URI (RFC 7512): {}", p11_kit_uri_message(answer))));
  if (p11_kit_uri_any_unrecognized(uri.get()) != 0) return fail(bad_name("the URI has attributes that are not known"));
  if (p11_kit_uri_get_pin_value(uri.get()) != nullptr || p11_kit_uri_get_pin_source(uri.get()) != nullptr) {
    return fail(bad_name("a URI with a PIN is refused: PINs are part of the slot's configuration"));
  }
  KeyQuery query;
  if (const CK_ATTRIBUTE* label = p11_kit_uri_get_attribute(uri.get(), CKA_LABEL)) {
    query.label.emplace(static_cast<const char*>(label->pValue), label->ulValueLen);
    HSMUX_CHECK(check_label(*query.label));
  }
  if (const CK_ATTRIBUTE* id = p11_kit_uri_get_attribute(uri.get(), CKA_ID)) {
    const auto* bytes = static_cast<const std::uint8_t*>(id->pValue);
    query.id.emplace(bytes, bytes + id->ulValueLen);
    HSMUX_CHECK(check_id(*query.id));
  }
  if (!query.label && !query.id) return fail(bad_name("the URI names neither object nor id"));
  return query;
}

} // namespace

Result<KeyQuery> parse_key_name(std::string_view name) {
  if (name.starts_with(kUriPrefix)) return from_uri(name);
  KeyQuery query;
  if (name.starts_with(kIdPrefix)) {
    HSMUX_TRY(Bytes id, from_hex(name.substr(kIdPrefix.size())));
    HSMUX_CHECK(check_id(id));
    query.id = std::move(id);
    return query;
  }
  HSMUX_CHECK(check_label(name));
  query.label = std::string(name);
  return query;
}

} // namespace hsmux
