// The names of mechanisms (CKM_) that hsmux uses or that its users meet. Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hsmux {

// "CKM_ECDSA", or "0x1041" for those that the table does not name.
std::string mechanism_name(unsigned long type);
std::optional<unsigned long> mechanism_named(std::string_view name);

} // namespace hsmux
