#include "engine/key_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "mechanisms/key_attributes.h"
#include "mechanisms/key_name.h"
#include "mechanisms/key_object.h"

namespace hsmux {
namespace {

Result<MadeKey> with_public_half(Session& session, const KeyRequest& request, ObjectHandle key,
                                 const std::optional<Bytes>& spki) {
  if (!spki) return MadeKey{key, std::nullopt};
  HSMUX_TRY(const ObjectHandle public_half, create_public_half(session, request, *spki));
  return MadeKey{key, public_half};
}

Mechanism key_wrap(const Quirks& quirks) { return {quirks.key_wrap, nullptr, 0}; }

} // namespace

Result<MadeKey> HostSource::put(HeldLease& target, const KeyRequest& request) {
  return target.noted(import_into_token(target.session(), request, key_));
}

std::optional<Bytes> HostSource::spki() const {
  Result<Bytes> spki = software_key_spki(key_);
  return spki ? std::optional(std::move(*spki)) : std::nullopt;
}

Result<std::unique_ptr<TokenSource>> TokenSource::make(std::unique_ptr<HeldLease> lease, const KeyRequest& request,
                                                       std::uint32_t transport_bits) {
  KeyRequest origin = request;
  origin.token_object = false;
  origin.extractable = true;        // by the transport key alone: it goes before anybody learns of it
  origin.wrap_with_trusted = false; // of the copies, not of the key that they are made of
  HeldLease& source = *lease;
  std::unique_ptr<TokenSource> made(new TokenSource(std::move(lease), transport_bits));
  Result<MadeKey> generated = source.noted(generate_in_token(source.session(), origin));
  if (!generated) source.session().distrust(); // its answer may have been lost: the key ends with the session then
  HSMUX_TRY(const MadeKey key, std::move(generated));
  made->key_ = SessionObject(source.session(), key.handle);
  if (key.public_key) {
    made->public_half_ = SessionObject(source.session(), *key.public_key);
    HSMUX_TRY(made->spki_, source.noted(read_spki(source.session(), *key.public_key, request.spec->key)));
  }
  HSMUX_CHECK(made->wrap(key.handle, *request.quirks));
  return made;
}

Result<std::unique_ptr<TokenSource>> TokenSource::of(std::unique_ptr<HeldLease> source, ObjectHandle key,
                                                     std::optional<Bytes> spki, const Quirks& quirks,
                                                     std::uint32_t transport_bits) {
  std::unique_ptr<TokenSource> made(new TokenSource(std::move(source), transport_bits));
  made->spki_ = std::move(spki);
  HSMUX_CHECK(made->wrap(key, quirks));
  return made;
}

Status TokenSource::wrap(ObjectHandle key, const Quirks& quirks) {
  HSMUX_TRY(transport_key_, lease()->noted(make_transport_key(lease()->session())));
  HSMUX_TRY(wrapped_, lease()->noted(wrap_key(lease()->session(), transport_key_.handle(), key, quirks)));
  return {};
}

Result<MadeKey> TokenSource::put(HeldLease& target, const KeyRequest& request) {
  // Both sessions answer here: each is told what concerns it.
  HSMUX_TRY(SessionObject transport,
            lease()->noted(target.noted(
                carry_transport_key(lease()->session(), transport_key_.handle(), target.session(), transport_bits_))));
  HSMUX_TRY(const ObjectHandle key, target.noted(unwrap_into_token(target.session(), request, key_wrap(*request.quirks),
                                                                   transport.handle(), wrapped_)));
  HSMUX_CHECK(target.noted(transport.destroy()));
  return target.noted(with_public_half(target.session(), request, key, spki_));
}

Status TokenSource::end() {
  Status first;
  for (SessionObject* object : {&key_, &public_half_, &transport_key_}) {
    Status destroyed = lease()->noted(object->destroy());
    if (first) first = std::move(destroyed);
  }
  return first;
}

namespace {

struct WrappingKey {
  ObjectHandle handle;
  Bytes id;
};

Result<WrappingKey> wrapping_key(Session& session, const KeyQuery& query, std::string_view name, bool must_be_trusted) {
  HSMUX_TRY(const std::vector<KeyObject> found, find_key_objects(session, ObjectClass::kSecretKey, query));
  if (found.empty()) return fail(ErrorKind::kKeyNotFound, fmt::format("no wrapping key '{}'", name));
  if (found.size() > 1) return fail(ErrorKind::kKeyAmbiguous, fmt::format("'{}' fits several secret keys", name));
  const KeyObject& key = found.front();
  if (must_be_trusted) {
    HSMUX_TRY(const KeyAttributes attributes, read_key_attributes(session, key.handle));
    const bool trusted = attributes.trusted.value_or(false);
    if (!trusted || !key.purposes.wrap) {
      return fail(ErrorKind::kKeyUnusable,
                  fmt::format("key '{}' {}: the security officer must make and trust it (CKA_WRAP, CKA_TRUSTED)", name,
                              trusted ? "may not wrap" : "is not trusted"));
    }
  } else if (!key.purposes.unwrap) {
    return fail(ErrorKind::kKeyUnusable, fmt::format("key '{}' may not unwrap (CKA_UNWRAP)", name));
  }
  if (key.purposes.encrypt || key.purposes.decrypt) {
    return fail(ErrorKind::kKeyUnusable,
                fmt::format("key '{}' may also encrypt or decrypt, and so could open what it wraps", name));
  }
  return WrappingKey{key.handle, key.id};
}

} // namespace

Result<Bytes> find_trusted_key(Session& session, std::string_view name) {
  HSMUX_TRY(const KeyQuery query, parse_key_name(name));
  HSMUX_TRY(WrappingKey key, wrapping_key(session, query, name, true));
  return std::move(key.id);
}

Result<std::unique_ptr<TrustedSource>> TrustedSource::of(std::unique_ptr<HeldLease> lease, ObjectHandle key,
                                                         std::optional<Bytes> spki, ByteView trusted_id,
                                                         const Quirks& quirks) {
  HeldLease& source = *lease;
  auto made = std::make_unique<TrustedSource>(std::move(lease));
  made->spki_ = std::move(spki);
  made->trusted_id_.assign(trusted_id.begin(), trusted_id.end());
  HSMUX_TRY(const WrappingKey with, source.noted(wrapping_key(source.session(), {.label = {}, .id = made->trusted_id_},
                                                              "id:" + to_hex(trusted_id), true)));
  HSMUX_TRY(made->wrapped_, source.noted(wrap_key(source.session(), with.handle, key, quirks)));
  return made;
}

Result<MadeKey> TrustedSource::put(HeldLease& target, const KeyRequest& request) {
  HSMUX_TRY(const WrappingKey with, target.noted(wrapping_key(target.session(), {.label = {}, .id = trusted_id_},
                                                              "id:" + to_hex(trusted_id_), false)));
  HSMUX_TRY(const ObjectHandle key, target.noted(unwrap_into_token(target.session(), request, key_wrap(*request.quirks),
                                                                   with.handle, wrapped_)));
  return target.noted(with_public_half(target.session(), request, key, spki_));
}

} // namespace hsmux
