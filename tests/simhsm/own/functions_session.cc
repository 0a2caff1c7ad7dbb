// The entry points around sessions, login, PINs and random numbers.
#include <openssl/rand.h>

#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/machine.h"
#include "tests/simhsm/own/refusal.h"

namespace hsmux::sim::own {
namespace {

template <class Work> bool waits(const std::optional<Active<Work>>& operation) {
  return operation && operation->awaits_confirmation;
}

View pin_of(const CK_BYTE* pin, CK_ULONG bytes) {
  require(pin != nullptr, CKR_ARGUMENTS_BAD); // there is no CKF_PROTECTED_AUTHENTICATION_PATH
  return {pin, bytes};
}

} // namespace

void open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* /*application*/, CK_NOTIFY /*notify*/,
                  CK_SESSION_HANDLE* session) {
  Token& token = Machine::get().token(slot);
  require(session != nullptr, CKR_ARGUMENTS_BAD);
  require((flags & CKF_SERIAL_SESSION) != 0, CKR_SESSION_PARALLEL_NOT_SUPPORTED);
  *session = Machine::get().open_session(token, (flags & CKF_RW_SESSION) != 0);
}

void close_session(CK_SESSION_HANDLE session) { Machine::get().close_session(session); }

void close_all_sessions(CK_SLOT_ID slot) {
  const Token& token = Machine::get().token(slot);
  Machine::get().close_sessions(&token);
}

void init_pin(Session& session, CK_BYTE* pin, CK_ULONG pin_bytes) {
  session.token().init_user_pin(pin_of(pin, pin_bytes));
}

void set_pin(Session& session, CK_BYTE* old_pin, CK_ULONG old_bytes, CK_BYTE* new_pin, CK_ULONG new_bytes) {
  session.token().set_pin(session.read_write(), pin_of(old_pin, old_bytes), pin_of(new_pin, new_bytes));
}

void get_session_info(Session& session, CK_SESSION_INFO* info) {
  require(info != nullptr, CKR_ARGUMENTS_BAD);
  *info = session.info();
}

void login(Session& session, CK_USER_TYPE user, CK_BYTE* pin, CK_ULONG pin_bytes) {
  require(user == CKU_SO || user == CKU_USER || user == CKU_CONTEXT_SPECIFIC, CKR_USER_TYPE_INVALID);
  const View given = pin_of(pin, pin_bytes);
  if (user != CKU_CONTEXT_SPECIFIC) return session.token().log_in(user, given);
  require(waits(session.signing) || waits(session.decrypting), CKR_OPERATION_NOT_INITIALIZED);
  session.token().confirm(given);
  if (session.signing) session.signing->awaits_confirmation = false;
  if (session.decrypting) session.decrypting->awaits_confirmation = false;
}

void logout(Session& session) { session.token().log_out(); }

void seed_random(Session& /*session*/, CK_BYTE* /*seed*/, CK_ULONG /*seed_bytes*/) {
  refuse(CKR_RANDOM_SEED_NOT_SUPPORTED);
}

void generate_random(Session& /*session*/, CK_BYTE* random, CK_ULONG random_bytes) {
  require(random != nullptr || random_bytes == 0, CKR_ARGUMENTS_BAD);
  require(RAND_bytes_ex(nullptr, random, random_bytes, 0) == 1, CKR_DEVICE_ERROR);
}

} // namespace hsmux::sim::own
