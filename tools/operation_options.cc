#include "tools/operation_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "mechanisms/spec.h"

namespace hsmux {

Result<Algorithm> algorithm_named(const std::string& name) {
  if (const AlgorithmSpec* spec = find_spec(name)) return spec->algorithm;
  std::vector<std::string_view> known;
  for (const AlgorithmSpec& spec : spec_table()) known.push_back(spec.name);
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("--algorithm: '{}' is not known; known are {}", name, fmt::join(known, ", ")));
}

void add_key_options(CLI::App& command, OperationOptions& options) {
  command.add_option("--key", options.key, "Label, id:HEX, or an RFC 7512 URI")->required()->type_name("NAME");
  command.add_option("--algorithm", options.algorithm, "As `hsmux slots` lists them")->required()->type_name("A");
  command.add_option("--in", options.in, "Input; - or absent: standard input; at most 64 MiB")->type_name("FILE");
}

void add_output_options(CLI::App& command, Output& out) {
  command.add_option("--out", out.path, "Result; - or absent: standard output")->type_name("FILE");
  command.add_flag("--force", out.force, "Overwrite FILE; send binary data to a terminal");
}

void add_aad_options(CLI::App& command, OperationOptions& options) {
  auto* file =
      command.add_option("--aad", options.aad_file, "Additional authenticated data (AES-GCM)")->type_name("FILE");
  command.add_option("--aad-hex", options.aad_hex, "The same in hex")->type_name("HEX")->excludes(file);
}

Status check_output(const Program& program, const Output& out) {
  if (program.options.json && out.to_stdout()) {
    return fail(ErrorKind::kInvalidArgument, "with --json the result needs --out FILE: standard output has the report");
  }
  return out.check();
}

Result<SecureBytes> read_aad(const OperationOptions& options, Algorithm algorithm) {
  if (options.aad_file.empty() && options.aad_hex.empty()) return SecureBytes();
  if (key_family(spec_of(algorithm).key) != KeyFamily::kAes) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{} has no additional authenticated data", spec_of(algorithm).name));
  }
  if (options.aad_file == "-" && (options.in.empty() || options.in == "-")) {
    return fail(ErrorKind::kInvalidArgument, "--in and --aad cannot both be standard input");
  }
  if (!options.aad_file.empty()) return read_input(options.aad_file);
  HSMUX_TRY(const Bytes bytes, from_hex(options.aad_hex));
  SecureBytes aad(bytes.size());
  std::ranges::copy(bytes, aad.span().begin());
  return aad;
}

Result<ExitCode> finish(const Program& program, const OperationOptions& options, ByteView result) {
  HSMUX_CHECK(options.out.write(result));
  if (program.options.json) {
    HSMUX_CHECK(Program::print_json(
        {{"key", options.key}, {"algorithm", options.algorithm}, {"out", options.out.path}, {"bytes", result.size()}}));
  }
  return ExitCode::kOk;
}

} // namespace hsmux
