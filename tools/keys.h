// What the subcommands of `hsmux keys` have in common. Main thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/command.h"

namespace hsmux {

void add_keys_place(CLI::App& keys, Program& program); // replicate, import
void add_keys_audit(CLI::App& keys, Program& program); // audit

std::vector<std::string> purpose_names(const KeyPurposes& purposes);
nlohmann::json key_json(const KeyInfo& key);
// --slots: "all", "quorum:N", or slot names with commas between; empty: nullopt.
Result<std::optional<PlacementConfig>> placement_of(const std::string& text);
// kConflict when there is a key of this name.
Status refuse_taken_name(Engine& engine, const Program& program, const std::string& name);

} // namespace hsmux
