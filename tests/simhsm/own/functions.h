// What the C entry points do, without what all of them do (functions.cc): no exception handling, no look-up of the
// session. They refuse by throwing a Refusal. Any thread, a session in one thread at a time.
#pragma once

#include "tests/simhsm/own/session.h"

namespace hsmux::sim::own {

// functions_general.cc
void initialize(void* arguments);
void finalize(void* reserved);
void get_info(CK_INFO* info);
void get_slot_list(CK_BBOOL token_present, CK_SLOT_ID* list, CK_ULONG* count);
void get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO* info);
void get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info);
void get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* count);
void get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info);
void init_token(CK_SLOT_ID slot, CK_BYTE* pin, CK_ULONG pin_bytes, CK_BYTE* label);
void wait_for_slot_event(CK_FLAGS flags, CK_SLOT_ID* slot, void* reserved);

// functions_session.cc
void open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session);
void close_session(CK_SESSION_HANDLE session);
void close_all_sessions(CK_SLOT_ID slot);
void init_pin(Session& session, CK_BYTE* pin, CK_ULONG pin_bytes);
void set_pin(Session& session, CK_BYTE* old_pin, CK_ULONG old_bytes, CK_BYTE* new_pin, CK_ULONG new_bytes);
void get_session_info(Session& session, CK_SESSION_INFO* info);
void login(Session& session, CK_USER_TYPE user, CK_BYTE* pin, CK_ULONG pin_bytes);
void logout(Session& session);
void seed_random(Session& session, CK_BYTE* seed, CK_ULONG seed_bytes);
void generate_random(Session& session, CK_BYTE* random, CK_ULONG random_bytes);

// functions_object.cc
void create_object(Session& session, CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_HANDLE* made);
void copy_object(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_HANDLE* made);
void destroy_object(Session& session, CK_OBJECT_HANDLE object);
void get_object_size(Session& session, CK_OBJECT_HANDLE object, CK_ULONG* size);
void get_attribute_value(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count);
void set_attribute_value(Session& session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* list, CK_ULONG count);
void find_objects_init(Session& session, CK_ATTRIBUTE* list, CK_ULONG count);
void find_objects(Session& session, CK_OBJECT_HANDLE* objects, CK_ULONG room, CK_ULONG* count);
void find_objects_final(Session& session);

// functions_cipher.cc
void encrypt_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
void encrypt(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void encrypt_update(Session& session, CK_BYTE* part, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void encrypt_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes);
void decrypt_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
void decrypt(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void decrypt_update(Session& session, CK_BYTE* part, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void decrypt_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes);

// functions_sign.cc
void digest_init(Session& session, CK_MECHANISM* mechanism);
void digest_all(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void digest_update(Session& session, CK_BYTE* part, CK_ULONG bytes);
void digest_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes);
void sign_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
void sign(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* out, CK_ULONG* out_bytes);
void sign_update(Session& session, CK_BYTE* part, CK_ULONG bytes);
void sign_final(Session& session, CK_BYTE* out, CK_ULONG* out_bytes);
void verify_init(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key);
void verify(Session& session, CK_BYTE* data, CK_ULONG bytes, CK_BYTE* signature, CK_ULONG signature_bytes);
void verify_update(Session& session, CK_BYTE* part, CK_ULONG bytes);
void verify_final(Session& session, CK_BYTE* signature, CK_ULONG signature_bytes);

// functions_key.cc
void generate_key(Session& session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* list, CK_ULONG count,
                  CK_OBJECT_HANDLE* made);
void generate_key_pair(Session& session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* public_list, CK_ULONG public_count,
                       CK_ATTRIBUTE* private_list, CK_ULONG private_count, CK_OBJECT_HANDLE* public_key,
                       CK_OBJECT_HANDLE* private_key);
void wrap_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key, CK_BYTE* out,
              CK_ULONG* out_bytes);
void unwrap_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE unwrapping, CK_BYTE* wrapped,
                CK_ULONG wrapped_bytes, CK_ATTRIBUTE* list, CK_ULONG count, CK_OBJECT_HANDLE* made);
void derive_key(Session& session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE* list, CK_ULONG count,
                CK_OBJECT_HANDLE* made);

} // namespace hsmux::sim::own
