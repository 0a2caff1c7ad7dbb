// What changed between two results, and whether more than chance did it. Pure.
#pragma once

#include <string>
#include <vector>

#include "tools/capacity/result.h"
#include "tools/capacity/statistics.h"

namespace hsmux::capacity {

struct ComparedFigure {
  std::string name, unit; // "saturated operations", "/s"
  Comparison comparison;
  bool more_is_better = true;
  [[nodiscard]] bool worse() const { return comparison.significant && (comparison.change_share < 0) == more_is_better; }
};

struct ComparedResults {
  std::vector<std::string> differences; // of settings, machine, module and tokens
  std::vector<ComparedFigure> figures;
  [[nodiscard]] bool any_worse() const;
};

ComparedResults compare_results(const Json& before, const Json& after);
std::string compared_text(const ComparedResults& results);
Json compared_json(const ComparedResults& results);

} // namespace hsmux::capacity
