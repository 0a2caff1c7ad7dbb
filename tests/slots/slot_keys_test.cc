// Handles of keys in a slot, and their session copies.
#include <array>

#include "tests/slots/slot_fixture.h"

namespace hsmux {
namespace {

// --- key handles ---

TEST_F(Slots, AKeyHandleIsFoundOnce) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  const ObjectHandle made = make_key(lease);
  sim_.reset_counts();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(handle_of(slot, lease), made);
  EXPECT_EQ(sim_.count("C_FindObjectsInit"), 1U);
  slot.forget_key(ObjectClass::kSecretKey, kKeyId);
  EXPECT_EQ(handle_of(slot, lease), made);
  EXPECT_EQ(sim_.count("C_FindObjectsInit"), 2U);
  EXPECT_EQ(count(EventKind::kKeyFind), 2);
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, AKeyHandleOfAnOldEpochIsFoundAgain) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  make_key(lease);
  EXPECT_TRUE(handle_of(slot, lease).has_value());
  sim_.kill_sessions(slot_id());
  slot.finish(std::move(lease), kDead);
  EXPECT_TRUE(eventually([&] { return slot.epoch() == 2 && slot.ready(); }));
  sim_.reset_counts();
  Lease next = lease_of(slot);
  EXPECT_TRUE(handle_of(slot, next).has_value());
  EXPECT_EQ(sim_.count("C_FindObjectsInit"), 1U);
  slot.finish(std::move(next), kFine);
}

TEST_F(Slots, AKeyThatIsNotThereOrThereTwiceIsAnErrorThatNamesTheSlot) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  const auto absent = handle_of(slot, lease);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().kind, ErrorKind::kKeyNotFound);
  EXPECT_EQ(absent.error().slot, "hsm-a");
  make_key(lease);
  make_key(lease);
  const auto twice = handle_of(slot, lease);
  ASSERT_FALSE(twice.has_value());
  EXPECT_EQ(twice.error().kind, ErrorKind::kKeyAmbiguous);
  slot.finish(std::move(lease), kFine);
}

// --- session copies ---

TEST_F(Slots, AKeyThatSomebodyElseDeletedLosesItsCopyAtTheRefresh) {
  SlotOptions wanted = options();
  wanted.session_copies = SessionCopies::kOn;
  wanted.copy_refresh = std::chrono::milliseconds(1);
  Slot& slot = open_slot(wanted);
  Lease lease = lease_of(slot);
  const ObjectHandle made = make_key(lease);
  EXPECT_EQ(handle_of(slot, lease), made);
  EXPECT_TRUE(eventually([&] { return slot.stats().session_copies == 1; }));
  EXPECT_NE(handle_of(slot, lease).value(), made);
  EXPECT_TRUE(lease->destroy(made).has_value());
  EXPECT_TRUE(eventually([&] { return slot.stats().session_copies == 0; }));
  EXPECT_FALSE(handle_of(slot, lease).has_value());
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, ACopyGoesWithItsForgottenKey) {
  SlotOptions wanted = options();
  wanted.session_copies = SessionCopies::kOn;
  Slot& slot = open_slot(wanted);
  Lease lease = lease_of(slot);
  const ObjectHandle made = make_key(lease);
  EXPECT_EQ(handle_of(slot, lease), made);
  EXPECT_TRUE(eventually([&] { return slot.stats().session_copies == 1; }));
  const ObjectHandle copy = handle_of(slot, lease).value();
  slot.forget_key(ObjectClass::kSecretKey, kKeyId);
  EXPECT_EQ(slot.stats().session_copies, 0U);
  // The keeper destroys before it copies. Not asked for meanwhile: SoftHSM leaks when an object goes while it is read.
  EXPECT_EQ(handle_of(slot, lease), made);
  EXPECT_TRUE(eventually([&] { return slot.stats().session_copies == 1; }));
  constexpr std::array<unsigned long, 1> kClass{CKA_CLASS};
  EXPECT_FALSE(lease->attributes(copy, kClass).has_value());
  slot.finish(std::move(lease), kFine);
}

TEST_F(Slots, CopiesAreMadeByThemselvesOnlyForTokensThatGain) {
  TokenIdentity token;
  token.manufacturer = "SoftHSM project";
  token.model = "SoftHSM v2";
  EXPECT_TRUE(gains_by_copies(token));
  token.manufacturer = "SafeNet";
  EXPECT_FALSE(gains_by_copies(token));
}

TEST_F(Slots, WhatWasNotFoundIsLookedForAgain) {
  Slot& slot = open_slot();
  Lease lease = lease_of(slot);
  EXPECT_FALSE(handle_of(slot, lease).has_value());
  const ObjectHandle made = make_key(lease);
  EXPECT_EQ(handle_of(slot, lease), made);
  slot.finish(std::move(lease), kFine);
}

} // namespace
} // namespace hsmux
