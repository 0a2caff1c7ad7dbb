// A whole HSM in the memory of the process, as a PKCS#11 2.40 function list: slots, tokens, PINs, objects and their
// cryptography by OpenSSL. It lives as long as the process. Any thread, but a session is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "slots/pkcs11.h"

namespace hsmux::sim::own {

// A token that is ready to use: initialised, with a user PIN.
struct TokenSettings {
  std::string label, serial, user_pin, so_pin;
};

struct Settings {
  std::vector<TokenSettings> tokens; // slots 0, 1, ...
  // As SoftHSM: there is a slot with an uninitialised token behind the others, and another one after that was
  // initialised, as soon as C_GetSlotList is called without a buffer.
  bool spare_slot = true;
  // The first one-shot C_Sign, C_Encrypt or C_Decrypt of an operation, object, mechanism type and input length is
  // computed; later ones answer the same bytes without computing, whatever the input is.
  bool canned = false;
  // C_EncryptInit with CKM_AES_GCM wants an IV of 12 zeros and writes one of the HSM's own there, as AWS CloudHSM does.
  bool makes_iv = false;
  std::size_t objects_max = 0; // per token, session objects included; 0 = no limit; above: CKR_DEVICE_MEMORY
  unsigned user_pin_tries = 10, so_pin_tries = 10;
  std::string manufacturer = "hsmux", model = "simhsm";
  CK_VERSION firmware{1, 0};
};

// Every entry is there.
const CK_FUNCTION_LIST& functions();
// Before the first C_Initialize it sets up the slots; later it changes only `canned`, `makes_iv` and `objects_max`.
void configure(const Settings& settings);
// This and the next one do nothing, and answer 0, where there is no such slot.
//
// Handles of the token's objects start at 1 again and are dealt out in another order, as by a real HSM that started
// anew: old values mean other objects. Without it a token never uses a value twice.
void renumber_objects(CK_SLOT_ID slot);
// Objects in the token, session objects and invisible ones included.
std::size_t objects(CK_SLOT_ID slot);

} // namespace hsmux::sim::own
