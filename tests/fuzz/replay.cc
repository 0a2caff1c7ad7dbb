// Gives every file of CORPUS/READER to the fuzzer of that reader: what once was found stays mended, without clang. Also
// gives each file cut short and with a byte changed, a few hundred inputs more.
// usage: hsmux_fuzz_replay CORPUS | hsmux_fuzz_replay READER FILE...
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/fuzz/target.h"

namespace hsmux::fuzz {

std::vector<std::pair<std::string, Target>>& targets() {
  static std::vector<std::pair<std::string, Target>> all;
  return all;
}

namespace {

Bytes read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  promise(in.good(), "a corpus file can be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

// As libFuzzer gives them: in memory of exactly their size, so that AddressSanitizer sees the first byte too many.
void give(Target target, ByteView bytes) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[bytes.size()]);
  std::ranges::copy(bytes, exact.get());
  target({exact.get(), bytes.size()});
}

void give_with_variations(Target target, Bytes bytes) {
  give(target, bytes);
  give(target, ByteView(bytes).first(bytes.size() / 2));
  if (bytes.empty()) return;
  give(target, ByteView(bytes).first(bytes.size() - 1));
  bytes[bytes.size() / 2] ^= 0x81;
  give(target, bytes);
}

int replay_all(const std::filesystem::path& corpus) {
  bool complete = true;
  for (const auto& [reader, target] : targets()) {
    int files = 0;
    if (std::filesystem::exists(corpus / reader)) {
      for (const auto& entry : std::filesystem::directory_iterator(corpus / reader)) {
        std::fprintf(stderr, "%s\r", entry.path().c_str()); // what is on the terminal when it fails is the culprit
        give_with_variations(target, read(entry.path()));
        ++files;
      }
    }
    std::fprintf(stderr, "%s: %d files\n", reader.c_str(), files);
    complete = complete && files > 0;
  }
  if (!complete) std::fprintf(stderr, "a reader has no corpus: %s/READER\n", corpus.c_str());
  return complete && !targets().empty() ? 0 : 1;
}

} // namespace
} // namespace hsmux::fuzz

int main(int argc, char** argv) {
  using namespace hsmux::fuzz;
  if (argc == 2) return replay_all(argv[1]);
  for (const auto& [reader, target] : targets()) {
    if (argc < 3 || reader != argv[1]) continue;
    for (int i = 2; i < argc; ++i) give(target, read(argv[i]));
    return 0;
  }
  std::fprintf(stderr, "usage: hsmux_fuzz_replay CORPUS | hsmux_fuzz_replay READER FILE...\n");
  return 2;
}
