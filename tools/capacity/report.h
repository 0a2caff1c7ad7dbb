// A result as one HTML file that opens without a network: the page of tools/capacity/report.html with the document and
// Chart.js (MIT licence; its notice stays in the file) inside. Pure.
#pragma once

#include <string>

#include "tools/capacity/result.h"

namespace hsmux::capacity {

std::string html_report(const Json& document);

} // namespace hsmux::capacity
