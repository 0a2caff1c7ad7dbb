// The PKCS#11 side of the shim. Each entry of its function lists counts the call and asks the rules; what is then to be
// done stands in a third list, `work`: the wrapped module's functions, with the few that the shim does itself put in.
#include <cstring>
#include <string_view>

#include "tests/shim/added_mechanisms.h"
#include "tests/shim/state.h"

namespace hsmux::shim {
namespace {

State& state() { return State::get(); }

// The list of 3.0: the functions of 2.40 in the same order, then 24 more (PKCS#11 3.0 base, section 3.6).
struct FunctionList3 {
  CK_FUNCTION_LIST functions;
  std::array<void*, 24> functions_of_3;
};

struct Lists {
  CK_FUNCTION_LIST work{}, list{};
  FunctionList3 list3{};
};
Lists lists;

std::string_view setting(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

// One call inside a session, from entry to exit.
class Visit {
public:
  Visit(Function function, Target target, unsigned long first)
      : refusal_(state().enter(function, target, first, session_)) {}
  ~Visit() {
    if (session_) state().leave(*session_);
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  [[nodiscard]] std::optional<CK_RV> refusal() const { return refusal_; }

private:
  std::optional<CK_SESSION_HANDLE> session_; // before refusal_: enter() sets it
  std::optional<CK_RV> refusal_;
};

bool uses_hidden() { return false; }
template <typename First, typename... Rest> bool uses_hidden(First first, Rest... rest) {
  if constexpr (std::is_same_v<First, CK_MECHANISM*>) {
    return first != nullptr && state().hidden(first->mechanism);
  } else {
    return uses_hidden(rest...);
  }
}

template <Target kTarget, typename First, typename... Rest> unsigned long target_of(First first, Rest...) {
  if constexpr (kTarget == Target::kNone) {
    return 0;
  } else {
    return first;
  }
}

// The function of the list at kMember, made from the member's type.
template <Function kFunction, Target kTarget, auto kMember> struct Entry;
template <Function kFunction, Target kTarget, typename... Args, CK_RV (*CK_FUNCTION_LIST::*kMember)(Args...)>
struct Entry<kFunction, kTarget, kMember> {
  static CK_RV call(Args... args) {
    const Visit visit(kFunction, kTarget, target_of<kTarget>(args...));
    if (visit.refusal()) return *visit.refusal();
    if (uses_hidden(args...)) return CKR_MECHANISM_INVALID;
    return (lists.work.*kMember)(args...);
  }
};

CK_RV initialize(void* init_args) {
  const std::string_view mode = setting("HSMUX_SHIM_INIT");
  if (mode == "cant_lock") return CKR_CANT_LOCK;
  if (mode == "hang") state().wait_released();

  auto* args = static_cast<CK_C_INITIALIZE_ARGS*>(init_args);
  CK_C_INITIALIZE_ARGS forwarded{};
  if (const char* expected = std::getenv("HSMUX_SHIM_RESERVED")) {
    if (args == nullptr || args->pReserved == nullptr ||
        std::strcmp(static_cast<const char*>(args->pReserved), expected) != 0) {
      return CKR_ARGUMENTS_BAD;
    }
    forwarded = *args;
    forwarded.pReserved = nullptr;
    args = &forwarded;
  }
  const CK_RV rv = state().wrapped().C_Initialize(args);
  return rv == CKR_OK && mode == "already" ? CKR_CRYPTOKI_ALREADY_INITIALIZED : rv;
}

CK_RV finalize(void* reserved) {
  const CK_RV rv = state().wrapped().C_Finalize(reserved);
  if (rv == CKR_OK) state().forget_sessions(HSMUX_SHIM_ANY_SLOT);
  return rv;
}

CK_RV get_function_list(CK_FUNCTION_LIST** list) {
  if (list == nullptr) return CKR_ARGUMENTS_BAD;
  *list = &lists.list;
  return CKR_OK;
}

CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  const CK_RV rv = state().wrapped().C_GetTokenInfo(slot, info);
  if (rv == CKR_OK) state().change_token_info(slot, *info);
  return rv;
}

CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
  return state().open_session(slot, flags, application, notify, session);
}

CK_RV close_session(CK_SESSION_HANDLE session) {
  const CK_RV rv = state().wrapped().C_CloseSession(session);
  if (rv == CKR_OK) state().forget_session(session);
  return rv;
}

CK_RV close_all_sessions(CK_SLOT_ID slot) {
  const CK_RV rv = state().wrapped().C_CloseAllSessions(slot);
  if (rv == CKR_OK) state().forget_sessions(slot);
  return rv;
}

using Operation = CK_RV (*)(CK_SESSION_HANDLE, CK_BYTE*, CK_ULONG, CK_BYTE*, CK_ULONG*);

// An operation with an output: size queries are noted, and the rules may change what comes out.
template <Function kFunction, Operation kWork>
CK_RV with_output(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  if (out == nullptr || out_bytes == nullptr) {
    state().note_violation(std::string(name_of(kFunction)) + " without a buffer (size query)");
    return kWork(session, in, in_bytes, out, out_bytes);
  }
  const CK_ULONG capacity = *out_bytes;
  const CK_RV rv = kWork(session, in, in_bytes, out, out_bytes);
  if (rv == CKR_OK) state().change_output(kFunction, session, out, capacity, out_bytes);
  return rv;
}

CK_RV encrypt(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_bytes, CK_BYTE* out, CK_ULONG* out_bytes) {
  return state().wrapped().C_Encrypt(session, in, in_bytes, out, out_bytes);
}

CK_FUNCTION_LIST make_work() {
  CK_FUNCTION_LIST work = state().wrapped();
  work.C_Initialize = initialize;
  work.C_Finalize = finalize;
  work.C_GetFunctionList = get_function_list;
  work.C_GetTokenInfo = get_token_info;
  work.C_GetMechanismList = get_mechanism_list;
  work.C_GetMechanismInfo = get_mechanism_info;
  work.C_OpenSession = open_session;
  work.C_CloseSession = close_session;
  work.C_CloseAllSessions = close_all_sessions;
  work.C_SignInit = sign_init;
  work.C_Sign = with_output<Function::C_Sign, sign>;
  work.C_DecryptInit = decrypt_init;
  work.C_Decrypt = with_output<Function::C_Decrypt, decrypt>;
  work.C_Encrypt = with_output<Function::C_Encrypt, encrypt>;
  return work;
}

bool removed(std::string_view function) {
  std::string_view names = setting("HSMUX_SHIM_NULL");
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    if (names.substr(0, comma) == function) return true;
    names = comma == std::string_view::npos ? std::string_view() : names.substr(comma + 1);
  }
  return false;
}

CK_FUNCTION_LIST make_list() {
  CK_FUNCTION_LIST list{};
  list.version = {2, 40};
  // What the wrapped module lacks, the shim lacks.
#define HSMUX_ENTRY(name, target)                                                                                      \
  if (lists.work.name != nullptr && !removed(#name)) {                                                                 \
    list.name = Entry<Function::name, Target::target, &CK_FUNCTION_LIST::name>::call;                                  \
  }
  HSMUX_PKCS11_FUNCTIONS(HSMUX_ENTRY)
#undef HSMUX_ENTRY
  return list;
}

bool make_lists() {
  static const bool made = [] {
    if (!state().load()) return false;
    lists.work = make_work();
    lists.list = make_list();
    lists.list3.functions = lists.list;
    lists.list3.functions.version = {3, 0};
    return true;
  }();
  return made;
}

} // namespace
} // namespace hsmux::shim

using namespace hsmux::shim;

extern "C" {

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  if (!make_lists()) return CKR_GENERAL_ERROR;
  return Entry<Function::C_GetFunctionList, Target::kNone, &CK_FUNCTION_LIST::C_GetFunctionList>::call(list);
}

__attribute__((visibility("default"))) CK_RV C_GetInterface(unsigned char* name, CK_VERSION* version,
                                                            hsmux::v3::Interface** result, CK_FLAGS flags) {
  static std::array<char, 8> interface_name{'P', 'K', 'C', 'S', ' ', '1', '1', 0};
  static hsmux::v3::Interface with_list{interface_name.data(), &lists.list3, 0};
  static hsmux::v3::Interface without_list{interface_name.data(), nullptr, 0};
  const std::string_view mode = setting("HSMUX_SHIM_INTERFACE");
  if (result == nullptr) return CKR_ARGUMENTS_BAD;
  if (mode == "none") return CKR_FUNCTION_NOT_SUPPORTED;
  if (!make_lists()) return CKR_GENERAL_ERROR;
  const bool other_name =
      name != nullptr && std::string_view(reinterpret_cast<const char*>(name)) != interface_name.data();
  const bool other_version = version != nullptr && (version->major != 3 || version->minor != 0);
  if (other_name || other_version || flags != 0) return CKR_FUNCTION_FAILED;
  *result = mode == "null" ? &without_list : &with_list;
  return CKR_OK;
}
}

namespace {

// At unload or at the end of the program; State is never destroyed, so it can still be read.
__attribute__((destructor)) void write_statistics() { State::get().write_statistics(); }

} // namespace
