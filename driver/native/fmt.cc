// The parts of {fmt} that its headers leave to libfmt.so, which no other system can be asked to have in this version.
#include <fmt/format-inl.h>

template FMT_API fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl(fmt::detail::locale_ref);
template FMT_API char fmt::detail::decimal_point_impl(fmt::detail::locale_ref);
