// C_Encrypt* and C_Decrypt*.
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/operation.h"

namespace hsmux::sim::own {
namespace {

using Operation = std::optional<Active<Cipher>>;

void all(const Session& session, Operation& operation, CK_FLAGS kind, const CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out,
         CK_ULONG* out_bytes) {
  Ending ending(operation);
  check_going_on(session, ending);
  require(!ending->in_parts, CKR_OPERATION_NOT_INITIALIZED);
  const View view = input(data, bytes);
  require(out_bytes != nullptr, CKR_ARGUMENTS_BAD);
  if (out == nullptr) {
    // How much padding will be taken off, only the answer itself tells.
    has_room(ending, out, out_bytes, ending->work.bound(bytes));
    return;
  }
  answer_once(session, ending, kind, bytes, out, out_bytes, [&] { return ending->work.process(view); });
}

void update(const Session& session, Operation& operation, const CK_BYTE* part, CK_ULONG bytes, CK_BYTE* out,
            CK_ULONG* out_bytes) {
  Ending ending(operation);
  check_going_on(session, ending);
  const View view = input(part, bytes);
  if (!has_room(ending, out, out_bytes, ending->work.update_bytes(bytes))) return;
  hand_over(ending->work.update(view), out, out_bytes);
  ending->in_parts = true;
  ending.keep();
}

void finish(const Session& session, Operation& operation, CK_BYTE* out, CK_ULONG* out_bytes) {
  Ending ending(operation);
  check_going_on(session, ending);
  require(out_bytes != nullptr, CKR_ARGUMENTS_BAD);
  if (out == nullptr && ending->work.finish_bound() > 0) {
    has_room(ending, out, out_bytes, ending->work.finish_bound());
    return;
  }
  const Bytes& bytes = ending->work.finish();
  // Where nothing comes, a call without a buffer is no question: callers know that of most mechanisms.
  if (bytes.empty()) {
    *out_bytes = 0;
  } else if (has_room(ending, out, out_bytes, bytes.size())) {
    hand_over(bytes, out, out_bytes);
  }
}

// Into the caller's buffer, which is to be zeros.
void make_iv(const CK_MECHANISM& mechanism) {
  CK_GCM_PARAMS parameter{};
  require(mechanism.ulParameterLen == sizeof parameter, CKR_MECHANISM_PARAM_INVALID);
  std::memcpy(&parameter, mechanism.pParameter, sizeof parameter);
  require(parameter.pIv != nullptr && parameter.ulIvLen == 12, CKR_MECHANISM_PARAM_INVALID);
  require(std::all_of(parameter.pIv, parameter.pIv + 12, [](CK_BYTE byte) { return byte == 0; }),
          CKR_MECHANISM_PARAM_INVALID);
  require(RAND_bytes(parameter.pIv, 12) == 1, CKR_DEVICE_ERROR);
}

} // namespace

void encrypt_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  begin(session, session.encrypting, mechanism, key, CKF_ENCRYPT, CKO_PUBLIC_KEY, CKA_ENCRYPT,
        [&](const MechanismRow& row, const auto& object) {
          if (row.type == CKM_AES_GCM && session.token().policy().makes_iv) make_iv(*mechanism);
          return Cipher(Cipher::Direction::kEncrypt, *mechanism, row, object);
        });
}

void encrypt(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  all(session, session.encrypting, CKF_ENCRYPT, data, bytes, out, out_bytes);
}

void encrypt_update(Session& session, CK_BYTE* part, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  update(session, session.encrypting, part, bytes, out, out_bytes);
}

void encrypt_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes) {
  finish(session, session.encrypting, out, out_bytes);
}

void decrypt_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  begin(session, session.decrypting, mechanism, key, CKF_DECRYPT, CKO_PRIVATE_KEY, CKA_DECRYPT,
        [&](const MechanismRow& row, const auto& object) {
          return Cipher(Cipher::Direction::kDecrypt, *mechanism, row, object);
        });
}

void decrypt(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  all(session, session.decrypting, CKF_DECRYPT, data, bytes, out, out_bytes);
}

void decrypt_update(Session& session, CK_BYTE* part, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  update(session, session.decrypting, part, bytes, out, out_bytes);
}

void decrypt_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes) {
  finish(session, session.decrypting, out, out_bytes);
}

} // namespace hsmux::sim::own
