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

struct ExitCodeRow {
  ErrorKind kind;
  ExitCode code;
};

// clang-format off
constexpr std::array kExitCodes{
    ExitCodeRow{ErrorKind::kInvalidArgument, ExitCode::kUsage},
    ExitCodeRow{ErrorKind::kInvalidConfig, ExitCode::kConfig},
    ExitCodeRow{ErrorKind::kKeyNotFound, ExitCode::kKey},
    ExitCodeRow{ErrorKind::kKeyAmbiguous, ExitCode::kKey},
    ExitCodeRow{ErrorKind::kKeyUnusable, ExitCode::kKey},
    ExitCodeRow{ErrorKind::kUnsupported, ExitCode::kHsm},
    ExitCodeRow{ErrorKind::kDecryptFailed, ExitCode::kDecryptFailed},
    ExitCodeRow{ErrorKind::kSignatureInvalid, ExitCode::kNo},
    ExitCodeRow{ErrorKind::kCredentials, ExitCode::kCredentials},
    ExitCodeRow{ErrorKind::kTimeout, ExitCode::kTimeout},
    ExitCodeRow{ErrorKind::kOverloaded, ExitCode::kTimeout},
    ExitCodeRow{ErrorKind::kUnavailable, ExitCode::kHsm},
    ExitCodeRow{ErrorKind::kDevice, ExitCode::kHsm},
    ExitCodeRow{ErrorKind::kModule, ExitCode::kHsm},
    ExitCodeRow{ErrorKind::kForked, ExitCode::kInternal},
    ExitCodeRow{ErrorKind::kClosed, ExitCode::kInternal},
    ExitCodeRow{ErrorKind::kInternal, ExitCode::kInternal},
    ExitCodeRow{ErrorKind::kConflict, ExitCode::kUsage},
    ExitCodeRow{ErrorKind::kIo, ExitCode::kIo},
    ExitCodeRow{ErrorKind::kCancelled, ExitCode::kInternal},
};
// clang-format on

} // namespace

std::span<const ExitMeaning> exit_meanings() { return kMeanings; }

ExitCode exit_code(ErrorKind kind) {
  const auto* row = std::ranges::find(kExitCodes, kind, &ExitCodeRow::kind);
  return row == kExitCodes.end() ? ExitCode::kInternal : row->code;
}

} // namespace hsmux
