#include "mechanisms/key_template.h"

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
  list.flag(CKA_SIGN, request.spec->signs).flag(CKA_DECRYPT, request.spec->decrypts).flag(CKA_UNWRAP, false);
  list.flag(CKA_DERIVE, false);
  return list;
}

Template public_template(const KeyRequest& request) {
  Template list = base(request);
  list.flag(CKA_PRIVATE, false).flag(CKA_VERIFY, request.spec->signs).flag(CKA_ENCRYPT, request.spec->encrypts);
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

struct Importer {
  Session& session;
  const KeyRequest& request;

  Result<MadeKey> operator()(const EcPrivateParts& key) const {
    Bytes wrapped{0x04, static_cast<std::uint8_t>(key.point.size())}; // DER OCTET STRING, short form: points are < 128
    wrapped.insert(wrapped.end(), key.point.begin(), key.point.end());
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
    private_list.bytes(CKA_EC_PARAMS, ec_params(key.curve)).bytes(CKA_VALUE, key.value.view());
    Template public_list = public_template(request);
    public_list.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
    public_list.bytes(CKA_EC_PARAMS, ec_params(key.curve)).bytes(CKA_EC_POINT, wrapped);
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
  switch (request.spec->key) {
  case KeyKind::kEcP256: {
    Template public_list = public_template(request);
    public_list.bytes(CKA_EC_PARAMS, ec_params(Curve::kP256));
    return generate_pair(session, CKM_EC_KEY_PAIR_GEN, public_list, private_template(request));
  }
  case KeyKind::kRsa: {
    Template public_list = public_template(request);
    public_list.number(CKA_MODULUS_BITS, request.bits).bytes(CKA_PUBLIC_EXPONENT, kExponent65537);
    return generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public_list, private_template(request));
  }
  case KeyKind::kAes256: {
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
  switch (spec.key) {
  case KeyKind::kEcP256: return generate_ec(Curve::kP256);
  case KeyKind::kRsa: return generate_rsa(bits);
  case KeyKind::kAes256: return generate_aes(bits / 8);
  }
  return fail(ErrorKind::kInternal, "a kind of key without a way to make it");
}

} // namespace hsmux
