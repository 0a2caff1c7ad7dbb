// The PKCS#11 side of the simulator. Each entry of its function lists makes a Visit; what is then to be done stands in
// a third list, `work`: the backend's functions, with those that the simulator does itself put in.
#include <cstdlib>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/simhsm/visit.h"
#include "tests/simhsm/work.h"

namespace hsmux::sim {
namespace {

// The list of 3.0: the functions of 2.40 in the same order, then 24 more (PKCS#11 3.0 base, section 3.6).
struct FunctionList3 {
  CK_FUNCTION_LIST functions;
  std::array<void*, 24> functions_of_3;
};
// The places of the four that are more than CKR_FUNCTION_NOT_SUPPORTED.
enum PlaceOf3 : std::size_t { kGetInterfaceList, kGetInterface, kLoginUser, kSessionCancel };

struct Lists {
  CK_FUNCTION_LIST work{}, list{};
  FunctionList3 list3{};
};
Lists lists;

std::string_view setting(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

const CK_MECHANISM* mechanism_in() { return nullptr; }
template <typename First, typename... Rest> const CK_MECHANISM* mechanism_in(First first, Rest... rest) {
  if constexpr (std::is_same_v<First, CK_MECHANISM*>) {
    return first;
  } else {
    return mechanism_in(rest...);
  }
}

template <Target kTarget, typename First, typename... Rest> unsigned long target_of(First first, Rest...) {
  if constexpr (kTarget == Target::kNone) {
    return 0;
  } else {
    return first;
  }
}

// False where a buffer and its length come last, and there is no buffer.
template <typename... Args> bool with_buffer(Args... args) {
  constexpr std::size_t kArgs = sizeof...(Args);
  if constexpr (kArgs >= 2) {
    const std::tuple all(args...);
    using All = std::tuple<Args...>;
    if constexpr (std::is_same_v<std::tuple_element_t<kArgs - 2, All>, CK_BYTE*> &&
                  std::is_same_v<std::tuple_element_t<kArgs - 1, All>, CK_ULONG*>) {
      return std::get<kArgs - 2>(all) != nullptr;
    }
  }
  return true;
}

// `work` with the target as the backend knows it.
template <Target kTarget, typename Work, typename First, typename... Rest>
CK_RV visited(Function function, const Work& work, First first, Rest... rest) {
  const CK_MECHANISM* mechanism = mechanism_in(first, rest...);
  Visit visit(function, kTarget, target_of<kTarget>(first), mechanism, with_buffer(first, rest...));
  if (visit.refusal()) return visit.finish(*visit.refusal());
  if (mechanism != nullptr && Simulator::get().hidden(mechanism->mechanism)) {
    return visit.finish(CKR_MECHANISM_INVALID);
  }
  if constexpr (kTarget != Target::kNone) first = visit.backend_target();
  return visit.finish(work(first, rest...));
}

// The function of the list at kMember, made from the member's type.
template <Function kFunction, Target kTarget, auto kMember> struct Entry;
template <Function kFunction, Target kTarget, typename... Args, CK_RV (*CK_FUNCTION_LIST::*kMember)(Args...)>
struct Entry<kFunction, kTarget, kMember> {
  static CK_RV call(Args... args) { return visited<kTarget>(kFunction, lists.work.*kMember, args...); }
};

CK_RV enter_login_user(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR* pin, CK_ULONG pin_bytes,
                       CK_UTF8CHAR* name, CK_ULONG name_bytes) {
  return visited<Target::kSession>(Function::C_LoginUser, login_user, session, user, pin, pin_bytes, name, name_bytes);
}

CK_RV enter_session_cancel(CK_SESSION_HANDLE session, CK_FLAGS flags) {
  return visited<Target::kSession>(Function::C_SessionCancel, session_cancel, session, flags);
}

// For the functions of 3.0 that no caller of ours uses: message-based encryption and signing. Any arguments.
CK_RV not_supported() { return CKR_FUNCTION_NOT_SUPPORTED; }

CK_RV get_function_list(CK_FUNCTION_LIST** list) {
  if (list == nullptr) return CKR_ARGUMENTS_BAD;
  *list = &lists.list;
  return CKR_OK;
}

bool removed(std::string_view function) {
  std::string_view names = setting("HSMUX_SIM_NULL");
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    if (names.substr(0, comma) == function) return true;
    names = comma == std::string_view::npos ? std::string_view() : names.substr(comma + 1);
  }
  return false;
}

CK_FUNCTION_LIST make_work() {
  CK_FUNCTION_LIST work = Simulator::get().backend();
  work.C_GetFunctionList = get_function_list;
  add_token_work(work);
  add_session_work(work);
  add_object_work(work);
  add_operation_work(work);
  return work;
}

CK_FUNCTION_LIST make_list() {
  const CK_FUNCTION_LIST& backend = Simulator::get().backend();
  CK_FUNCTION_LIST list{};
  list.version = {2, 40};
  // What the backend lacks, the simulator lacks.
#define HSMUX_ENTRY(name, target)                                                                                      \
  if (backend.name != nullptr && !removed(#name)) {                                                                    \
    list.name = Entry<Function::name, Target::target, &CK_FUNCTION_LIST::name>::call;                                  \
  }
  HSMUX_PKCS11_FUNCTIONS(HSMUX_ENTRY)
#undef HSMUX_ENTRY
  return list;
}

template <typename Called> void* untyped(Called* function) { return reinterpret_cast<void*>(function); }

} // namespace
} // namespace hsmux::sim

using namespace hsmux::sim;

extern "C" {

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list);
__attribute__((visibility("default"))) CK_RV C_GetInterface(unsigned char* name, CK_VERSION* version,
                                                            hsmux::v3::Interface** result, CK_FLAGS flags);
__attribute__((visibility("default"))) CK_RV C_GetInterfaceList(hsmux::v3::Interface* list, CK_ULONG* count);
}

namespace {

bool make_lists() {
  static const bool made = [] {
    if (!Simulator::get().start()) return false;
    lists.work = make_work();
    lists.list = make_list();
    lists.list3.functions = lists.list;
    lists.list3.functions.version = {3, 0};
    lists.list3.functions_of_3.fill(untyped(not_supported));
    lists.list3.functions_of_3.at(kGetInterfaceList) = untyped(C_GetInterfaceList);
    lists.list3.functions_of_3.at(kGetInterface) = untyped(C_GetInterface);
    lists.list3.functions_of_3.at(kLoginUser) = untyped(enter_login_user);
    lists.list3.functions_of_3.at(kSessionCancel) = untyped(enter_session_cancel);
    return true;
  }();
  return made;
}

// The default interface comes first (PKCS#11 3.0, 5.4.4).
std::array<hsmux::v3::Interface, 2>& interfaces() {
  static std::array<char, 8> name{'P', 'K', 'C', 'S', ' ', '1', '1', 0};
  static std::array<hsmux::v3::Interface, 2> all{hsmux::v3::Interface{name.data(), &lists.list3, 0},
                                                 hsmux::v3::Interface{name.data(), &lists.list, 0}};
  return all;
}

} // namespace

extern "C" {

CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  if (!make_lists()) return CKR_GENERAL_ERROR;
  return Entry<Function::C_GetFunctionList, Target::kNone, &CK_FUNCTION_LIST::C_GetFunctionList>::call(list);
}

CK_RV C_GetInterface(unsigned char* name, CK_VERSION* version, hsmux::v3::Interface** result, CK_FLAGS flags) {
  const std::string_view mode = setting("HSMUX_SIM_INTERFACE");
  if (result == nullptr) return CKR_ARGUMENTS_BAD;
  if (mode == "none") return CKR_FUNCTION_NOT_SUPPORTED;
  if (!make_lists()) return CKR_GENERAL_ERROR;
  for (hsmux::v3::Interface& each : interfaces()) {
    const bool other_name =
        name != nullptr && std::string_view(reinterpret_cast<const char*>(name)) != each.interface_name;
    const CK_VERSION& has = *static_cast<const CK_VERSION*>(each.function_list);
    const bool other_version = version != nullptr && (version->major != has.major || version->minor != has.minor);
    if (other_name || other_version || (flags & ~each.flags) != 0) continue;
    static hsmux::v3::Interface without_list{each.interface_name, nullptr, 0};
    *result = mode == "null" ? &without_list : &each;
    return CKR_OK;
  }
  return CKR_FUNCTION_FAILED;
}

CK_RV C_GetInterfaceList(hsmux::v3::Interface* list, CK_ULONG* count) {
  if (count == nullptr) return CKR_ARGUMENTS_BAD;
  if (setting("HSMUX_SIM_INTERFACE") == "none") return CKR_FUNCTION_NOT_SUPPORTED;
  if (!make_lists()) return CKR_GENERAL_ERROR;
  const CK_ULONG room = std::exchange(*count, interfaces().size());
  if (list == nullptr) return CKR_OK;
  if (room < interfaces().size()) return CKR_BUFFER_TOO_SMALL;
  std::ranges::copy(interfaces(), list);
  return CKR_OK;
}
}

namespace {

// At unload or at the end of the program; the simulator is never destroyed, so it can still be read.
__attribute__((destructor)) void at_the_end() { Simulator::get().end(); }

} // namespace
