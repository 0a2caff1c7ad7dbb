// C_Sign*, C_Verify* and C_Digest*.
#include "tests/simhsm/own/functions.h"
#include "tests/simhsm/own/operation.h"

namespace hsmux::sim::own {
namespace {

DigestContext begun(const EVP_MD* digest) {
  auto context = allocated(DigestContext(EVP_MD_CTX_new()));
  require(EVP_DigestInit_ex2(context.get(), digest, nullptr) == 1, CKR_DEVICE_ERROR);
  return context;
}

} // namespace

void sign_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  begin(session, session.signing, mechanism, key, CKF_SIGN, CKO_PRIVATE_KEY, CKA_SIGN,
        [&](const MechanismRow& row, const auto& object) { return Signing(*mechanism, row, object); });
}

void sign(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  Ending ending(session.signing);
  check_going_on(session, ending);
  require(!ending->in_parts, CKR_OPERATION_NOT_INITIALIZED);
  const View view = input(data, bytes);
  const Signing& signing = ending->work;
  if (!has_room(ending, out, out_bytes, signing.signature_bytes())) return;
  answer_once(session, ending, CKF_SIGN, bytes, out, out_bytes, [&] { return signing.sign(view); });
}

void sign_update(Session& session, CK_BYTE* part, CK_ULONG bytes) {
  Ending ending(session.signing);
  check_going_on(session, ending);
  ending->work.update(input(part, bytes));
  ending->in_parts = true;
  ending.keep();
}

void sign_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes) {
  Ending ending(session.signing);
  check_going_on(session, ending);
  if (!has_room(ending, out, out_bytes, ending->work.signature_bytes())) return;
  hand_over(ending->work.finish(), out, out_bytes);
}

void verify_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  begin(session, session.verifying, mechanism, key, CKF_VERIFY, CKO_PUBLIC_KEY, CKA_VERIFY,
        [&](const MechanismRow& row, const auto& object) { return Signing(*mechanism, row, object); });
}

void verify(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* signature, CK_ULONG signature_bytes) {
  Ending ending(session.verifying);
  check_going_on(session, ending);
  require(!ending->in_parts, CKR_OPERATION_NOT_INITIALIZED);
  require(signature != nullptr, CKR_ARGUMENTS_BAD);
  ending->work.verify(input(data, bytes), {signature, signature_bytes});
}

void verify_update(Session& session, CK_BYTE* part, CK_ULONG bytes) {
  Ending ending(session.verifying);
  check_going_on(session, ending);
  ending->work.update(input(part, bytes));
  ending->in_parts = true;
  ending.keep();
}

void verify_final(Session& session, CK_BYTE* signature, CK_ULONG signature_bytes) {
  Ending ending(session.verifying);
  check_going_on(session, ending);
  require(signature != nullptr, CKR_ARGUMENTS_BAD);
  ending->work.finish_verify({signature, signature_bytes});
}

void digest_init(Session& session, CK_MECHANISM* mechanism) {
  if (mechanism == nullptr && session.digesting) return session.digesting.reset();
  const MechanismRow& row = mechanism_row(mechanism, CKF_DIGEST);
  require(!session.digesting, CKR_OPERATION_ACTIVE);
  require(mechanism->ulParameterLen == 0, CKR_MECHANISM_PARAM_INVALID);
  session.digesting.emplace(digest(row.hash), begun(digest(row.hash)), false);
}

void digest_all(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  Ending ending(session.digesting);
  require(!ending->in_parts, CKR_OPERATION_NOT_INITIALIZED);
  const View view = input(data, bytes);
  if (!has_room(ending, out, out_bytes, static_cast<std::size_t>(EVP_MD_get_size(ending->digest)))) return;
  hand_over(digest_of(ending->digest, view), out, out_bytes);
}

void digest_update(Session& session, CK_BYTE* part, CK_ULONG bytes) {
  Ending ending(session.digesting);
  const View view = input(part, bytes);
  require(EVP_DigestUpdate(ending->context.get(), view.data(), view.size()) == 1, CKR_DEVICE_ERROR);
  ending->in_parts = true;
  ending.keep();
}

void digest_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes) {
  Ending ending(session.digesting);
  const auto size = static_cast<std::size_t>(EVP_MD_get_size(ending->digest));
  if (!has_room(ending, out, out_bytes, size)) return;
  require(EVP_DigestFinal_ex(ending->context.get(), out, nullptr) == 1, CKR_DEVICE_ERROR);
  *out_bytes = size;
}

} // namespace hsmux::sim::own
