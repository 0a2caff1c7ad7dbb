// What sign, verify, encrypt and decrypt have in common on the command line. Main thread.
#pragma once

#include <string>

#include "tools/command.h"
#include "tools/file_io.h"

namespace hsmux {

struct OperationOptions {
  std::string key, algorithm, in;
  Output out;
  std::string aad_file, aad_hex; // encrypt, decrypt
};

void add_key_options(CLI::App& command, OperationOptions& options);
void add_output_options(CLI::App& command, Output& out);
void add_aad_options(CLI::App& command, OperationOptions& options);

// Everything that can be refused before the HSM is asked. With --json the result must go to a file: standard output
// carries the report.
Status check_output(const Program& program, const Output& out);

// The additional authenticated data. Errors: kInvalidArgument (an algorithm that has none; both from standard input).
Result<SecureBytes> read_aad(const OperationOptions& options, Algorithm algorithm);

// Writes the result; with --json says so.
Result<ExitCode> finish(const Program& program, const OperationOptions& options, ByteView result);

} // namespace hsmux
