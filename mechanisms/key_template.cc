#include "mechanisms/key_template.h"

#include <algorithm>
#include <array>

#include "mechanisms/spki.h"
#include "slots/pkcs11.h"

namespace hsmux {
namespace {

constexpr std::array<std::uint8_t, 3> kExponent65537{1, 0, 1};

Template base(const KeyRequest& request) {
  Template list;
  list.flag(CKA_TOKEN, request.token_object).bytes(CKA_ID, request.id).text(CKA_LABEL, request.label);
  return list;
}

// Never DECRYPT together with UNWRAP or WRAP: such a key would decrypt what it wraps.
Template private_template(const KeyRequest& request) {
  Template list = base(request);
  list.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
  const bool agrees = request.spec->agrees;
  list.flag(CKA_SIGN, request.spec->signs).flag(CKA_DECRYPT, request.spec->decrypts && !agrees).flag(CKA_UNWRAP, false);
  list.flag(CKA_DERIVE, agrees);
  return list;
}

Template public_template(const KeyRequest& request) {
  Template list = base(request);
  list.flag(CKA_PRIVATE, false).flag(CKA_VERIFY, request.spec->signs);
  list.flag(CKA_ENCRYPT, request.spec->encrypts && !request.spec->agrees);
  list.flag(CKA_WRAP, false);
  return list;
}

Template secret_template(const KeyRequest& request) {
  Template list = base(request);
  list.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
  list.flag(CKA_ENCRYPT, true).flag(CKA_DECRYPT, true).flag(CKA_WRAP, false).flag(CKA_UNWRAP, false);
  list.flag(CKA_SIGN, false).flag(CKA_VERIFY, false).flag(CKA_DERIVE, false); // SoftHSM's default is true
  return list;
}

Result<MadeKey> generate_pair(Session& session, unsigned long mechanism, const Template& public_list,
                              const Template& private_list) {
  HSMUX_TRY(const KeyPairHandles pair, session.generate_key_pair({mechanism, nullptr, 0}, public_list, private_list));
  return MadeKey{pair.private_key, pair.public_key};
}

// Private half first: a public key without a private one confuses every reader.
Result<MadeKey> create_pair(Session& session, const Template& private_list, const Template& public_list) {
  HSMUX_TRY(const ObjectHandle private_key, session.create(private_list));
  Result<ObjectHandle> public_key = session.create(public_list);
  if (!public_key) {
    (void)session.destroy(private_key); // the error that matters is the first one
    return fail(std::move(public_key).error());
  }
  return MadeKey{private_key, *public_key};
}

// DER OCTET STRING, short form: points are < 128.
Bytes octet_string(ByteView point) {
  Bytes wrapped(2 + point.size());
  wrapped[0] = 0x04;
  wrapped[1] = static_cast<std::uint8_t>(point.size());
  std::ranges::copy(point, wrapped.begin() + 2);
  return wrapped;
}

// Tokens that know one form of the parameters only refuse the other, in ways of their own.
Result<MadeKey> generate_ed25519_pair(Session& session, const KeyRequest& request) {
  const auto generate = [&](ByteView params) {
    Template public_list = public_template(request);
    public_list.bytes(CKA_EC_PARAMS, params);
    return generate_pair(session, CKM_EC_EDWARDS_KEY_PAIR_GEN, public_list, private_template(request));
  };
  const bool oid_first = request.quirks->edwards_params == EdwardsParams::kOid;
  Result<MadeKey> made = generate(oid_first ? ed25519_params_oid() : ed25519_params_name());
  if (made || made.error().retryable()) return made;
  Result<MadeKey> otherwise = generate(oid_first ? ed25519_params_name() : ed25519_params_oid());
  return otherwise ? otherwise : made; // the first error is the one about the token's own form
}

struct Importer {
  Session& session;
  const KeyRequest& request;

  [[nodiscard]] ByteView edwards_params() const {
    return request.quirks->edwards_params == EdwardsParams::kOid ? ed25519_params_oid() : ed25519_params_name();
  }
  Result<MadeKey> operator()(const EcPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
    private_list.bytes(CKA_EC_PARAMS, ec_params(key.curve)).bytes(CKA_VALUE, key.value.view());
    Template public_list = public_template(request);
    public_list.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
    public_list.bytes(CKA_EC_PARAMS, ec_params(key.curve)).bytes(CKA_EC_POINT, octet_string(key.point));
    return create_pair(session, private_list, public_list);
  }

  Result<MadeKey> operator()(const EdPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC_EDWARDS);
    private_list.bytes(CKA_EC_PARAMS, edwards_params()).bytes(CKA_VALUE, key.value.view());
    Template public_list = public_template(request);
    public_list.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC_EDWARDS);
    const bool raw = request.quirks->edwards_point == EdwardsPoint::kRaw;
    public_list.bytes(CKA_EC_PARAMS, edwards_params()).bytes(CKA_EC_POINT, raw ? key.point : octet_string(key.point));
    return create_pair(session, private_list, public_list);
  }

  Result<MadeKey> operator()(const RsaPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_RSA);
    private_list.bytes(CKA_MODULUS, key.modulus).bytes(CKA_PUBLIC_EXPONENT, key.public_exponent);
    private_list.bytes(CKA_PRIVATE_EXPONENT, key.private_exponent.view());
    private_list.bytes(CKA_PRIME_1, key.prime1.view()).bytes(CKA_PRIME_2, key.prime2.view());
    private_list.bytes(CKA_EXPONENT_1, key.exponent1.view()).bytes(CKA_EXPONENT_2, key.exponent2.view());
    private_list.bytes(CKA_COEFFICIENT, key.coefficient.view());
    Template public_list = public_template(request);
    public_list.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_RSA);
    public_list.bytes(CKA_MODULUS, key.modulus).bytes(CKA_PUBLIC_EXPONENT, key.public_exponent);
    return create_pair(session, private_list, public_list);
  }

  Result<MadeKey> operator()(const AesParts& key) const {
    Template list = secret_template(request);
    list.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES).bytes(CKA_VALUE, key.value.view());
    HSMUX_TRY(const ObjectHandle handle, session.create(list));
    return MadeKey{handle, std::nullopt};
  }
};

} // namespace

Result<MadeKey> generate_in_token(Session& session, const KeyRequest& request) {
  switch (key_family(request.spec->key)) {
  case KeyFamily::kEc: {
    Template public_list = public_template(request);
    public_list.bytes(CKA_EC_PARAMS, ec_params(curve_of(request.spec->key)));
    return generate_pair(session, CKM_EC_KEY_PAIR_GEN, public_list, private_template(request));
  }
  case KeyFamily::kEdwards: return generate_ed25519_pair(session, request);
  case KeyFamily::kRsa: {
    Template public_list = public_template(request);
    public_list.number(CKA_MODULUS_BITS, request.bits).bytes(CKA_PUBLIC_EXPONENT, kExponent65537);
    return generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public_list, private_template(request));
  }
  case KeyFamily::kAes: {
    Template list = secret_template(request);
    list.number(CKA_VALUE_LEN, request.bits / 8);
    HSMUX_TRY(const ObjectHandle handle, session.generate_key({CKM_AES_KEY_GEN, nullptr, 0}, list));
    return MadeKey{handle, std::nullopt};
  }
  }
  return fail(ErrorKind::kInternal, "a kind of key without a way to make it");
}

Result<MadeKey> import_into_token(Session& session, const KeyRequest& request, const SoftwareKey& key) {
  return std::visit(Importer{session, request}, key);
}

Result<SoftwareKey> make_software_key(const AlgorithmSpec& spec, std::uint32_t bits) {
  switch (key_family(spec.key)) {
  case KeyFamily::kEc: return generate_ec(curve_of(spec.key));
  case KeyFamily::kEdwards: return generate_ed25519();
  case KeyFamily::kRsa: return generate_rsa(bits);
  case KeyFamily::kAes: return generate_aes(bits / 8);
  }
  return fail(ErrorKind::kInternal, "a kind of key without a way to make it");
}

} // namespace hsmux
