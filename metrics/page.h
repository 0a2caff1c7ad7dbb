// The files of the status page (metrics/page/), built in. Any thread.
#pragma once

#include <optional>
#include <string_view>

namespace hsmux::metrics {

struct PageAsset {
  std::string_view type, content;
};
// nullopt: the page has no such path.
std::optional<PageAsset> page_asset(std::string_view path);

} // namespace hsmux::metrics
