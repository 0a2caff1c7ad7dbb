// Where each key of a configuration stood, so that an error found later still names file, line and key. A value.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>

#include "slots/result.h"

namespace hsmux {

class ConfigPlaces {
public:
  // `name` stands for the file in errors.
  explicit ConfigPlaces(std::string name) : name_(std::move(name)) {}

  // `key` is a full path such as "slot[2].sessions_max"; [2] counts from 1. `line` 0 = unknown.
  void note(std::string key, std::uint32_t line) { lines_.insert_or_assign(std::move(key), line); }

  // kInvalidConfig "hsmux.toml:12: slot.sessions_max: <reason>". A key without a line takes that of the table it is in;
  // without any line (a program filled the configuration in) the error keeps the number: "slot[2].sessions_max".
  [[nodiscard]] std::unexpected<Error> refuse(std::string_view key, std::string_view reason) const;

private:
  std::string name_;
  std::map<std::string, std::uint32_t, std::less<>> lines_;
};

// `text` as an error may show it: without control characters, at most 64 bytes. Never for what could be a PIN.
std::string shown(std::string_view text);

} // namespace hsmux
