// Private keys from outside: what is accepted is whole, and its public half describes the same key.
#include "mechanisms/software_key.h"
#include "tests/fuzz/target.h"

namespace hsmux {
namespace {

struct CheckParts {
  const PublicKeyFacts& facts;
  void operator()(const EcPrivateParts& key) const {
    fuzz::promise(facts.kind == PublicKeyFacts::Kind::kEc && facts.curve == key.curve, "the same curve");
    fuzz::promise(key.value.size() == field_bytes(key.curve), "the private value has the field's size");
    fuzz::promise(key.point.size() == 1 + 2 * field_bytes(key.curve), "the point is uncompressed");
  }
  void operator()(const EdPrivateParts& key) const {
    fuzz::promise(facts.kind == PublicKeyFacts::Kind::kEd25519, "the same kind");
    fuzz::promise(key.value.size() == 32 && key.point.size() == 32, "32 bytes each");
  }
  void operator()(const RsaPrivateParts& key) const {
    fuzz::promise(facts.kind == PublicKeyFacts::Kind::kRsa, "the same kind");
    fuzz::promise(facts.bits >= 1024 && facts.bits <= 4096 && key.modulus.size() == (facts.bits + 7) / 8,
                  "the modulus is within bounds");
    fuzz::promise(key.prime1.size() + key.prime2.size() <= key.modulus.size() + 1, "two primes make the modulus");
    fuzz::promise(key.private_exponent.size() <= key.modulus.size(), "the private exponent is within bounds");
  }
  void operator()(const AesParts&) const { fuzz::promise(false, "PKCS#8 holds no AES key"); }
};

} // namespace

HSMUX_FUZZ(pkcs8) {
  const Result<SoftwareKey> key = software_key_from_pkcs8(input);
  if (!key) {
    fuzz::promise(key.error().kind == ErrorKind::kInvalidArgument, "a file can only be an invalid argument");
    return;
  }
  const Result<Bytes> spki = software_key_spki(*key);
  fuzz::promise(spki.has_value(), "it has a public half");
  const Result<PublicKeyFacts> facts = describe_spki(*spki);
  fuzz::promise(facts.has_value(), "which can be described");
  std::visit(CheckParts{*facts}, *key);
}

} // namespace hsmux
