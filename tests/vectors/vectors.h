// Reads the known answers of this folder: lines of "name = value", most values in hex, that hold for all later records
// until they are given anew; a line "result = valid" or "result = invalid" ends a record, its comment says what it is
// about. README.md says where they come from.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mechanisms/host_crypto.h"

namespace hsmux {

class Vector {
public:
  std::map<std::string, std::string, std::less<>> values;
  std::string comment;

  [[nodiscard]] const std::string& text(std::string_view name) const {
    static const std::string kNone;
    const auto found = values.find(name);
    return found == values.end() ? kNone : found->second;
  }
  [[nodiscard]] Bytes bytes(std::string_view name) const { return from_hex(text(name)).value(); }
  [[nodiscard]] bool valid() const { return text("result") == "valid"; }
};
inline void PrintTo(const Vector& vector, std::ostream* out) { *out << vector.comment; }

// Of a file beside this one. None is a failure of the test.
inline std::vector<Vector> read_vectors(std::string_view file) {
  std::ifstream text(std::filesystem::path(__FILE__).parent_path() / file);
  std::vector<Vector> all;
  Vector now;
  for (std::string line; std::getline(text, line);) {
    const std::size_t hash = line.find('#');
    now.comment = hash == std::string::npos ? "" : line.substr(hash);
    line.resize(std::min(hash, line.find_last_not_of(' ', hash - 1) + 1));
    const std::size_t equals = line.find(" =");
    if (equals == std::string::npos) continue;
    now.values[line.substr(0, equals)] = line.substr(std::min(equals + 3, line.size()));
    if (line.starts_with("result")) all.push_back(now);
  }
  EXPECT_FALSE(all.empty()) << file;
  return all;
}

} // namespace hsmux
