// Public keys: a SubjectPublicKeyInfo from outside, and the attributes that a token shows.
#include "mechanisms/spki.h"

#include <openssl/bio.h>
#include <openssl/pem.h>

#include "mechanisms/openssl_handles.h"
#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

void check_own_spki(const Result<Bytes>& spki, PublicKeyFacts::Kind kind, std::optional<Curve> curve) {
  if (!spki) {
    fuzz::promise(spki.error().kind == ErrorKind::kUnsupported, "what a token shows can only be unsupported");
    return;
  }
  const Result<PublicKeyFacts> facts = describe_spki(*spki);
  fuzz::promise(facts.has_value(), "we read what we write");
  fuzz::promise(facts->kind == kind && facts->curve == curve, "it is the same kind of key");
}

void check_spki(ByteView spki) {
  const Result<PublicKeyFacts> facts = describe_spki(spki);
  const Result<std::string> pem = spki_to_pem(spki);
  if (!facts) {
    fuzz::promise(facts.error().kind == ErrorKind::kInvalidArgument && !pem, "both refuse alike");
    return;
  }
  fuzz::promise(!facts->curve || facts->kind == PublicKeyFacts::Kind::kEc, "only EC keys have a curve");
  if (!pem) return; // OpenSSL reads more than it writes
  const openssl::Handle<BIO, BIO_free> memory(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  const openssl::Key again(PEM_read_bio_PUBKEY(memory.get(), nullptr, nullptr, nullptr));
  fuzz::promise(again != nullptr, "the PEM form can be read");
  fuzz::promise(static_cast<std::size_t>(EVP_PKEY_get_bits(again.get())) == facts->bits, "and has as many bits");
}

} // namespace

HSMUX_FUZZ(spki) {
  check_spki(input);
  const Result<Curve> named = curve_from_params(input);
  if (named) fuzz::promise(ByteView(ec_params(*named)).size() == input.size(), "only the exact OID names a curve");
  for (const Curve curve : {Curve::kP256, Curve::kP384, Curve::kSecp256k1}) {
    const Result<Bytes> point = ec_point_from_attribute(curve, input);
    if (!point) continue;
    fuzz::promise(point->size() == 1 + 2 * field_bytes(curve) && point->front() == 4, "an uncompressed point");
    check_own_spki(ec_spki(curve, *point), PublicKeyFacts::Kind::kEc, curve);
  }
  if (const Result<Bytes> point = ed25519_point_from_attribute(input)) {
    check_own_spki(ed25519_spki(*point), PublicKeyFacts::Kind::kEd25519, std::nullopt);
  }
  fuzz::Pieces pieces(input);
  const ByteView exponent = pieces.take(pieces.byte() % 8);
  check_own_spki(rsa_spki(pieces.rest(), exponent), PublicKeyFacts::Kind::kRsa, std::nullopt);
}

} // namespace hsmux
