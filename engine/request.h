// What callers ask of the engine, and what they get: plain values. Views belong to the caller and must stay valid until
// the blocking call returns.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
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
  ByteView signature; // ECDSA: DER
  RequestOptions options;
};

struct EncryptRequest { // RSA-OAEP: on the host with the public half; AES-GCM: in the HSM
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
  std::uint32_t bits = 0;                   // 0: the algorithm's default
  std::optional<PlacementConfig> placement; // absent: the configuration's
  // Development only: make the key on the host and import it, so that several slots get the same key.
  bool software_key = false;
  RequestOptions options;
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
  std::vector<MechanismOffer> mechanisms;
  std::vector<AlgorithmOnSlot> algorithms; // those that were probed
};

} // namespace hsmux
