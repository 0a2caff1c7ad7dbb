#include "mechanisms/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mechanisms/parameters.h"
#include "slots/mechanism_name.h"

namespace hsmux {
namespace {

constexpr std::array<std::uint8_t, 3> kTransportExponent{1, 0, 1};
constexpr std::string_view kTransportLabel = "hsmux transport key";
constexpr std::size_t kTransportKeyBytes = 32;
// RSA of 4096 bits as PKCS#8 has about 2.4 KB.
constexpr std::size_t kWrappedBytesMax = 8192;

Template session_object() {
  Template list;
  list.flag(CKA_TOKEN, false).text(CKA_LABEL, kTransportLabel);
  return list;
}

Template public_half_for_wrapping() {
  Template list = session_object();
  list.flag(CKA_PRIVATE, false).flag(CKA_WRAP, true).flag(CKA_ENCRYPT, false).flag(CKA_VERIFY, false);
  return list;
}

Template secret_for(unsigned long purpose) {
  Template list = session_object();
  list.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_ENCRYPT, false).flag(CKA_DECRYPT, false);
  list.flag(CKA_SIGN, false).flag(CKA_VERIFY, false).flag(CKA_DERIVE, false);
  list.flag(CKA_WRAP, purpose == CKA_WRAP).flag(CKA_UNWRAP, purpose == CKA_UNWRAP);
  return list;
}

// An answer may have been lost after the object was made: it ends with the session then.
template <class Made> Result<Made> or_distrust(Session& session, Result<Made> made) {
  if (!made) session.distrust();
  return made;
}

struct RsaPair {
  SessionObject public_half, private_half;
  Bytes modulus, exponent;
};

Result<RsaPair> make_pair(Session& target, std::uint32_t bits) {
  Template public_list = public_half_for_wrapping();
  public_list.number(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, kTransportExponent);
  Template private_list = session_object();
  private_list.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false).flag(CKA_UNWRAP, true);
  private_list.flag(CKA_DECRYPT, false).flag(CKA_SIGN, false);
  HSMUX_TRY(const KeyPairHandles made,
            or_distrust(target,
                        target.generate_key_pair({CKM_RSA_PKCS_KEY_PAIR_GEN, nullptr, 0}, public_list, private_list)));
  RsaPair pair{{target, made.public_key}, {target, made.private_key}, {}, {}};
  constexpr std::array<unsigned long, 2> kParts{CKA_MODULUS, CKA_PUBLIC_EXPONENT};
  HSMUX_TRY(auto values, target.attributes(made.public_key, kParts));
  if (!values[0] || !values[1]) {
    return fail(ErrorKind::kDevice, "the token does not tell the public half of a transport key pair");
  }
  pair.modulus = std::move(*values[0]);
  pair.exponent = std::move(*values[1]);
  return pair;
}

// SHA-1 where a token knows no other for wrapping (SoftHSM 2.6.1): OAEP does not rest on collision resistance.
Result<SessionObject> carry_by(const OaepMechanism& oaep, Session& source, ObjectHandle transport_key,
                               ObjectHandle public_half, Session& target, const RsaPair& pair) {
  Bytes wrapped(pair.modulus.size());
  HSMUX_TRY(const std::size_t size, source.wrap(oaep.mechanism, public_half, transport_key, wrapped));
  Template list = secret_for(CKA_UNWRAP);
  list.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES).flag(CKA_EXTRACTABLE, false);
  HSMUX_TRY(const ObjectHandle handle, or_distrust(target, target.unwrap(oaep.mechanism, pair.private_half.handle(),
                                                                         ByteView(wrapped).first(size), list)));
  return SessionObject(target, handle);
}

} // namespace

Status check_key_wrap(const Quirks& quirks, std::span<const MechanismOffer> offers) {
  if (quirks.key_wrap == 0) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("tokens of the row {} have no AES key wrap as RFC 5649 has it", quirks.name));
  }
  for (const unsigned long type : {quirks.key_wrap, static_cast<unsigned long>(CKM_RSA_PKCS_OAEP)}) {
    const auto offer = std::ranges::find(offers, type, &MechanismOffer::type);
    // Flags of wrapping are not asked for: tokens forget to set them.
    if (offer == offers.end()) {
      return fail(ErrorKind::kUnsupported, fmt::format("the token does not offer {}", mechanism_name(type)));
    }
  }
  return {};
}

Result<SessionObject> make_transport_key(Session& source) {
  Template list = secret_for(CKA_WRAP);
  list.number(CKA_VALUE_LEN, kTransportKeyBytes).flag(CKA_EXTRACTABLE, true);
  HSMUX_TRY(const ObjectHandle handle, or_distrust(source, source.generate_key({CKM_AES_KEY_GEN, nullptr, 0}, list)));
  return SessionObject(source, handle);
}

Result<SessionObject> carry_transport_key(Session& source, ObjectHandle transport_key, Session& target,
                                          std::uint32_t rsa_bits) {
  HSMUX_TRY(const RsaPair pair, make_pair(target, rsa_bits));
  Template list = public_half_for_wrapping();
  list.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_RSA);
  list.bytes(CKA_MODULUS, pair.modulus).bytes(CKA_PUBLIC_EXPONENT, pair.exponent);
  HSMUX_TRY(const ObjectHandle handle, or_distrust(source, source.create(list)));
  const SessionObject public_half(source, handle);
  Result<SessionObject> carried = carry_by(OaepMechanism(), source, transport_key, public_half.handle(), target, pair);
  if (carried || carried.error().retryable()) return carried;
  Result<SessionObject> otherwise =
      carry_by(OaepMechanism(true), source, transport_key, public_half.handle(), target, pair);
  // Refused both ways: the first way is the one that was meant.
  return otherwise || otherwise.error().retryable() ? std::move(otherwise) : std::move(carried);
}

Result<Bytes> wrap_key(Session& source, ObjectHandle wrapping_key, ObjectHandle key, const Quirks& quirks) {
  Bytes wrapped(kWrappedBytesMax);
  Result<std::size_t> size = source.wrap({quirks.key_wrap, nullptr, 0}, wrapping_key, key, wrapped);
  if (!size) {
    Error error = std::move(size).error();
    if (error.rv == CKR_KEY_NOT_WRAPPABLE || error.rv == CKR_KEY_UNEXTRACTABLE) {
      error.kind = ErrorKind::kUnsupported;
      error.message = error.rv == CKR_KEY_NOT_WRAPPABLE ? "the token does not wrap keys of this kind"
                                                        : "the key does not permit to be wrapped (not EXTRACTABLE)";
    }
    return fail(std::move(error));
  }
  wrapped.resize(*size);
  return wrapped;
}

} // namespace hsmux
