// What callers ask of the engine, and what they get: plain values. Views belong to the caller and must stay valid until
// the blocking call returns.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "mechanisms/key_attributes.h"
#include "mechanisms/key_object.h"
#include "mechanisms/spec.h"
#include "slots/deadline.h"
#include "slots/slot.h"

namespace hsmux {

// How a request names a key: a label ("orders"), an id ("id:0a1b...", hex of CKA_ID), or an RFC 7512 URI with object
// and/or id ("pkcs11:object=orders"). A label that fits several keys is an error that lists them.
using KeyName = std::string_view;

// Common to all requests. No deadline: the configuration's default, counted from the call.
struct RequestOptions {
  std::optional<Deadline> deadline;
  std::string_view slot; // only this slot; empty: any slot that holds the key
  // Of blocking calls: done as if submitted and waited for. Then the deadline holds even while the module does not
  // return, and an attempt that takes too long goes on in another slot; a wake-up or two more each.
  bool hard = false;
};

struct SignRequest {
  KeyName key;
  Algorithm algorithm{};
  ByteView message;       // or its digest, see below
  bool prehashed = false; // `message` is the digest that the algorithm makes (SHA-256: 32 bytes)
  RequestOptions options;
};

struct VerifyRequest { // carried out on the host with the key's public half
  KeyName key;
  Algorithm algorithm{};
  ByteView message;
  bool prehashed = false;
  ByteView signature; // ECDSA: DER; Ed25519, RSA: as it is
  RequestOptions options;
};

struct EncryptRequest { // RSA-OAEP, ECIES: on the host with the public half; AES-GCM: in the HSM
  KeyName key;
  Algorithm algorithm{};
  ByteView plaintext;
  ByteView aad; // AES-GCM only
  RequestOptions options;
};

struct DecryptRequest {
  KeyName key;
  Algorithm algorithm{};
  ByteView ciphertext; // AES-GCM: the envelope of mechanisms/envelope.h
  ByteView aad;        // AES-GCM only
  // AES-GCM: the CKA_ID that the envelope was made with, where it differs from the key's (after a migration).
  std::optional<Bytes> bound_to;
  RequestOptions options;
};

struct GenerateRequest {
  std::string_view label; // 1 to 300 bytes of UTF-8; need not be unique
  Algorithm algorithm{};
  std::uint32_t bits = 0;                         // 0: the algorithm's default
  std::optional<PlacementConfig> placement;       // absent: the configuration's
  std::optional<KeyPolicy> policy = std::nullopt; // absent: the configuration's
  // Development only: make the key on the host and import it, where several slots cannot get the same key otherwise.
  bool software_key = false;
  RequestOptions options;
};

struct ReplicateRequest { // a key into more slots
  KeyName key;
  std::optional<PlacementConfig> placement; // the slots that it is to be in, those that have it included
  KeyName trusted_key;                      // the wrapping key of the policy trusted-wrap; empty: the configuration's
  RequestOptions options;
};

struct ImportRequest {    // a private key of this host into slots: for development and migration
  std::string_view label; // as of GenerateRequest
  Algorithm algorithm{};
  ByteView pkcs8; // DER, not encrypted (RFC 5208); the caller wipes it
  std::optional<PlacementConfig> placement;
  RequestOptions options;
};

struct AuditRequest {
  std::string_view name; // empty: all keys
  RequestOptions options;
};

struct RandomRequest {   // from a slot's random generator
  std::size_t bytes = 0; // at most 65536
  RequestOptions options;
};

struct FindKeyRequest {
  KeyName key;
  RequestOptions options;
};

struct PublicKeyRequest { // DER SubjectPublicKeyInfo
  KeyName key;
  RequestOptions options;
};

struct ListKeysRequest {
  std::string_view name; // empty: all
  RequestOptions options;
};

struct DeleteKeyRequest {
  KeyName key;
  RequestOptions options;
};

// What becomes of submitted work: called exactly once, on a thread of the engine, with no lock held; never inside
// submit(). It should return soon. It may submit and cancel, and must neither call anything that blocks nor close.
template <class T> using Completion = std::move_only_function<void(Result<T>)>;
// Of a batch: called once for each request of it with its place, on any thread, several at once.
using BatchCompletion = std::function<void(std::size_t, Result<Bytes>)>;

class Cancellable {
public:
  Cancellable() = default;
  virtual ~Cancellable() = default;
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;
  virtual bool cancel() = 0;
};

// A submitted request, as its submitter sees it. Copied freely; may be dropped at any time. Not to be used once the
// engine is gone.
class Job {
public:
  Job() = default;
  explicit Job(std::weak_ptr<Cancellable> request) : request_(std::move(request)) {}
  // True: it had not started and never will; its completion gets kCancelled. False: it has started, or ended.
  [[nodiscard]] bool cancel() const {
    const std::shared_ptr<Cancellable> request = request_.lock();
    return request != nullptr && request->cancel();
  }

private:
  std::weak_ptr<Cancellable> request_;
};

// The same with a future, which becomes ready with the error at once where submit() refuses.
template <class T> struct Submitted {
  Job job;
  std::future<Result<T>> result;
};

struct KeyInfo {
  std::string id; // hex of CKA_ID
  std::string label;
  std::string kind; // "ec-p256", "rsa", "aes-256", or what else the token says
  std::uint32_t bits = 0;
  KeyPurposes purposes;
  bool sensitive = false, extractable = false;
  std::vector<std::string> slots; // names of the slots that hold a replica
  bool software_key = false;      // made on the host by this call
};

// What an audit says of one key in one slot.
struct ReplicaAudit {
  std::string slot;
  KeyPurposes purposes;
  KeyAttributes attributes;
  bool same = false;   // proved by use that it is the key of the other slots
  std::string problem; // why not
};

struct KeyAudit {
  KeyInfo key;
  std::string public_key_sha256; // hex, of the SubjectPublicKeyInfo; empty for secret keys and where none is held
  std::vector<ReplicaAudit> replicas;
  std::vector<std::string> findings; // what is wrong, or not as keys of hsmux are
};

// What a crashed run left in a slot.
struct UnfinishedKey {
  std::string slot, id, state;
};

struct AuditReport {
  std::vector<KeyAudit> keys;
  std::vector<UnfinishedKey> unfinished;
  std::vector<std::string> slots_not_asked; // down: they may hold more
};

// How a submitted signature, decryption or encryption went.
struct RequestStory {
  std::optional<std::size_t> slot; // the last one it was tried in, in the order of the configuration
  std::uint32_t attempts = 0;      // made
  Duration waited{};               // for sessions, all attempts together
};

// What submitted work is doing, for people.
struct WorkStats {
  std::uint32_t submitted = 0;                          // submitted and not ended
  std::size_t waiting = 0;                              // requests, blocking ones too, that wait for a session
  std::uint32_t threads = 0, idle = 0, quarantined = 0; // of the engine; quarantined: the module does not let them go
};

struct AlgorithmOnSlot {
  std::string_view algorithm;
  std::string_view recipe; // empty: the slot cannot carry it out
  std::string reason;      // why recipes were passed over
};

struct SlotReport {
  std::string name, module_path, module_description, quirks;
  Locks locks = Locks::kOs; // who supplies the module's
  TokenIdentity token;
  SlotStats stats;
  double weight = 1.0;
  std::uint32_t sessions_configured_max = 0;
  std::uint32_t in_flight = 0, concurrency = 0; // requests at the slot now, and at most (engine/concurrency.h)
  std::uint64_t overdue = 0;                    // requests given up on because the module did not return in time
  std::vector<MechanismOffer> mechanisms;
  std::vector<AlgorithmOnSlot> algorithms; // those that were probed
};

} // namespace hsmux
