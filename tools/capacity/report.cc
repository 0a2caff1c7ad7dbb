#include "tools/capacity/report.h"

#include <string_view>

// The files become part of the program as they are: nothing has to be found at run time.
asm(".section .rodata\n"
    "hsmux_capacity_page: .incbin \"" HSMUX_CAPACITY_PAGE "\"\n"
    "hsmux_capacity_page_end: .byte 0\n"
    "hsmux_capacity_chart: .incbin \"" HSMUX_CHART_JS "\"\n"
    "hsmux_capacity_chart_end: .byte 0\n"
    ".previous\n");
extern "C" {
extern const char hsmux_capacity_page[], hsmux_capacity_page_end[];
extern const char hsmux_capacity_chart[], hsmux_capacity_chart_end[];
}

namespace hsmux::capacity {
namespace {

void without_histograms(Json& value) {
  if (value.is_object()) value.erase("histogram");
  if (value.is_structured()) {
    for (Json& each : value) without_histograms(each);
  }
}

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  const std::size_t place = text.find(what);
  if (place == std::string_view::npos) return std::string(text);
  return std::string(text.substr(0, place)).append(by).append(text.substr(place + what.size()));
}

} // namespace

std::string html_report(const Json& document) {
  Json small = document;
  without_histograms(small);
  // A token's label may hold anything: no text ends the element that it stands in.
  std::string data;
  for (const char each : small.dump(-1, ' ', true, Json::error_handler_t::replace)) {
    if (each == '<') {
      data += "\\u003c";
    } else {
      data += each;
    }
  }
  const std::string_view page(hsmux_capacity_page,
                              static_cast<std::size_t>(hsmux_capacity_page_end - hsmux_capacity_page));
  const std::string_view chart(hsmux_capacity_chart,
                               static_cast<std::size_t>(hsmux_capacity_chart_end - hsmux_capacity_chart));
  // The data last: it may hold the other mark.
  return replaced(replaced(page, "@CHART_JS@", chart), "@DATA@", data);
}

} // namespace hsmux::capacity
