// r‖s to DER: what is accepted is what OpenSSL reads and would write, with the same r and s.
#include "mechanisms/ecdsa_der.h"

#include <openssl/ecdsa.h>

#include "mechanisms/openssl_handles.h"
#include "tests/fuzz/target.h"

namespace hsmux {

HSMUX_FUZZ(ecdsa_der) {
  using openssl::Handle;
  Bytes out(ecdsa_der_bytes_max(std::min<std::size_t>(input.size() / 2, 66)));
  const Result<std::size_t> size = ecdsa_der_encode(input, out);
  if (!size) {
    fuzz::promise(size.error().kind == ErrorKind::kDevice, "with enough room only the token can be wrong");
    return;
  }
  fuzz::promise(*size <= out.size(), "the bound holds");
  out.resize(*size);

  const unsigned char* position = out.data();
  const Handle<ECDSA_SIG, ECDSA_SIG_free> parsed(d2i_ECDSA_SIG(nullptr, &position, static_cast<long>(out.size())));
  fuzz::promise(parsed != nullptr && position == out.data() + out.size(), "OpenSSL reads it to the end");
  const int half = static_cast<int>(input.size() / 2);
  const openssl::PublicNumber r(BN_bin2bn(input.data(), half, nullptr)),
      s(BN_bin2bn(input.data() + half, half, nullptr));
  fuzz::promise(BN_cmp(r.get(), ECDSA_SIG_get0_r(parsed.get())) == 0, "r is the same");
  fuzz::promise(BN_cmp(s.get(), ECDSA_SIG_get0_s(parsed.get())) == 0, "s is the same");
  unsigned char* again = nullptr;
  const int again_bytes = i2d_ECDSA_SIG(parsed.get(), &again);
  fuzz::promise(again_bytes > 0 && Bytes(again, again + again_bytes) == out, "it is canonical");
  OPENSSL_free(again);

  Bytes too_small(*size - 1, 0xee);
  fuzz::promise(!ecdsa_der_encode(input, too_small), "a byte too little is refused");
  fuzz::promise(too_small == Bytes(*size - 1, 0xee), "and nothing is written");
}

} // namespace hsmux
