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

void add_secrecy(Template& list, const KeyRequest& request) {
  list.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, request.extractable);
  if (request.wrap_with_trusted) list.flag(CKA_WRAP_WITH_TRUSTED, true);
}

// Never DECRYPT together with UNWRAP or WRAP: such a key would decrypt what it wraps.
Template private_template(const KeyRequest& request) {
  Template list = base(request);
  add_secrecy(list, request);
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
  add_secrecy(list, request);
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

ByteView edwards_params(const KeyRequest& request) {
  return request.quirks->edwards_params == EdwardsParams::kOid ? ed25519_params_oid() : ed25519_params_name();
}

struct PublicObject {
  const KeyRequest& request;
  Template list;

  void operator()(const EcPublicParts& key) {
    list.number(CKA_KEY_TYPE, CKK_EC).bytes(CKA_EC_PARAMS, ec_params(key.curve));
    list.bytes(CKA_EC_POINT, octet_string(key.point));
  }
  void operator()(const EdPublicParts& key) {
    const bool raw = request.quirks->edwards_point == EdwardsPoint::kRaw;
    list.number(CKA_KEY_TYPE, CKK_EC_EDWARDS).bytes(CKA_EC_PARAMS, edwards_params(request));
    list.bytes(CKA_EC_POINT, raw ? key.point : octet_string(key.point));
  }
  void operator()(const RsaPublicParts& key) {
    list.number(CKA_KEY_TYPE, CKK_RSA).bytes(CKA_MODULUS, key.modulus).bytes(CKA_PUBLIC_EXPONENT, key.exponent);
  }
};

Template public_object(const KeyRequest& request, const PublicParts& parts) {
  PublicObject half{request, public_template(request)};
  half.list.number(CKA_CLASS, CKO_PUBLIC_KEY);
  std::visit(half, parts);
  return std::move(half.list);
}

struct Importer {
  Session& session;
  const KeyRequest& request;

  Result<MadeKey> operator()(const EcPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC);
    private_list.bytes(CKA_EC_PARAMS, ec_params(key.curve)).bytes(CKA_VALUE, key.value.view());
    return create_pair(session, private_list, public_object(request, EcPublicParts{key.curve, key.point}));
  }

  Result<MadeKey> operator()(const EdPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_EC_EDWARDS);
    private_list.bytes(CKA_EC_PARAMS, edwards_params(request)).bytes(CKA_VALUE, key.value.view());
    return create_pair(session, private_list, public_object(request, EdPublicParts{key.point}));
  }

  Result<MadeKey> operator()(const RsaPrivateParts& key) const {
    Template private_list = private_template(request);
    private_list.number(CKA_CLASS, CKO_PRIVATE_KEY).number(CKA_KEY_TYPE, CKK_RSA);
    private_list.bytes(CKA_MODULUS, key.modulus).bytes(CKA_PUBLIC_EXPONENT, key.public_exponent);
    private_list.bytes(CKA_PRIVATE_EXPONENT, key.private_exponent.view());
    private_list.bytes(CKA_PRIME_1, key.prime1.view()).bytes(CKA_PRIME_2, key.prime2.view());
    private_list.bytes(CKA_EXPONENT_1, key.exponent1.view()).bytes(CKA_EXPONENT_2, key.exponent2.view());
    private_list.bytes(CKA_COEFFICIENT, key.coefficient.view());
    return create_pair(session, private_list, public_object(request, RsaPublicParts{key.modulus, key.public_exponent}));
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

Result<ObjectHandle> unwrap_into_token(Session& session, const KeyRequest& request, const Mechanism& mechanism,
                                       ObjectHandle unwrapping_key, ByteView wrapped) {
  const KeyFamily family = key_family(request.spec->key);
  Template list = family == KeyFamily::kAes ? secret_template(request) : private_template(request);
  list.number(CKA_CLASS, family == KeyFamily::kAes ? CKO_SECRET_KEY : CKO_PRIVATE_KEY);
  switch (family) {
  case KeyFamily::kEc: list.number(CKA_KEY_TYPE, CKK_EC); break;
  case KeyFamily::kEdwards: list.number(CKA_KEY_TYPE, CKK_EC_EDWARDS); break;
  case KeyFamily::kRsa: list.number(CKA_KEY_TYPE, CKK_RSA); break;
  case KeyFamily::kAes: list.number(CKA_KEY_TYPE, CKK_AES); break;
  }
  return session.unwrap(mechanism, unwrapping_key, wrapped, list);
}

Result<ObjectHandle> create_public_half(Session& session, const KeyRequest& request, ByteView spki) {
  HSMUX_TRY(const PublicParts parts, public_parts(spki));
  return session.create(public_object(request, parts));
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
