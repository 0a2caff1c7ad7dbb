// The entry points around library, slots, tokens and mechanisms.
#include <cstring>

#include "tests/simhsm/own/fixed_text.h"
#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/machine.h"
#include "tests/simhsm/own/mechanism_table.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

// PKCS#11 2.40, 5.2, for lists: False when the caller asks for the size only.
template <class T> bool has_room(const T* list, CK_ULONG* count, std::size_t size) {
  require(count != nullptr, CKR_ARGUMENTS_BAD);
  const bool enough = *count >= size;
  *count = size;
  if (list == nullptr) return false;
  require(enough, CKR_BUFFER_TOO_SMALL);
  return true;
}

} // namespace

void initialize(void* arguments) {
  if (arguments != nullptr) {
    CK_C_INITIALIZE_ARGS given{};
    std::memcpy(&given, arguments, sizeof given);
    require(given.pReserved == nullptr, CKR_ARGUMENTS_BAD);
    const int callbacks = (given.CreateMutex != nullptr) + (given.DestroyMutex != nullptr) +
                          (given.LockMutex != nullptr) + (given.UnlockMutex != nullptr);
    require(callbacks == 0 || callbacks == 4, CKR_ARGUMENTS_BAD);
  }
  Machine::get().initialise();
}

void finalize(void* reserved) {
  require(reserved == nullptr, CKR_ARGUMENTS_BAD);
  Machine::get().finalise();
}

void get_info(CK_INFO* info) {
  require(info != nullptr, CKR_ARGUMENTS_BAD);
  *info = {};
  info->cryptokiVersion = {2, 40};
  fill(info->manufacturerID, Machine::get().policy().manufacturer);
  fill(info->libraryDescription, "simulated HSM in memory");
  info->libraryVersion = {1, 0};
}

void get_slot_list(CK_BBOOL /*token_present*/, CK_SLOT_ID* list, CK_ULONG* count) {
  // Every slot has a token, be it an uninitialised one.
  const std::vector<CK_SLOT_ID> slots = Machine::get().slots(list == nullptr);
  if (has_room(list, count, slots.size())) std::ranges::copy(slots, list);
}

void get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO* info) {
  const Token& token = Machine::get().token(slot);
  require(info != nullptr, CKR_ARGUMENTS_BAD);
  *info = token.slot_info();
}

void get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  const Token& token = Machine::get().token(slot);
  require(info != nullptr, CKR_ARGUMENTS_BAD);
  *info = token.info();
}

void get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* count) {
  static_cast<void>(Machine::get().token(slot));
  if (!has_room(list, count, mechanism_table().size())) return;
  std::ranges::transform(mechanism_table(), list, &MechanismRow::type);
}

void get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  static_cast<void>(Machine::get().token(slot));
  require(info != nullptr, CKR_ARGUMENTS_BAD);
  const CK_MECHANISM mechanism{type, nullptr, 0};
  const MechanismRow& row = mechanism_row(&mechanism, ~CK_FLAGS{0});
  // pkcs11-tool tests only what says that it is done in hardware.
  *info = {row.min, row.max, row.flags | CKF_HW};
}

void init_token(CK_SLOT_ID slot, CK_BYTE* pin, CK_ULONG pin_bytes, CK_BYTE* label) {
  constexpr std::size_t kLabelBytes = sizeof(CK_TOKEN_INFO::label);
  Token& token = Machine::get().token(slot);
  require(pin != nullptr && label != nullptr, CKR_ARGUMENTS_BAD);
  token.initialise({pin, pin_bytes}, {reinterpret_cast<const char*>(label), kLabelBytes});
}

void wait_for_slot_event(CK_FLAGS flags, CK_SLOT_ID* /*slot*/, void* reserved) {
  require(reserved == nullptr, CKR_ARGUMENTS_BAD);
  refuse((flags & CKF_DONT_BLOCK) != 0 ? CKR_NO_EVENT : CKR_FUNCTION_NOT_SUPPORTED);
}

} // namespace hsmux::sim::own
