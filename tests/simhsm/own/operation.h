// What all operations of a session have in common: when they may begin and go on, when they end, and how their output
// is handed over (PKCS#11 2.40, 5.2). Used by the thread that uses the session.
#pragma once

#include <algorithm>
#include <utility>

#include "tests/simhsm/own/refusal.h"
#include "tests/simhsm/own/session.h"

namespace hsmux::sim::own {

// Input of the caller's; NULL is allowed for nothing.
inline View input(const CK_BYTE* data, CK_ULONG bytes) {
  require(data != nullptr || bytes == 0, CKR_ARGUMENTS_BAD);
  return {data, bytes};
}

// Ends an operation at the end of the scope, whatever happens there, unless it is kept.
template <class Operation> class Ending {
public:
  explicit Ending(std::optional<Operation>& operation) : operation_(&operation) {
    require(operation.has_value(), CKR_OPERATION_NOT_INITIALIZED);
  }
  ~Ending() {
    if (operation_ != nullptr) operation_->reset();
  }
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;

  Operation& operator*() const { return **operation_; }
  Operation* operator->() const { return &**operation_; }
  void keep() { operation_ = nullptr; }

private:
  std::optional<Operation>* operation_;
};

// May the operation go on? One that waits for C_Login with CKU_CONTEXT_SPECIFIC is kept.
template <class Work> void check_going_on(const Session& session, Ending<Active<Work>>& ending) {
  if (ending->awaits_confirmation) {
    ending.keep();
    refuse(CKR_USER_NOT_LOGGED_IN);
  }
  // Its key is not to be used after the logout that took it away.
  const bool gone = ending->object->is_private() && ending->logouts != session.token().logouts();
  require(!gone, CKR_USER_NOT_LOGGED_IN);
}

// False when the caller asks for the size only. Refuses with CKR_BUFFER_TOO_SMALL. Both keep the operation.
template <class Operation>
bool has_room(Ending<Operation>& ending, const CK_BYTE* out, CK_ULONG* out_bytes, std::size_t bytes) {
  require(out_bytes != nullptr, CKR_ARGUMENTS_BAD);
  if (out != nullptr && *out_bytes >= bytes) return true;
  *out_bytes = bytes;
  ending.keep();
  require(out == nullptr, CKR_BUFFER_TOO_SMALL);
  return false;
}

inline void hand_over(View bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  std::ranges::copy(bytes, out);
  *out_bytes = bytes.size();
}

// The answer to a one-shot operation: the one of before, where the HSM is set so, or `compute`d.
template <class Work, class Compute>
void answer_once(const Session& session, Ending<Active<Work>>& ending, CK_FLAGS operation, std::size_t input_bytes,
                 CK_BYTE* out, CK_ULONG* out_bytes, Compute compute) {
  const auto answer = [&](const Bytes& bytes) {
    if (has_room(ending, out, out_bytes, bytes.size())) hand_over(bytes, out, out_bytes);
  };
  if (!session.token().policy().canned) return answer(compute());
  CannedAnswers& canned = *ending->object->canned;
  const CannedAnswers::Question question{operation, ending->work.mechanism(), input_bytes};
  if (const Bytes* bytes = canned.find(question)) return answer(*bytes);
  const Bytes bytes = compute();
  canned.add(question, bytes);
  answer(bytes);
}

// An Init function. `make` gets the row of the table and the key and makes the Work.
template <class Work, class Make>
void begin(Session& session, std::optional<Active<Work>>& operation, const CK_MECHANISM* mechanism,
           CK_OBJECT_HANDLE key, CK_FLAGS flag, CK_OBJECT_CLASS pair_class, CK_ATTRIBUTE_TYPE usage, Make make) {
  // PKCS#11 3.0, 5.10 and its like: this is how to cancel.
  if (mechanism == nullptr && operation) return operation.reset();
  const MechanismRow& row = mechanism_row(mechanism, flag);
  require(!operation, CKR_OPERATION_ACTIVE);
  const std::uint64_t logouts = session.token().logouts(); // before the key is found
  auto object = session.key_for(row, key, pair_class, usage);
  const bool confirm = pair_class == CKO_PRIVATE_KEY && object->attributes.flag(CKA_ALWAYS_AUTHENTICATE);
  Work work = make(row, object);
  operation.emplace(std::move(work), std::move(object), logouts, confirm, false);
}

} // namespace hsmux::sim::own
