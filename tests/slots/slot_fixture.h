// The fixture of the slot's tests: slots of one token behind the simhsm.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "slots/pkcs11.h"
#include "slots/slot.h"
#include "tests/slots/sim_token.h"

namespace hsmux {

using std::chrono::seconds;

inline constexpr CallStatus kFine{Call::kSign, CKR_OK};
inline constexpr CallStatus kDead{Call::kSign, CKR_SESSION_HANDLE_INVALID};
inline const Bytes kKeyId{'s', 'l', 'o', 't', ' ', 't', 'e', 's', 't'};

class Slots : public SimToken {
protected:
  ~Slots() override {
    sim_.reset();
    slots_.clear();
    // What a test made in a token that is not ours alone.
    Session session = open_logged_in();
    const auto keys = session.find(key_template_by_id(ObjectClass::kSecretKey, kKeyId));
    for (const ObjectHandle key : keys.value()) EXPECT_TRUE(session.destroy(key).has_value());
  }

  [[nodiscard]] static PinOrigin pin_value(std::string_view text) {
    return PinFromValue{std::make_shared<const Pin>(*Pin::copy_of(text))};
  }
  [[nodiscard]] SlotOptions options() const {
    SlotOptions result;
    result.name = "hsm-a";
    result.selector.token_label = tokens_.label(0);
    result.pin = pin_value(tokens_.pin(0));
    result.session_copies = SessionCopies::kOff; // else a key's handle changes once it is copied
    return result;
  }
  Result<std::unique_ptr<Slot>> try_open(SlotOptions wanted, bool wait_ready = true) {
    return Slot::open(
        std::move(wanted), module_, [this](const Event& event) { note(event); }, [this] { ++freed_; },
        Deadline::after(seconds(30)), wait_ready);
  }
  Slot& open_slot(SlotOptions wanted, bool wait_ready = true) {
    Result<std::unique_ptr<Slot>> slot = try_open(std::move(wanted), wait_ready);
    if (!slot) {
      ADD_FAILURE() << slot.error().text();
      std::abort();
    }
    slots_.push_back(std::move(*slot));
    return *slots_.back();
  }
  Error open_error(SlotOptions wanted) {
    Result<std::unique_ptr<Slot>> slot = try_open(std::move(wanted));
    if (slot) {
      ADD_FAILURE() << "opened";
      return {};
    }
    return slot.error();
  }
  Slot& open_slot() { return open_slot(options()); }
  static Lease lease_of(Slot& slot) {
    std::optional<Lease> lease;
    if (!eventually([&] { return (lease = slot.try_acquire()).has_value(); })) {
      ADD_FAILURE() << "no session of slot " << slot.name();
      std::abort();
    }
    return std::move(*lease);
  }
  ObjectHandle make_key(Lease& lease) {
    Template list;
    list.flag(CKA_TOKEN, true).flag(CKA_ENCRYPT, true).number(CKA_VALUE_LEN, 32).bytes(CKA_ID, kKeyId);
    const auto key = lease->generate_key({.type = CKM_AES_KEY_GEN}, list);
    EXPECT_TRUE(key.has_value()) << key.error().text();
    return key.value_or(0);
  }
  static Result<ObjectHandle> handle_of(Slot& slot, Lease& lease) {
    HSMUX_TRY(const KeyHandle key, slot.key_handle(lease, ObjectClass::kSecretKey, kKeyId));
    return key.handle;
  }
  void note(const Event& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event.kind);
  }
  long count(EventKind kind) {
    const std::lock_guard lock(mutex_);
    return std::ranges::count(events_, kind);
  }
  // A test with wrong PINs or other ways of a token needs one of its own.
  static bool ours() { return !TokenFolder::external(); }

  std::atomic<int> freed_{0};
  std::mutex mutex_;
  std::vector<EventKind> events_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

} // namespace hsmux
