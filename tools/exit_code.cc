#include "tools/exit_code.h"

#include <algorithm>
#include <array>

namespace hsmux {
namespace {

constexpr std::array kMeanings{
    ExitMeaning{ExitCode::kOk, "done, or the answer is yes"},
    ExitMeaning{ExitCode::kNo, "the answer is no: the signature is invalid, the key does not exist"},
    ExitMeaning{ExitCode::kUsage, "wrong usage or input, or something of that name exists already"},
    ExitMeaning{ExitCode::kConfig, "the configuration is missing or wrong"},
    ExitMeaning{ExitCode::kKey, "the key is not found, ambiguous, or not usable for this"},
    ExitMeaning{ExitCode::kCredentials, "a PIN is wrong, locked, missing, or withheld"},
    ExitMeaning{ExitCode::kHsm, "HSM, slot or module is unavailable, failed (also in a self-test), or cannot do it"},
    ExitMeaning{ExitCode::kTimeout, "the time ran out, or too much is waiting"},
    ExitMeaning{ExitCode::kDecryptFailed, "the ciphertext does not decrypt"},
    ExitMeaning{ExitCode::kInternal, "an error of hsmux itself"},
    ExitMeaning{ExitCode::kIo, "a file or a stream of this machine cannot be read or written"},
    ExitMeaning{ExitCode::kInterrupted, "ended by Ctrl-C or SIGTERM"},
};

struct Row {
  ErrorKind kind;
  ExitCode code;
};

// clang-format off
constexpr std::array kRows{
    Row{ErrorKind::kInvalidArgument, ExitCode::kUsage},
    Row{ErrorKind::kInvalidConfig, ExitCode::kConfig},
    Row{ErrorKind::kKeyNotFound, ExitCode::kKey},
    Row{ErrorKind::kKeyAmbiguous, ExitCode::kKey},
    Row{ErrorKind::kKeyUnusable, ExitCode::kKey},
    Row{ErrorKind::kUnsupported, ExitCode::kHsm},
    Row{ErrorKind::kDecryptFailed, ExitCode::kDecryptFailed},
    Row{ErrorKind::kSignatureInvalid, ExitCode::kNo},
    Row{ErrorKind::kCredentials, ExitCode::kCredentials},
    Row{ErrorKind::kTimeout, ExitCode::kTimeout},
    Row{ErrorKind::kOverloaded, ExitCode::kTimeout},
    Row{ErrorKind::kUnavailable, ExitCode::kHsm},
    Row{ErrorKind::kDevice, ExitCode::kHsm},
    Row{ErrorKind::kModule, ExitCode::kHsm},
    Row{ErrorKind::kForked, ExitCode::kInternal},
    Row{ErrorKind::kClosed, ExitCode::kInternal},
    Row{ErrorKind::kInternal, ExitCode::kInternal},
    Row{ErrorKind::kConflict, ExitCode::kUsage},
    Row{ErrorKind::kIo, ExitCode::kIo},
    Row{ErrorKind::kCancelled, ExitCode::kInternal},
};
// clang-format on

} // namespace

std::span<const ExitMeaning> exit_meanings() { return kMeanings; }

ExitCode exit_code(ErrorKind kind) {
  const auto* row = std::ranges::find(kRows, kind, &Row::kind);
  return row == kRows.end() ? ExitCode::kInternal : row->code;
}

} // namespace hsmux
