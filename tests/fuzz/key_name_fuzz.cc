// How callers name keys: what is accepted is within bounds, and asks for what was said.
#include "mechanisms/key_name.h"

#include "mechanisms/host_crypto.h"
#include "tests/fuzz/target.h"

namespace hsmux {

HSMUX_FUZZ(key_name) {
  const std::string_view name = fuzz::text_of(input);
  const Result<KeyQuery> query = parse_key_name(name);
  if (!query) {
    fuzz::promise(query.error().kind == ErrorKind::kInvalidArgument, "a name can only be an invalid argument");
    fuzz::promise(query.error().message.size() < 300, "the name is not in the error");
    return;
  }
  fuzz::promise(query->label || query->id, "it says what to look for");
  if (query->label) {
    fuzz::promise(!query->label->empty() && query->label->size() <= kKeyLabelBytesMax &&
                      query->label->find('\0') == std::string::npos,
                  "the label's bounds hold");
  }
  if (query->id) {
    fuzz::promise(!query->id->empty() && query->id->size() <= 64, "the id's bounds hold");
    const Result<KeyQuery> by_id = parse_key_name("id:" + to_hex(*query->id));
    fuzz::promise(by_id && by_id->id == query->id && !by_id->label, "the id is a name, too");
  }
  if (!name.starts_with("pkcs11:") && !name.starts_with("id:")) {
    fuzz::promise(query->label == name && !query->id, "a label is taken as it is");
  }
  // A label may have such a text in it; an attribute begins at the question mark or at an ampersand behind it.
  const std::string_view query_part = name.substr(std::min(name.find('?'), name.size()));
  const bool pin = query_part.starts_with("?pin-value=") || query_part.find("&pin-value=") != std::string_view::npos;
  if (name.starts_with("pkcs11:")) fuzz::promise(!pin, "a URI with a PIN is refused");
}

} // namespace hsmux
