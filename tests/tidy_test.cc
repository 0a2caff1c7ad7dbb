// The house rules that a machine can check, read from the sources (CONTRIBUTING.md, "How we write").
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "mechanisms/quirks.h"
#include "mechanisms/spec.h"
#include "metrics/table.h"
#include "slots/disposition.h"
#include "slots/mechanism_name.h"

namespace hsmux {
namespace {

namespace fs = std::filesystem;
const fs::path kRoot = HSMUX_SOURCE_DIR;

struct Source {
  std::string path; // relative to the root
  std::vector<std::string> lines;
};

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<Source> sources(const std::vector<std::string>& folders) {
  std::vector<Source> found;
  for (const std::string& folder : folders) {
    if (!fs::exists(kRoot / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string extension = entry.path().extension();
      static const std::set<std::string> kCode{".cc", ".h", ".c", ".java", ".scala"};
      if (!kCode.contains(extension)) continue;
      Source source{fs::relative(entry.path(), kRoot), {}};
      std::istringstream text(read(entry.path()));
      for (std::string line; std::getline(text, line);) source.lines.push_back(line);
      found.push_back(std::move(source));
    }
  }
  EXPECT_FALSE(found.empty());
  return found;
}

const std::vector<std::string> kProduct{"metrics", "slots", "mechanisms", "engine", "tools", "driver"};
const std::vector<std::string> kEverything{"metrics", "slots", "mechanisms", "engine", "tools", "driver", "tests"};

template <class Check> void each_line(const std::vector<Source>& files, Check check) {
  for (const Source& file : files) {
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
      const std::string complaint = check(file, file.lines[i]);
      if (!complaint.empty()) ADD_FAILURE() << fmt::format("{}:{}: {}", file.path, i + 1, complaint);
    }
  }
}

// The same lines without comments and without what stands in quotes.
Source code_of(const Source& file) {
  static const std::regex strings(R"("([^"\\]|\\.)*")"), closed_comments(R"(/\*.*?\*/)");
  Source code{file.path, {}};
  bool in_comment = false;
  for (std::string line : file.lines) {
    if (in_comment) {
      const std::size_t end = line.find("*/");
      in_comment = end == std::string::npos;
      line = in_comment ? "" : line.substr(end + 2);
    }
    line = std::regex_replace(std::regex_replace(line, strings, "\"\""), closed_comments, "");
    line = line.substr(0, line.find("//"));
    const std::size_t begin = line.find("/*");
    in_comment = in_comment || begin != std::string::npos;
    code.lines.push_back(line.substr(0, begin));
  }
  return code;
}

TEST(Tidy, IncludesOnlyPointToLowerLayers) {
  const std::map<std::string, std::vector<std::string>> allowed{
      {"metrics", {"metrics", "engine/hsmux.h"}},
      {"slots", {"metrics/events.h", "slots"}},
      {"mechanisms", {"metrics/events.h", "slots", "mechanisms"}},
      {"engine", {"metrics/events.h", "metrics/address.h", "slots", "mechanisms", "engine"}},
      {"tools", {"metrics", "slots", "mechanisms", "engine", "tools"}},
      {"driver", {"metrics", "engine", "driver"}},
  };
  static const std::regex include(R"re(^#include "(([a-z_]+)/[^"]+)")re");
  each_line(sources(kProduct), [&](const Source& file, const std::string& line) -> std::string {
    std::smatch match;
    if (!std::regex_search(line, match, include)) {
      return line.starts_with("#include \"") ? "includes of ours are \"folder/file.h\"" : "";
    }
    if (file.path == "metrics/events.h" || file.path == "metrics/address.h")
      return "the bottom layer includes nothing of ours";
    const auto& lower = allowed.at(file.path.substr(0, file.path.find('/')));
    const bool fine = std::ranges::any_of(
        lower, [&](const std::string& entry) { return entry == match[1].str() || entry == match[2].str(); });
    return fine ? "" : "includes \"" + match[1].str() + "\" against the direction of the layers";
  });
}

TEST(Tidy, OneHeaderIncludesThePkcs11Declarations) {
  const std::vector<std::string> uri_readers{"slots/slot_selector.cc", "mechanisms/key_name.cc"};
  each_line(sources(kProduct), [&](const Source& file, const std::string& line) -> std::string {
    if (line.find("<p11-kit/") == std::string::npos || line[0] != '#') return "";
    if (line.find("<p11-kit/pkcs11.h>") != std::string::npos && file.path == "slots/pkcs11.h") return "";
    const bool uri = line.find("<p11-kit/uri.h>") != std::string::npos;
    if (uri && std::ranges::find(uri_readers, file.path) != uri_readers.end()) return "";
    return "only slots/pkcs11.h includes p11-kit's declarations";
  });
}

TEST(Tidy, NoPkcs11NamesAboveMechanisms) {
  static const std::regex name(R"(\b(CK[ARMFOUSKC]?_[A-Z0-9]|C_[A-Z][a-z]+[A-Za-z]*\())");
  std::vector<Source> files;
  for (const Source& file : sources({"engine", "tools", "driver"})) files.push_back(code_of(file));
  each_line(files, [&](const Source&, const std::string& line) -> std::string {
    std::smatch match;
    return std::regex_search(line, match, name) ? "PKCS#11 name above mechanisms/: " + match[0].str() : "";
  });
}

TEST(Tidy, NoFileIsLongerThanSixHundredLines) {
  for (const Source& file : sources(kEverything)) EXPECT_LE(file.lines.size(), 600U) << file.path;
}

TEST(Tidy, NoLineIsLongerThanATableNeeds) {
  each_line(sources(kEverything), [](const Source&, const std::string& line) -> std::string {
    // Characters, not bytes: continuation bytes of UTF-8 do not count. Code has 120 columns (.clang-format); tables
    // that are better by hand may be wider.
    const auto columns = std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; });
    return columns > 165 ? fmt::format("{} columns", columns) : "";
  });
}

TEST(Tidy, NoFileHasANameThatSaysNothing) {
  static const std::regex banned(R"((^|/)(util|utils|helper|helpers|common|misc)(_test)?\.(h|cc|c)$)");
  for (const Source& file : sources(kEverything)) EXPECT_FALSE(std::regex_search(file.path, banned)) << file.path;
}

TEST(Tidy, NothingIsLeftForLater) {
  static const std::regex marks(std::string(R"(\b(TO)") + R"(DO|FIX)" + R"(ME|XX)" + R"(X|HA)" + R"(CK)\b)");
  each_line(sources(kEverything), [](const Source&, const std::string& line) -> std::string {
    return std::regex_search(line, marks) ? "a mark for later: do it or file it" : "";
  });
}

TEST(Tidy, TestsDoNotSleep) {
  static const std::regex waiting(std::string(R"(sleep_)") + R"(for|sleep_)" + R"(until|\bu?sle)" + R"(ep\()");
  each_line(sources({"tests"}), [](const Source& file, const std::string& line) -> std::string {
    // The simulator's delays are what it is for; how long its measurement lasts is said by its user.
    if (file.path == "tests/simhsm/visit.cc" || file.path == "tests/simhsm/capacity.cc") return "";
    return std::regex_search(line, waiting) ? "tests wait for conditions, not for time" : "";
  });
}

TEST(Tidy, EveryHeaderOpensWithWhatItIs) {
  for (const Source& file : sources(kProduct)) {
    if (!file.path.ends_with(".h")) continue;
    ASSERT_FALSE(file.lines.empty()) << file.path;
    EXPECT_TRUE(file.lines[0].starts_with("//") || file.lines[0].starts_with("/*")) << file.path;
  }
}

TEST(Tidy, EveryDecisionSaysContextChoiceAndWhatWouldChangeIt) {
  std::set<std::string> numbers;
  for (const auto& entry : fs::directory_iterator(kRoot / "docs/decisions")) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(numbers.insert(name.substr(0, 4)).second) << name << ": another decision has this number";
    const std::string text = read(entry.path());
    EXPECT_TRUE(text.starts_with("# " + name.substr(0, 4) + " ")) << name << " does not open with its number";
    std::size_t at = 0;
    for (const char* heading : {"\n## Context\n", "\n## Choice\n", "\n## What would change it\n"}) {
      at = text.find(heading, at);
      ASSERT_NE(at, std::string::npos) << name << " lacks, in this order," << heading;
    }
  }
  EXPECT_FALSE(numbers.empty());
}

const char* retry_name(Retry retry) {
  switch (retry) {
  case Retry::kNever: return "never";
  case Retry::kElsewhere: return "elsewhere";
  case Retry::kLater: return "later";
  }
  return "";
}

const char* slot_fate_name(SlotFate fate) {
  switch (fate) {
  case SlotFate::kNothing: return "nothing";
  case SlotFate::kSuccess: return "success";
  case SlotFate::kCanary: return "canary";
  case SlotFate::kProbeAnchor: return "probe the anchor";
  case SlotFate::kLogin: return "login lost";
  case SlotFate::kBusy: return "busy";
  case SlotFate::kFailure: return "failure";
  case SlotFate::kLost: return "lost";
  case SlotFate::kModuleLost: return "module lost";
  case SlotFate::kLatch: return "latch";
  }
  return "";
}

std::string document_row(const Disposition& row) {
  return fmt::format("| {} | {:#x} | {} | {} | {} | {} | {} |", row.name, row.rv, error_kind_name(row.kind),
                     retry_name(row.retry), row.session == SessionFate::kKeep ? "keep" : "discard",
                     slot_fate_name(row.slot), row.advice);
}

std::set<std::string> document_rows(const std::string& beginning, const char* document = "docs/errors.md") {
  std::set<std::string> rows;
  std::istringstream text(read(kRoot / document));
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(beginning)) rows.insert(line);
  }
  return rows;
}

TEST(Tidy, DocsErrorsHasTheRowsOfTheDispositionTableAndNoOthers) {
  std::set<std::string> left_over = document_rows("| CKR_");
  for (const Disposition& row : disposition_table()) {
    EXPECT_EQ(left_over.erase(document_row(row)), 1U) << "docs/errors.md lacks this row:\n" << document_row(row);
  }
  for (const std::string& row : left_over) ADD_FAILURE() << "docs/errors.md has a row that no code has:\n" << row;
}

// The rows under this heading of a table are these, in this order. With HSMUX_WRITE_DOCS=1 they are written instead.
void check_table(const char* document, const std::string& heading, const std::vector<std::string>& rows) {
  const std::string text = read(kRoot / document);
  std::size_t begin = text.find(heading + "\n|---");
  ASSERT_NE(begin, std::string::npos) << document << " has no table with the heading\n" << heading;
  begin = text.find('\n', begin + heading.size() + 1) + 1;
  std::size_t end = begin;
  while (text.compare(end, 1, "|") == 0) end = text.find('\n', end) + 1;
  const std::string wanted = fmt::format("{}\n", fmt::join(rows, "\n"));
  if (getenv("HSMUX_WRITE_DOCS") != nullptr) {
    std::ofstream(kRoot / document) << text.substr(0, begin) + wanted + text.substr(end);
    return;
  }
  EXPECT_EQ(text.substr(begin, end - begin), wanted)
      << document << " is not what the code says: HSMUX_WRITE_DOCS=1 hsmux_tidy_test writes it";
}

std::string document_row(const AlgorithmSpec& spec) {
  std::vector<std::string_view> does, recipes;
  if (spec.signs) does.emplace_back("sign, verify");
  if (spec.encrypts) does.emplace_back(spec.decrypts ? "encrypt, decrypt" : "encrypt");
  for (const RecipeSpec& recipe : spec.recipes) recipes.push_back(recipe.name);
  std::vector<std::uint32_t> bits;
  for (std::uint32_t each = spec.key_bits_min; each <= spec.key_bits_max; each += spec.key_bits_step) {
    bits.push_back(each);
  }
  const std::string most = spec.algorithm == Algorithm::kRsaOaepSha256 ? "modulus - 66 bytes"
                                                                       : fmt::format("{} bytes", spec.input_bytes_max);
  return fmt::format("| {} | {} | {} | {} | {} | {} |", spec.name, key_kind_name(spec.key), fmt::join(bits, ", "),
                     fmt::join(does, ", "), most, fmt::join(recipes, ", "));
}

TEST(Tidy, DocsAlgorithmsHasTheRowsOfTheSpecTable) {
  std::vector<std::string> rows;
  for (const AlgorithmSpec& spec : spec_table()) rows.push_back(document_row(spec));
  check_table("docs/algorithms.md", "| name | key | bits | does | input at most | recipes, in order of preference |",
              rows);
}

std::string document_row(const Quirks& row) {
  std::vector<std::string> known_by;
  if (!row.manufacturer.empty()) known_by.push_back(fmt::format("manufacturer `{}`", row.manufacturer));
  if (!row.model.empty()) known_by.push_back(fmt::format("model `{}`", row.model));
  if (!row.module.empty()) known_by.push_back(fmt::format("module `{}`", row.module));
  std::vector<std::string> evidence;
  std::istringstream links{std::string(row.evidence)};
  for (std::string link; links >> link;) evidence.push_back(fmt::format("<{}>", link));
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} |", row.name,
                     known_by.empty() ? "every token" : fmt::format("{}", fmt::join(known_by, ", ")),
                     row.gcm_iv == GcmIv::kHost ? "host" : "token",
                     row.edwards_point == EdwardsPoint::kRaw ? "raw" : "OCTET STRING",
                     row.edwards_params == EdwardsParams::kOid ? "OID" : "name",
                     row.key_wrap == 0 ? "none" : mechanism_name(row.key_wrap),
                     evidence.empty() ? "none found" : fmt::format("{}", fmt::join(evidence, " ")));
}

TEST(Tidy, DocsVendorsHasTheRowsOfTheQuirksTable) {
  std::vector<std::string> rows;
  for (const Quirks& row : quirks_table()) rows.push_back(document_row(row));
  check_table(
      "docs/vendors.md",
      "| row | known by the beginning of | GCM IV by | Edwards point | Edwards parameters | RFC 5649 | evidence |",
      rows);
}

TEST(Tidy, DocsMetricsHasTheRowsOfTheMetricsTable) {
  std::vector<std::string> rows;
  for (const metrics::MetricRow& row : metrics::kTable) {
    std::string labels(row.labels);
    for (std::size_t at = 0; (at = labels.find(',', at)) != std::string::npos; at += 2) labels.insert(at + 1, " ");
    rows.push_back(fmt::format("| `{}` | {} | {} | {} |", row.name, metrics::type_name(row.type), labels, row.help));
  }
  check_table("docs/metrics.md", "| metric | type | labels | meaning |", rows);
}

// What monitoring asks for exists: names of metrics, with the endings that Prometheus adds to a histogram's.
TEST(Tidy, EveryMetricThatIsNamedIsInTheTable) {
  std::set<std::string> known;
  for (const metrics::MetricRow& row : metrics::kTable) {
    known.insert(std::string(row.name));
    if (row.type != metrics::Type::kHistogram) continue;
    for (const char* ending : {"_bucket", "_sum", "_count"}) known.insert(std::string(row.name) + ending);
  }
  static const std::regex name(R"(\bhsmux_[a-z_]+\b)");
  std::size_t found = 0;
  for (const char* folder : {"deploy", "docs"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      const std::string file = entry.path().filename();
      const bool of_metrics = folder == std::string("deploy") || file == "metrics.md" || file == "operations.md";
      if (!entry.is_regular_file() || !of_metrics) continue;
      const std::string text = read(entry.path());
      for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at) {
        const std::string word = at->str();
        if (word.starts_with("hsmux_metrics") || word == "hsmux_tidy_test") continue; // a library and a program
        ++found;
        EXPECT_TRUE(known.contains(word))
            << entry.path() << " names " << word << ", which metrics/table.h does not have";
      }
    }
  }
  EXPECT_GT(found, 50U);
}

TEST(Tidy, DocsOperationsSaysWhatToDoForEveryAlertAndState) {
  const std::string rules = read(kRoot / "deploy/prometheus/hsmux-rules.yml");
  const std::string tests = read(kRoot / "deploy/prometheus/hsmux-rules-test.yml");
  static const std::regex alert(R"(alert: (\w+))");
  std::set<std::string> alerts;
  for (std::sregex_iterator at(rules.begin(), rules.end(), alert), end; at != end; ++at) alerts.insert((*at)[1]);
  EXPECT_GT(alerts.size(), 10U);
  for (const std::string& one : alerts) {
    EXPECT_EQ(document_rows(fmt::format("| {} |", one), "docs/operations.md").size(), 1U)
        << "docs/operations.md does not say what to do for " << one;
    EXPECT_NE(tests.find("alertname: " + one + "\n        exp_alerts:"), std::string::npos)
        << one << " is never tested";
  }
  for (const std::string_view state : metrics::kSlotStates) {
    EXPECT_EQ(document_rows(fmt::format("| slot `{}` |", state), "docs/operations.md").size(), 1U) << state;
  }
  for (const std::string_view state : metrics::kHealthStates) {
    EXPECT_EQ(document_rows(fmt::format("| engine `{}` |", state), "docs/operations.md").size(), 1U) << state;
  }
}

TEST(Tidy, DocsErrorsExplainsEveryKind) {
  // Numbers without a kind are named as kInternal.
  std::set<std::string_view> names;
  for (std::uint8_t number = 1; number < 100; ++number) names.insert(error_kind_name(static_cast<ErrorKind>(number)));
  EXPECT_GT(names.size(), 10U);
  for (const std::string_view name : names) {
    EXPECT_EQ(document_rows(fmt::format("| {} |", name)).size(), 1U) << "docs/errors.md does not explain " << name;
  }
}

} // namespace
} // namespace hsmux
