// One session and its active operations, at most one of each kind. Owned by the SessionTable and by the calls that run
// in it; all but what is const or atomic belongs to the one thread that uses the session.
#pragma once

#include "tests/simhsm/own/cipher.h"
#include "tests/simhsm/own/signing.h"
#include "tests/simhsm/own/token.h"

namespace hsmux::sim::own {

// An operation that is active, with what decides whether it may still go on.
template <class Work> struct Active {
  Work work;
  std::shared_ptr<const Object> object;
  std::uint64_t logouts = 0;        // of the token, when it began
  bool awaits_confirmation = false; // CKA_ALWAYS_AUTHENTICATE
  bool in_parts = false;            // an update came
};

struct Digesting {
  const EVP_MD* digest = nullptr;
  DigestContext context;
  bool in_parts = false;
};

struct Finding {
  std::vector<CK_OBJECT_HANDLE> found;
  std::size_t told = 0;
};

class Session {
public:
  Session(CK_SESSION_HANDLE handle, Token& token, bool read_write)
      : handle_(handle), token_(token), read_write_(read_write) {}

  [[nodiscard]] CK_SESSION_HANDLE handle() const { return handle_; }
  [[nodiscard]] Token& token() const { return token_; }
  [[nodiscard]] bool read_write() const { return read_write_; }
  [[nodiscard]] CK_SESSION_INFO info() const;

  // Any thread, once: what the session leaves behind goes. The thread that uses it may still do so.
  void close();
  [[nodiscard]] const std::atomic<bool>& closed() const { return closed_; }

  // Refuses with `otherwise` what is no visible object.
  [[nodiscard]] std::shared_ptr<const Object> object(CK_OBJECT_HANDLE handle, CK_RV otherwise) const;
  // The key for an Init: refuses what the table or the key's attributes do not allow.
  [[nodiscard]] std::shared_ptr<const Object> key_for(const MechanismRow& row, CK_OBJECT_HANDLE handle,
                                                      CK_OBJECT_CLASS pair_class, CK_ATTRIBUTE_TYPE usage) const;
  // New objects, all or none.
  std::vector<CK_OBJECT_HANDLE> insert(std::vector<Object> objects) const;
  // May this session make, change or destroy `object`?
  void check_writable(const Object& object) const;
  [[nodiscard]] bool by_so() const { return token_.login() == Login::kOfficer; }

  std::optional<Active<Signing>> signing, verifying;
  std::optional<Active<Cipher>> encrypting, decrypting;
  std::optional<Digesting> digesting;
  std::optional<Finding> finding;

private:
  const CK_SESSION_HANDLE handle_;
  Token& token_;
  const bool read_write_;
  std::atomic<bool> closed_{false};
};

// What every use of a key checks. Refuses with the CK_RVs of C_SignInit and its like.
void check_key_use(const Object& object, const MechanismRow& row, CK_OBJECT_CLASS pair_class, CK_ATTRIBUTE_TYPE usage);

} // namespace hsmux::sim::own
