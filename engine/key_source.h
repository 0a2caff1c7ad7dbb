// Where a key that is to be in several slots comes from, and how it gets into each. A run has one source; one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/held_lease.h"
#include "mechanisms/key_template.h"
#include "mechanisms/transport.h"

namespace hsmux {

class KeySource {
public:
  // `lease`: of the slot that the key is in; none for a key of this host.
  explicit KeySource(std::unique_ptr<HeldLease> lease = nullptr) : lease_(std::move(lease)) {}
  virtual ~KeySource() = default;
  KeySource(const KeySource&) = delete;
  KeySource& operator=(const KeySource&) = delete;

  // Into the target, with all that `request` says, public half too. On failure objects with its id may remain.
  virtual Result<MadeKey> put(HeldLease& target, const KeyRequest& request) = 0;
  // Nothing of the run that could be wrapped remains. Errors: where that is not certain.
  virtual Status end() { return {}; }
  // The source's own session; nullptr: there is none.
  [[nodiscard]] HeldLease* lease() const { return lease_.get(); }
  // After end(): the session is given back.
  void release() { lease_.reset(); }
  // DER SubjectPublicKeyInfo; none of secret keys.
  [[nodiscard]] virtual std::optional<Bytes> spki() const = 0;

private:
  std::unique_ptr<HeldLease> lease_;
};

// Material of this host: development (make_software_key) or migration (PKCS#8).
class HostSource : public KeySource {
public:
  explicit HostSource(SoftwareKey key) : key_(std::move(key)) {}
  Result<MadeKey> put(HeldLease& target, const KeyRequest& request) override;
  [[nodiscard]] std::optional<Bytes> spki() const override;

private:
  SoftwareKey key_;
};

// A key in one token: a session object that was made for this run, or one of the token that permits to be wrapped.
// Travels by a transport key of the run.
class TokenSource : public KeySource {
public:
  // Makes the key. `request` says what key; it is made as a session object that may be wrapped.
  static Result<std::unique_ptr<TokenSource>> make(std::unique_ptr<HeldLease> source, const KeyRequest& request,
                                                   std::uint32_t transport_bits);
  // A key that is there. `spki`: none for secret keys.
  static Result<std::unique_ptr<TokenSource>> of(std::unique_ptr<HeldLease> source, ObjectHandle key,
                                                 std::optional<Bytes> spki, const Quirks& quirks,
                                                 std::uint32_t transport_bits);

  Result<MadeKey> put(HeldLease& target, const KeyRequest& request) override;
  Status end() override;
  [[nodiscard]] std::optional<Bytes> spki() const override { return spki_; }

private:
  TokenSource(std::unique_ptr<HeldLease> source, std::uint32_t transport_bits)
      : KeySource(std::move(source)), transport_bits_(transport_bits) {}
  Status wrap(ObjectHandle key, const Quirks& quirks);

  const std::uint32_t transport_bits_;
  SessionObject key_, public_half_; // empty for a key that was there
  SessionObject transport_key_;
  Bytes wrapped_;
  std::optional<Bytes> spki_;
};

// A key in one token that only a trusted key may wrap (CKA_WRAP_WITH_TRUSTED). The wrapping key has the same CKA_ID in
// source and targets; the security officer made it there and trusts it in the source (CKA_TRUSTED).
class TrustedSource : public KeySource {
public:
  explicit TrustedSource(std::unique_ptr<HeldLease> source) : KeySource(std::move(source)) {}
  static Result<std::unique_ptr<TrustedSource>> of(std::unique_ptr<HeldLease> source, ObjectHandle key,
                                                   std::optional<Bytes> spki, ByteView trusted_id,
                                                   const Quirks& quirks);
  Result<MadeKey> put(HeldLease& target, const KeyRequest& request) override;
  [[nodiscard]] std::optional<Bytes> spki() const override { return spki_; }

private:
  Bytes trusted_id_, wrapped_;
  std::optional<Bytes> spki_;
};

// The trusted wrapping key of that name in a token: its CKA_ID. kKeyNotFound, kKeyAmbiguous, kKeyUnusable (it may not
// wrap, or the security officer does not trust it).
Result<Bytes> find_trusted_key(Session& session, std::string_view name);

} // namespace hsmux
