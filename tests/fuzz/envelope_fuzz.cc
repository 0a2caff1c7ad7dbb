// The AES-GCM envelope: what is accepted is written again as it was, and no two of them authenticate alike.
#include "mechanisms/envelope.h"

#include <algorithm>

#include "mechanisms/host_crypto.h"
#include "tests/fuzz/target.h"

namespace hsmux {

HSMUX_FUZZ(envelope) {
  const Result<EnvelopeView> view = parse_envelope(input);
  if (!view) {
    fuzz::promise(view.error().message == decrypt_failed().message, "all mistakes look the same");
    return;
  }
  fuzz::promise(!view->key_id.empty() && view->key_id.size() <= kEnvelopeIdBytesMax, "the id's bounds hold");
  fuzz::promise(view->iv.size() == kIvBytes && view->ciphertext_and_tag.size() >= kTagBytes, "IV and tag are whole");
  const std::size_t plaintext_bytes = view->ciphertext_and_tag.size() - kTagBytes;
  fuzz::promise(envelope_bytes(view->key_id.size(), plaintext_bytes) == input.size(), "sizes add up");

  Bytes again(input.size());
  const std::size_t header = write_envelope_header(view->key_id, view->iv, again);
  fuzz::promise(header + view->ciphertext_and_tag.size() == input.size(), "the header has its size");
  std::ranges::copy(view->ciphertext_and_tag, again.begin() + static_cast<std::ptrdiff_t>(header));
  fuzz::promise(std::ranges::equal(again, input), "it is written again as it was");

  // The caller's data moved by a byte into the id, or out of it, is something else.
  const Result<Bytes> aad = envelope_aad(view->key_id, view->ciphertext_and_tag);
  fuzz::promise(aad.has_value() && aad->size() == 10 + view->key_id.size() + view->ciphertext_and_tag.size(),
                "the authenticated data holds both");
  Bytes longer_id(view->key_id.begin(), view->key_id.end());
  longer_id.push_back(view->ciphertext_and_tag.front());
  const Result<Bytes> other = envelope_aad(longer_id, view->ciphertext_and_tag.subspan(1));
  fuzz::promise(!other || *other != *aad, "no two pairs of id and data authenticate alike");
}

} // namespace hsmux
