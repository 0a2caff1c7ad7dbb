// The PKCS#11 functions that we call, as values: every error and every disposition names one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hsmux {

// clang-format off
#define HSMUX_CALLS(X)                                                                                                 \
  X(Initialize) X(Finalize) X(GetInfo) X(GetFunctionList) X(GetInterface) X(GetSlotList) X(GetSlotInfo)                \
  X(GetTokenInfo) X(GetMechanismList) X(GetMechanismInfo) X(InitToken) X(InitPIN) X(OpenSession) X(CloseSession)       \
  X(GetSessionInfo) X(Login) X(Logout) X(CreateObject) X(CopyObject) X(DestroyObject) X(GetAttributeValue)             \
  X(SetAttributeValue) X(FindObjectsInit) X(FindObjects) X(FindObjectsFinal) X(EncryptInit) X(Encrypt)                 \
  X(DecryptInit) X(Decrypt) X(SignInit) X(Sign) X(GenerateKey) X(GenerateKeyPair) X(WrapKey) X(UnwrapKey)              \
  X(DeriveKey) X(GenerateRandom)
// clang-format on

enum class Call : std::uint8_t {
  kNone, // no PKCS#11 function was called
#define HSMUX_X(name) k##name,
  HSMUX_CALLS(HSMUX_X)
#undef HSMUX_X
};

inline constexpr auto kCallNames = std::to_array<std::string_view>({"",
#define HSMUX_X(name) "C_" #name,
                                                                    HSMUX_CALLS(HSMUX_X)
#undef HSMUX_X
});

// "C_Sign" for Call::kSign; empty for kNone.
constexpr std::string_view call_name(Call call) { return kCallNames.at(static_cast<std::size_t>(call)); }

// What one PKCS#11 function answered. `rv` is a CK_RV; 0 is CKR_OK.
struct CallStatus {
  Call call = Call::kNone;
  unsigned long rv = 0;
};

} // namespace hsmux
